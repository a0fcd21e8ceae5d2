"""What the engine may import: no cluster software at all, and no torch where a sweep is planned."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.components import names

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "engine").rglob("*.py"))
FORBIDDEN = {"ray", "optuna", "mlflow", "orchestrator"}
LIGHT = [
    "engine.config",
    "engine.methods.base",
    "engine.methods.dropattack",
    "engine.slots.slots",
    "engine.identity",
    "engine.components",
    "engine.files",
    "engine.report",
    "engine.data.base",
    "engine.data.digits",
    "engine.models.catalog",
    "engine.evaluations.nested",
    *(f"engine.evaluations.{name}" for name in names("evaluations")),
    "engine.__main__",
]


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level packages that a source names in imports, inside functions too, also by import_module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield ast.unparse(node.args[0]).lstrip("f").strip("'\"").split(".")[0]


def test_the_walk_finds_what_it_looks_for() -> None:
    source = "def f():\n    from ray.tune import x\n    import_module('optuna.x')\nimport mlflow.x, a"
    assert set(imported(ast.parse(source))) == {"ray", "optuna", "mlflow", "a"}
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_imports_no_cluster_software(path: Path) -> None:
    assert not FORBIDDEN & set(imported(ast.parse(path.read_text(encoding="utf-8"))))


def python(code: str, cache: Path) -> str:
    environment = {**os.environ, "PERTURB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BLOCKED = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(FORBIDDEN)}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
from engine.config import Trial
from engine.train import train

method = dict(name="dropattack", targets=["input", "conv1.w"])
print(train(Trial.model_validate(dict(data="digits", model="lenet5_8x8", method=method, epochs=1))).status)
try:
    import ray
except ImportError:
    print("blocked")
"""


def test_the_engine_trains_where_nothing_else_is_installed(cache: Path) -> None:
    assert python(BLOCKED, cache).split() == ["completed", "blocked"]


def test_planning_does_not_import_torch(cache: Path) -> None:
    imports = f"for name in {LIGHT}:\n    importlib.import_module(name)"
    code = f"import importlib, sys\n{imports}\nprint('torch' in sys.modules)"
    assert python(code, cache) == "False\n"


def test_a_trial_is_checked_and_named_without_torch_once_its_model_is_known(cache: Path) -> None:
    code = """
import sys
from engine.config import Trial
from engine.identity import cell_key, trial_key

trial = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="dropattack"))
trial_key(trial), cell_key(trial), trial.slots
print("torch" in sys.modules)
"""
    python(code, cache)
    assert python(code, cache) == "False\n"


def test_training_does_not_load_the_compiler(cache: Path) -> None:
    code = """
import sys
from engine.config import Trial
from engine.train import train

about = dict(data={"name": "digits", "train_size": 32}, model="lenet5_8x8", method="dropattack", epochs=1)
print(train(Trial.model_validate(about)).status, "torch._dynamo" in sys.modules)
"""
    assert python(code, cache) == "completed False\n"
