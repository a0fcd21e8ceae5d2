from __future__ import annotations

import json
import logging
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dispatch import events as module
from orchestrator.dispatch.events import Events
from orchestrator.driver import evaluate, run
from orchestrator.options import Options
from orchestrator.planning.job import Job, Outcome
from tests.orchestrator.sweeps import breaking, probing, scripted, sweep_of

FIELDS = {
    "sweep_started": {"cells", "points", "trials", "done", "failed", "todo", "diverged", "pruned",
                      "evaluations"},
    "trial_started": {"key", "cell", "seed", "labels", "evaluation"},
    "epoch": {"key", "epoch", "metrics"},
    "trial_finished": {"key", "cell", "seed", "labels", "evaluation", "status", "failure", "message", "best",
                       "last", "seconds"},
    "trial_again": {"key", "cell", "seed", "labels", "evaluation", "failure", "message"},
    "warning": {"message"},
    "sweep_ended": {"state", "exit_code", "trials", "done", "failed", "todo", "evaluations", "failures",
                    "report", "message"},
}  # fmt: skip
COMMON = {"version", "event", "time", "sweep"}


def read(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in stream.getvalue().splitlines()]


def check(found: list[dict[str, Any]]) -> None:
    """Every object has the fields of its event, and no others."""
    for one in found:
        if one["event"] == "progress":
            assert {"trials", "states", "rate", "top", "failures"} <= set(one)
        else:
            assert set(one) == COMMON | FIELDS[one["event"]], one
        assert one["version"] == 1


def test_the_docstring_lists_every_field() -> None:
    assert module.__doc__ is not None
    for event, fields in FIELDS.items():
        assert f"``{event}``" in module.__doc__
        for field in fields - {"diverged", "pruned"}:
            assert f"``{field}``" in module.__doc__, field


def test_the_events_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCH_SECONDS", 0.0)
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)
    out = StringIO()
    ended = run(sweep_of(), Options(str(tmp_path), local=True, track=False), None, Events(out))
    found = read(out)
    check(found)
    names = [one["event"] for one in found]
    assert (names[0], names[-1]) == ("sweep_started", "sweep_ended")
    assert [names.count(name) for name in ("trial_started", "epoch", "trial_finished")] == [3, 6, 3]
    assert names.count("progress") >= 1
    assert (found[0]["todo"], found[-1]["done"], found[-1]["exit_code"]) == (3, 3, ended.exit_code)
    assert {one["sweep"] for one in found} == {"small"}
    finished = [one for one in found if one["event"] == "trial_finished"]
    assert all(0 <= one["best"]["val.accuracy"] <= 1 and one["status"] == "completed" for one in finished)


def test_failures_and_evaluations_are_told(tmp_path: Path) -> None:
    out = StringIO()
    options = Options(str(tmp_path), local=True, track=False)
    run(breaking("raise"), options, None, Events(out))
    found = read(out)
    (failed,) = [one for one in found if one.get("status") == "failed"]
    assert failed["failure"] == "error"
    assert failed["message"]
    assert (found[-1]["state"], found[-1]["failures"]) == ("failed", {"error": 1})
    out = StringIO()
    run(probing(evaluations=[]), options, None, Events(StringIO()))
    evaluate(probing(), Options(str(tmp_path), local=True, track=False), None, Events(out))
    check(read(out))


def test_epochs_are_limited_and_numbers_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    events, job = Events(out), Job("k", "c", 0, {}, labels={"a": [1.0, float("inf")]})
    for epoch in range(1, 100):
        events.epoch(job, epoch, {"train.loss": float("nan")})
    events.again(job, Outcome("k", "failed", "lost", "its node is gone"))
    events.finished(job, Outcome("k", "diverged", last={"train.loss": float("inf")}))
    found = read(out)
    assert [one["event"] for one in found] == ["epoch", "trial_again", "trial_finished"]
    check(found)
    assert found[0]["metrics"] == {"train.loss": None}
    assert found[2]["last"] == {"train.loss": None}
    assert found[2]["labels"] == {"a": [1.0, None]}
    assert not re.search(r"NaN|Infinity", out.getvalue())
    assert events.last_epoch == {}


def test_an_error_and_a_logged_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()

    def fail(self: object, *args: object) -> None:
        logging.getLogger("perturb").warning("look at %s", "this")
        raise RuntimeError("it broke\nin two lines")

    monkeypatch.setattr("orchestrator.driver._Driver._dispatch", fail)
    with pytest.raises(RuntimeError):
        run(sweep_of(), Options(str(tmp_path), local=True, track=False), None, Events(out))
    found = read(out)
    assert [one["event"] for one in found] == ["sweep_started", "warning", "sweep_ended"]
    assert found[1]["message"] == "look at this"
    assert (found[2]["state"], found[2]["exit_code"], found[2]["message"]) == ("error", 1, "it broke")
    assert not logging.getLogger("perturb").handlers


def test_a_reader_that_went_away_costs_nothing() -> None:
    stream = StringIO()
    stream.close()
    Events(stream).warning("nobody hears it")


def test_why_a_sweep_ends_early_is_told_to_programs(tmp_path: Path) -> None:
    out = StringIO()
    sweep = scripted(*[["raise:boom", f"report:{i}"] for i in range(6)])
    run(sweep, Options(str(tmp_path), local=True, track=False), None, Events(out))
    found = read(out)
    check(found)
    (told,) = [one["message"] for one in found if one["event"] == "warning"]
    assert "Traceback" in told
    assert told.endswith("no further trial is started")
