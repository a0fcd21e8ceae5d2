from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import sweep_of


def test_the_calls_of_the_docstring(tmp_path: Path) -> None:
    store = str(tmp_path)
    sweep = sweep_of()
    assert orchestrator.plan(sweep, store).counts()["todo"] == 3
    ended = orchestrator.run(sweep, orchestrator.Options(store, local=True, track=False))
    assert ended.exit_code == 0
    files, tables = orchestrator.report(sweep, store)
    assert files[0].name == "report.html"
    assert tables
    orchestrator.track(sweep, store)
    assert (tmp_path / "mlflow.db").is_file()
    assert [one["sweep"] for one in orchestrator.status(store=store)] == ["small"]
    assert orchestrator.stop("small", store) == "done"
    with pytest.raises(ValueError, match=r"'other'.*known: small"):
        orchestrator.stop("other", store)
    assert "epoch 2" in orchestrator.logs(next(iter(Ledger(Store(store)).index()))[:12], store)


def test_no_module_hides_a_call() -> None:
    """A submodule of the same name would take a call's place once it is imported."""
    for name in orchestrator.__all__:
        assert callable(getattr(orchestrator, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = orchestrator.nonsense


@pytest.mark.parametrize("words", [["--help"], ["status"], ["plan", "--help"]])
def test_light_commands_import_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    code = (
        "import sys\nfrom orchestrator.cli import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'matplotlib', 'plotly', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
