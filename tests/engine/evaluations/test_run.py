from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import Trial
from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluate import evaluate
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.evaluations.nested import evaluation
from engine.evaluations.run import evaluate_checkpoint
from engine.models.base import ModelInfo
from engine.result import Result
from engine.train import train

Trained = tuple[Trial, Path]


def test_it_finds_what_the_trial_reported(trained: Trained, tmp_path: Path) -> None:
    trial, _ = trained
    result: Result = train(trial, folder=tmp_path, keep="both")
    state = torch.get_rng_state()
    best, last = (
        evaluate_checkpoint(trial, evaluation("clean"), tmp_path / f"{which}.pt")
        for which in ("best", "last")
    )
    assert torch.equal(torch.get_rng_state(), state)
    for found, told, bits in ((best, result.best, "best"), (last, result.last, "last")):
        assert found.metrics["accuracy"] == told["test.accuracy"]
        assert found.metrics["loss"] == told["test.loss"]
        assert found.correct["clean"] == result.correct[bits]
        assert found.examples == result.examples
    val = evaluate_checkpoint(trial, evaluation({"name": "clean", "split": "val"}), tmp_path / "best.pt")
    assert val.metrics["loss"] == result.best["val.loss"]


class Asked(EvaluationConfig):
    """What it was given, for the test to see."""

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        if self.seed:
            raise InputError("evaluation.seed", self.seed, "0")

    def run(self, subject: Subject) -> Findings:
        assert not subject.network.training
        clean = evaluate(subject.network, subject.data.test, subject.workers)
        return Findings({"accuracy": clean.accuracy}, tables={"folder": [{"path": str(subject.folder)}]})


def test_the_folder_and_the_check(trained: Trained, tmp_path: Path) -> None:
    trial, weights = trained
    found = evaluate_checkpoint(trial, Asked(name="asked"), weights, folder=tmp_path)
    assert found.tables["folder"] == [{"path": str(tmp_path)}]
    with pytest.raises(InputError, match=r"evaluation\.seed"):
        evaluate_checkpoint(trial, Asked(name="asked", seed=1), Path("none.pt"))


def test_weights_that_cannot_be_used(trained: Trained, tmp_path: Path) -> None:
    trial, weights = trained
    clean = evaluation("clean")
    for name, keep in {"best": "best", "last": "last", "best.test": "all"}.items():
        with pytest.raises(InputError, match=f"train it with --keep {keep}$") as missing:
            evaluate_checkpoint(trial, clean, tmp_path / f"{name}.pt")
        assert missing.value.name == "evaluation.checkpoint"
    content = weights.read_bytes()
    for damaged in (b"", b"no weights", content[:100], content[: len(content) // 2]):
        (tmp_path / "best.pt").write_bytes(damaged)
        with pytest.raises(InputError, match="weights of this trial's model") as error:
            evaluate_checkpoint(trial, clean, tmp_path / "best.pt")
        assert "\n" not in str(error.value)
    for other in ({"fc.weight": torch.zeros(2, 2)}, [1, 2]):
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises(InputError, match="weights of this trial's model"):
            evaluate_checkpoint(trial, clean, tmp_path / "other.pt")
