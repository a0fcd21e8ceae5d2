"""``python -m engine``, in this process for the sake of speed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from engine.__main__ import main
from engine.checkpoint import load_weights
from engine.config import Trial
from engine.evaluate import evaluate
from engine.evaluations.nested import evaluation
from engine.identity import evaluation_key, trial_key

TRIAL: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 60},
    "model": "lenet5_8x8",
    "method": {"name": "dropattack", "targets": ["input", "conv1.w"]},
    "epochs": 2,
    "batch_size": 20,
}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The signal handlers as they were."""
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def to_file(content: Any, name: str = "trial.yaml") -> str:
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content)
        else:
            YAML().dump(content, path)
        return str(path)

    return to_file


def test_it_trains_and_tells(
    write: Any, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(TRIAL), "--folder", str(tmp_path / "trials"), "--keep", "best"]) == 0
    lines = capsys.readouterr().out.splitlines()
    trial = Trial.model_validate(TRIAL)
    expected, _ = run(trial, tmp_path / "expected")
    assert lines[0].startswith(
        f"epoch 1/2  train.loss {expected.history[0]['train.loss']:.4f}  train.accuracy"
    )
    assert lines[1].startswith("epoch 2/2  ")
    told = json.loads("\n".join(lines[2:]))
    assert told["key"] == trial_key(trial)
    assert (told["status"], told["last"], told["best"]) == ("completed", expected.last, expected.best)
    assert [path.name for path in (tmp_path / "trials" / told["key"]).iterdir()] == ["best.pt"]


def test_all_weights_can_be_kept(write: Any, tmp_path: Path) -> None:
    trial = {**TRIAL, "watch_test": True}
    assert main([write(trial), "--folder", str(tmp_path / "trials"), "--keep", "all"]) == 0
    kept = {path.name for path in (tmp_path / "trials" / trial_key(Trial.model_validate(trial))).glob("*.pt")}
    assert kept == {"best.pt", "best.test.pt", "last.pt"}


def test_micro_is_no_part_of_the_trial(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for micro in ("0", "7"):
        arguments = [write(TRIAL), "--folder", str(tmp_path / micro), "--keep", "last", "--micro", micro]
        assert main(arguments) == 0
        (path,) = (tmp_path / micro).glob("*/last.pt")
        found.append((path.parent.name, load_weights(path, torch.device("cpu"))))
    capsys.readouterr()
    (key, whole), (same_key, parts) = found
    assert key == same_key
    assert all(torch.allclose(parts[name], w, atol=1e-5) for name, w in whole.items())
    assert main([write(TRIAL), "--folder", str(tmp_path), "--micro", "-1"]) == 2
    assert "micro: -1 is not legal" in capsys.readouterr().err


def test_a_child_takes_its_parents_weights(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "trials")
    child = write({**TRIAL, "init": {"from": {"method": "standard"}}}, "child.yaml")
    assert main([child, "--folder", folder]) == 2
    assert "train the parent first" in capsys.readouterr().err
    assert main([write({**TRIAL, "method": "standard"}), "--folder", folder, "--keep", "best"]) == 0
    assert main([child, "--folder", folder]) == 0


def test_a_plugin(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = str(Path(__file__).parent / "plugins" / "toy_text.py")
    texts = write({**TRIAL, "data": "toy_text", "model": {"name": "lstm", "hidden": 4}, "method": "fgm"})
    assert main([texts, "--plugin", plugin, "--folder", str(tmp_path / "trials")]) == 0
    assert main([texts, "--plugin", str(tmp_path / "none.py")]) == 2
    assert "plugins: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**TRIAL, "epochs": 0}, "epochs: 0: Input should be greater than or equal to 1"),
        (
            {**TRIAL, "method": "dropatack"},
            "method.name: 'dropatack' is not legal: did you mean 'dropattack'?",
        ),
        (
            {**TRIAL, "method": {"name": "dropattack", "targets": ["conv9.w"]}},
            "method.targets.0: 'conv9.w' is not legal",
        ),
        (
            {**TRIAL, "method": {"name": "dropattack", "epsilon": {"input": -1}}},
            "method.epsilon.input: -1: Input",
        ),
        ("- 1\n- 2\n", "trial: [1, 2]: Input should be a valid dictionary"),
        ("", "trial: None: Input should be a valid dictionary"),
        ("data: [digits\n", "is not legal: YAML 1.2"),
        ("epochs: 1\nepochs: 2\n", "is not legal: YAML 1.2"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    write: Any, capsys: pytest.CaptureFixture[str], content: Any, message: str, tmp_path: Path
) -> None:
    assert main([write(content), "--folder", str(tmp_path / "trials")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert "Value error" not in err
    assert not (tmp_path / "trials").exists()


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "a file that can be read (No such file or directory)" in capsys.readouterr().err


def test_divergence_is_a_result(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {**TRIAL, "optimizer": {"name": "sgd", "lr": 1e30}}
    assert main([write(content), "--folder", str(tmp_path)]) == 0
    assert '"status": "diverged"' in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_and_the_same_command_continues(
    write: Any,
    run: Any,
    same: Any,
    tmp_path: Path,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [write(TRIAL), "--folder", str(tmp_path / "trials"), "--keep", "last"]

    def interrupted(*given: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return evaluate(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr("engine.watch.evaluate", interrupted)  # at the end of the first epoch
        assert main(arguments) == 75
    out = capsys.readouterr().out
    assert out.startswith("epoch 1/2")
    assert "epoch 2/2" not in out
    assert '"status": "stopped"' in out
    trial = Trial.model_validate(TRIAL)
    folder = tmp_path / "trials" / trial_key(trial)
    assert [path.name for path in folder.iterdir()] == ["resume.pt"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("epoch 2/2")
    _, whole = run(trial, tmp_path / "whole")
    assert same(load_weights(folder / "last.pt", torch.device("cpu")), whole)


PGD = {"name": "pgd", "steps": 2, "epsilon": 0.1, "step_size": 0.05}


def test_it_evaluates_what_a_trial_kept(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [write(TRIAL), "--folder", str(tmp_path / "trials")]
    listed = write(["clean", {**PGD, "checkpoint": "last"}, {**PGD, "label": "weak"}], "evaluation.yaml")
    assert main([*command, "--evaluate", listed]) == 2
    assert "best.pt is not legal: a checkpoint that its trial kept" in capsys.readouterr().err
    assert main([*command, "--keep", "both"]) == 0
    told = capsys.readouterr().out
    trained = json.loads(told[told.index("{") :])
    assert main([*command, "--evaluate", listed]) == 0
    clean, last, best = json.loads(capsys.readouterr().out)
    assert clean["metrics"]["accuracy"] == trained["best"]["test.accuracy"]
    assert last["metrics"]["clean_accuracy"] == trained["last"]["test.accuracy"]
    assert last["evaluation"]["checkpoint"] == "last"
    trial = Trial.model_validate(TRIAL)
    assert best["key"] == evaluation_key(trial, evaluation(PGD)) != last["key"]
    assert best["examples"] == 180


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{**PGD, "steps": 0}], "evaluations.0.steps: 0: Input should be greater than or equal to 1"),
        (["clean", {"name": "pdg"}], "evaluations.1.name: 'pdg' is not legal: did you mean 'pgd'?"),
        ([{"name": "gap", "attack": "clean"}], "evaluation.attack.name: 'clean' is not legal: an attack"),
        ({"name": "clean"}, "evaluations: {'name': 'clean'} is not legal: a list of evaluations"),
        ([3], "evaluations.0: 3 is not legal: a name, or a mapping"),
        ([{"name": "robust_curve"}], "evaluations.0.epsilons:"),
        ("[", "evaluations: "),
    ],
)
def test_a_wrong_evaluation_is_one_line_with_its_file(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    path = write(content, "evaluation.yaml")
    assert main([write(TRIAL), "--folder", str(tmp_path / "trials"), "--evaluate", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"{path}: {message}")


def test_it_is_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", str(tmp_path / "none.yaml")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
