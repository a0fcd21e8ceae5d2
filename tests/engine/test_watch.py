"""What is measured after every epoch, which epochs are kept for it, when training ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoint import load_weights
from engine.config import Trial
from engine.data.loading import Splits, load
from engine.distributed import Workers
from engine.models.catalog import config as model_config
from engine.train import train
from engine.watch import contests, measure

Make = Callable[..., Trial]
CPU = torch.device("cpu")
PGD = {"name": "pgd", "epsilon": 0.1, "step_size": 0.05, "steps": 3}
FGSM = {"name": "fgsm", "epsilon": 0.2}
ATTACKS = {"weak": FGSM, "pgd": PGD}
LONG: dict[str, Any] = {"epochs": 8, "optimizer": {"name": "adam", "lr": 0.01}, "attacks": ATTACKS}


def measured(trial: Trial, path: Path, split: str) -> dict[str, float]:
    """Metrics of a file of weights, by a network of its own."""
    splits: Splits = load(trial.data, trial.seed, CPU)
    network = model_config(trial.model).build(splits.info)
    network.load_state_dict(load_weights(path, CPU))
    return measure(network, splits, split, trial, Workers())[0]


def test_contests(make_trial: Make) -> None:
    assert contests(make_trial()) == {"best": "val.accuracy"}
    assert contests(make_trial(select="val.loss", watch_test=True)) == {
        "best": "val.loss", "best.test": "test.loss"
    }  # fmt: skip
    assert contests(make_trial(attacks=ATTACKS, select="val.pgd.accuracy", watch_test=True)) == {
        "best": "val.pgd.accuracy",
        "best.weak": "val.weak.accuracy",
        "best.pgd": "val.pgd.accuracy",
        "best.test": "test.pgd.accuracy",
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Any:
    from tests.engine.conftest import build_trial

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        trial = build_trial(**LONG, select="val.pgd.accuracy", watch_test=True)
        folder = tmp_path_factory.mktemp("watched")
        return trial, train(trial, folder=folder, keep="all"), folder


def test_every_epoch_is_attacked_on_validation_and_watched_on_test(watched: Any) -> None:
    _, result, _ = watched
    measures = [f"{label}{kind}" for label in ("", "weak.", "pgd.") for kind in ("loss", "accuracy")]
    expected = {f"{split}.{measure}" for split in ("val", "test") for measure in measures}
    for epoch in result.history:
        assert expected <= epoch.keys()
        assert epoch["val.pgd.accuracy"] <= epoch["val.accuracy"]
        assert epoch["val.pgd.loss"] > epoch["val.loss"]


@pytest.mark.parametrize("name", ["best", "best.weak", "best.pgd", "best.test", "last"])
def test_each_checkpoint_is_the_epoch_that_wins_its_metric(watched: Any, name: str) -> None:
    trial, result, folder = watched
    metric = {**contests(trial), "last": "epoch"}[name]
    values = [epoch[metric] for epoch in result.history]
    winner = result.history[values.index(max(values))]
    found = {"best": result.best, "last": result.last, **result.also}[name]
    assert found.items() >= winner.items()
    again = measured(trial, folder / f"{name}.pt", "test")
    assert {n: found[n] for n in again} == pytest.approx(again, rel=1e-5)


def test_the_chosen_epochs_differ(watched: Any) -> None:
    _, result, _ = watched
    epochs = {found["epoch"] for found in (result.best, result.last, *result.also.values())}
    assert len(epochs) > 1, "or the test above proves nothing"
    assert result.also.keys() == {"best.weak", "best.pgd", "best.test"}


def test_test_is_not_looked_at_before_the_end_unless_it_is_watched(make_trial: Make) -> None:
    result = train(make_trial(attacks=ATTACKS))
    assert not any(name.startswith("test") for epoch in result.history for name in epoch)
    assert {"test.accuracy", "test.pgd.accuracy"} <= result.best.keys()
    assert result.also.keys() == {"best.weak", "best.pgd"}


def test_watching_does_not_move_the_training(make_trial: Make) -> None:
    model = {"name": "lenet5_8x8", "dropout": 0.5}
    plain = train(make_trial(model=model, epochs=3)).history
    watched = train(make_trial(model=model, epochs=3, attacks=ATTACKS, watch_test=True)).history
    for a, b in zip(plain, watched, strict=True):
        assert a.items() <= b.items()


@pytest.mark.parametrize("patience", [1, 3])
def test_patience(make_trial: Make, patience: int) -> None:
    stuck = make_trial(epochs=9, patience=patience, optimizer={"name": "sgd", "lr": 1e-12})
    result = train(stuck)
    assert result.status == "completed"
    assert len(result.history) == 1 + patience
    assert result.best_epoch == 1
    moving = make_trial(
        epochs=5, patience=patience, select="val.loss", optimizer={"name": "adam", "lr": 1e-3}
    )
    assert len(train(moving).history) == 5


def test_pseudo_labels_from_a_standard_parent(make_trial: Make, run: Any, tmp_path: Path) -> None:
    """RST: a standard model labels the unlabelled examples, and training starts afresh with all of them."""
    data = {"name": "digits", "train_size": 120, "labelled": 40}
    init = {"from": {"method": "standard", "epochs": 6}, "use": "labels"}
    rst = {"name": "rst", "epsilon": 0.05, "step_size": 0.02, "steps": 2}
    settings: dict[str, Any] = {"data": data, "optimizer": {"name": "adam", "lr": 0.01}, "epochs": 3}
    child = make_trial(method=rst, init=init, **settings)
    parent = child.parent()
    assert parent is not None
    run(parent, tmp_path / "parent", keep="best")
    seen: list[Any] = []
    from engine.step import Stepper

    plain = Stepper.gradients

    def record(self: Any, batch: Any, *arguments: Any, **named: Any) -> Any:
        seen.append((batch, next(self.network.parameters()).detach().clone()))
        return plain(self, batch, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "gradients", record)
        result = train(child, parent=tmp_path / "parent" / "best.pt")
    assert result.status == "completed"
    splits = load(child.data, child.seed, CPU)
    teacher = model_config(child.model).build(splits.info).eval()
    teacher.load_state_dict(load_weights(tmp_path / "parent" / "best.pt", CPU))
    for batch, _ in seen:
        assert (batch.extra, batch.pseudo, len(batch.labels)) == (20, True, 40)
        assert torch.equal(batch.labels[20:], teacher(batch.views[0][20:]).argmax(1))
    assert not torch.equal(seen[0][1], next(teacher.parameters())), "its weights are not taken over"
    alone = train(make_trial(method=rst, **settings))
    assert alone.history != result.history
