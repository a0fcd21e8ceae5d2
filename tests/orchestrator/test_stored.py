"""How a sweep stands, from the store alone: local, remote, without what this version's driver writes."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator import api
from orchestrator.cli import app
from orchestrator.dispatch.progress import progress_of
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.plan import plan, plan_with_rows
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.stored import MOVING, no_longer_counted, standing, watch
from orchestrator.views import status_view
from tests.orchestrator.sweeps import TRIAL, breaking, sweep_of

SAME = ("sweep", "state", "trials", "done", "failed", "failures", "best", "top", "metric")


def ran(location: str, sweep: Any = None) -> dict[str, Any]:
    run(sweep or sweep_of(seeds=2), Options(location, local=True, track=False))
    (found,) = api.status("small" if sweep is None else sweep.name, location)
    return found


def shown(found: dict[str, Any], location: str) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(status_view([found], Store(location), whole=True))
    return captured.get()


@pytest.mark.parametrize("remote", [False, True])
def test_the_ledger_alone_tells_the_same(tmp_path: Path, remote: bool) -> None:
    location = f"memory://{tmp_path.name}-status" if remote else str(tmp_path)
    told = ran(location)
    assert (told["state"], told["done"], told["states"]["done"]) == ("done", 6, 6)
    assert told["top"][0]["seeds"] == 2
    assert told["top"][0]["interval"][0] < told["best"]["val.accuracy"]
    Store(location).remove("sweeps/small/progress.json")
    (made,) = api.status("small", location)
    assert json.loads(json.dumps(made))
    assert {key: made[key] for key in SAME} == {key: told[key] for key in SAME}
    assert made["states"] == told["states"]
    assert api.status(None, location) == [made | {"updated": made["updated"]}]
    text = shown(made, location)
    assert "6/6 trials" in text
    assert "(n=2)" in text


def test_what_a_change_of_the_engine_leaves_behind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are under other keys: nothing is mixed, all is trained anew, and the user hears why."""
    ran(str(tmp_path))
    store = Store(tmp_path)

    def told(**changes: Any) -> list[str]:
        sweep, last = sweep_of(seeds=2, **changes), progress_of(store, "small")
        return no_longer_counted(sweep, api.plan(sweep, str(tmp_path)), store, last)

    assert told() == []
    monkeypatch.setattr("engine.identity.CONTRACT", 99)
    (line,) = told()
    assert line.startswith(
        "small: 6 trials that the last run of this very file held as done do not count: the"
    )
    assert told(trial=TRIAL | {"epochs": 3}) == [], "another file is another sweep"
    out = StringIO()
    options = Options(str(tmp_path), local=True, track=False)
    assert run(sweep_of(seeds=2), options, Console(file=out, width=300)).counts["done"] == 6
    assert out.getvalue().count(f"warning: {line}") == 1
    assert len(Ledger(store).index()) == 12
    assert told() == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_sweep_that_goes_on_while_it_is_planned_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What its driver tells at its end is no more than the ledger holds, and more than the plan counts."""
    file, place = tmp_path / "small.yaml", str(tmp_path / "store")
    axes = {"method.epsilon": [1, 5], "method.p": [0, 0.5]}
    file.write_text(json.dumps({"name": "small", "trial": TRIAL, "axes": axes}))
    sweep, options = api.load(file), Options(place, local=True, track=False)
    run(api.load(file, ["budget.trials=1"]), options)
    name, planning = {
        "plan": ("orchestrator.planning.plan.plan", plan),
        "run": ("orchestrator.driver.plan_with_rows", plan_with_rows),
    }[command]
    left: list[Any] = [sweep]

    def slow(*words: Any) -> Any:
        planned = planning(*words)
        while left:
            assert run(left.pop(), options).counts["done"] == 3
        return planned

    monkeypatch.setattr(name, slow)
    if command == "plan":
        done = CliRunner().invoke(app, ["plan", str(file), "--store", place])
        assert done.exit_code == 0, done.output
        said = done.output
    else:
        out = StringIO()
        assert run(sweep, options, Console(file=out, width=300)).counts["done"] == 3
        said = out.getvalue()
    assert left == []
    assert "do not count" not in said


def test_a_cell_that_lacks_a_seed_is_shown_as_such(tmp_path: Path) -> None:
    told = ran(str(tmp_path), sweep_of(seeds=2, budget={"trials": 4}))
    assert [(one["seeds"], one["planned"]) for one in told["top"]] == [(2, 2), (1, 2), (1, 2)]
    Store(tmp_path).remove("sweeps/small/progress.json")
    (made,) = api.status("small", str(tmp_path))
    assert (made["top"], made["best"]) == (told["top"], told["best"])
    text = shown(made, str(tmp_path))
    assert (text.count("(n=2)"), text.count("(n=1/2)")) == (1, 2)


def test_failures_are_told_by_class_with_a_reason(tmp_path: Path) -> None:
    told = ran(str(tmp_path), breaking("raise"))
    (tmp_path / "sweeps/breaking/progress.json").unlink()
    made = standing(Store(tmp_path), "breaking")
    assert made is not None
    assert made["state"] == "unknown", "its plugin is not in the store"
    assert "unknown" in shown(made, str(tmp_path))

    ledger = Ledger(Store(tmp_path))
    sweep = sweep_of()
    planned = api.plan(sweep, str(tmp_path))
    (bad,) = [row for row in ledger.read(ledger.index()) if row.status == "failed"]
    ledger.write(
        replace(bad, key=planned.jobs[0].key, cell=planned.jobs[0].cell, failure="lost", error="gone")
    )
    Store(tmp_path).put("sweeps/small/sweep.yaml", sweep.text.encode())
    made = standing(Store(tmp_path), "small")
    assert made is not None
    assert (made["state"], made["failures"]) == ("interrupted", {"lost": 1})
    assert made["reasons"]["lost"]["reason"] == "gone"
    assert made["states"] | {"waiting": 0} == dict.fromkeys(made["states"], 0) | {"failed": 1}
    assert told["failures"] == {"error": 1}


def test_what_an_earlier_version_wrote_is_made_whole(tmp_path: Path) -> None:
    told = ran(str(tmp_path))
    old = {
        key: told[key]
        for key in ("sweep", "state", "trials", "done", "running", "failed", "failures", "diverged",
                    "evaluations", "eta_seconds", "elapsed_seconds", "best", "host", "pid", "updated")
    }  # fmt: skip
    Store(tmp_path).put("sweeps/small/progress.json", json.dumps(old).encode())
    (found,) = api.status("small", str(tmp_path))
    assert found["top"] == told["top"]
    assert found["elapsed_seconds"] == told["elapsed_seconds"]
    (found,) = api.status(None, str(tmp_path))
    assert "top" not in found, "of all sweeps no rows are read"
    assert "6/6" in shown(found, str(tmp_path))


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    told = ran(str(tmp_path), sweep_of(trial=TRIAL | {"epochs": 1}))
    states = ["running", "draining", "stopped"]
    looks = [told | {"state": state, "done": done} for done, state in enumerate(states)]
    for terminal in (False, True):
        out, waited, left = StringIO(), list[float](), list(looks)
        console = Console(file=out, width=100, force_terminal=terminal)
        last = watch(lambda left=left: left.pop(0), console, waited.append)  # type: ignore[misc]
        assert last["state"] == "stopped"
        assert len(waited) == 2
        assert "0/3 trials" in out.getvalue()
        assert "1/3 trials" in out.getvalue()
    assert "stopped" not in MOVING
