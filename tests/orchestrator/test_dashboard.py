"""The study of a finished search as optuna-dashboard itself shows it, opened as the documentation says."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import searching

dashboard = pytest.importorskip("optuna_dashboard")


class Pages:
    """The dashboard of a storage, given as to the command ``optuna-dashboard``, without a server."""

    def __init__(self, storage: str) -> None:
        self.app = dashboard.wsgi(storage)

    def get(self, path: str) -> bytes:
        """What a browser is answered."""
        said: list[str] = []
        environment: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environment)
        answer = self.app(environment, lambda status, headers, error=None: said.append(status))
        content = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        assert said == ["200 OK"], content
        return content

    def json(self, path: str) -> dict[str, Any]:
        """What the page asks for."""
        found: dict[str, Any] = json.loads(self.get(f"/api/{path}"))
        return found


def shown(rows: list[Row]) -> dict[str, Any]:
    """What the dashboard is to say of a cell with these rows, a seed each."""
    values = {str(row.seed): row.best["val.accuracy"] for row in sorted(rows, key=lambda row: row.seed)}
    method = rows[0].trial["method"]
    settings = {name: method[name]["input"] for name in ("p", "epsilon")} | {"steps": method["steps"]}
    return {
        "state": "Complete",
        "values": [statistics.fmean(values.values())],
        "seeds": values,
        "params": {f"method.{name}": str(value) for name, value in settings.items()},
    }


@pytest.mark.parametrize(
    ("storage", "opened"),
    [
        ("sqlite:///study.db", "sqlite:///{}/study.db"),
        ("journal:///a.journal", "{}/a.journal"),
        ("study.log", "{}/study.log"),
    ],
)
def test_the_dashboard_shows_a_finished_search(tmp_path: Path, storage: str, opened: str) -> None:
    sweep = searching(6, seeds=2, sampler={"name": "random", "storage": storage})
    assert run(sweep, Options(str(tmp_path), local=True, track=False)).exit_code == 0
    pages = Pages(opened.format(tmp_path))
    assert b"<html" in pages.get("/dashboard")
    (listed,) = pages.json("studies")["study_summaries"]
    assert (listed["study_name"], listed["directions"]) == ("small", ["maximize"])

    study = pages.json(f"studies/{listed['study_id']}")
    assert study["objective_names"] == ["val.accuracy"]
    found = {}
    for trial in study["trials"]:
        about = {one["key"]: one["value"] for one in trial["user_attrs"]}
        found[about["cell"]] = {
            "state": trial["state"],
            "values": trial["values"],
            "seeds": json.loads(about["values"]),
            "params": {one["name"]: one["param_external_value"] for one in trial["params"]},
        }
    ledger, rows = Ledger(Store(tmp_path)), defaultdict[str, list[Row]](list)
    for row in ledger.read(ledger.index()):
        rows[row.cell].append(row)
    assert found == {cell: shown(seeds) for cell, seeds in rows.items()}
    assert len(study["trials"]) == len(rows) == 3
    best = max(one["values"][0] for one in found.values())
    assert [trial["values"] for trial in study["best_trials"]] == [[best]]
