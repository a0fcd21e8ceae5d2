"""The loop: determinism, selection, divergence, events, what is reported of the test set."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.checkpoint import Progress, load_weights
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluate import evaluate
from engine.feed import permutation
from engine.identity import trial_key
from engine.models.catalog import config as model_config
from engine.parent import take_over
from engine.perturb.random import derive
from engine.report import Event, Signal
from engine.train import train
from engine.watch import better

CPU = torch.device("cpu")
DROPATTACK = {"name": "dropattack", "targets": ["input", "conv1.w"], "steps": 2}
METHODS: list[Any] = ["standard", "fgm", "pgd", DROPATTACK]
Make = Callable[..., Trial]


def test_a_b_a_gives_a_twice(make_trial: Make, run: Any, same: Any, tmp_path: Path) -> None:
    a, b = make_trial(method=DROPATTACK), make_trial(text=True, method="pgd", seed=4)
    first, at_first = run(a, tmp_path / "1")
    run(b, tmp_path / "2")
    again, at_again = run(a, tmp_path / "3")
    assert same(at_first, at_again)
    assert first.history == again.history
    assert (first.best, first.last, first.correct) == (again.best, again.last, again.correct)


def test_training_leaves_torch_as_it_was(make_trial: Make) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train(make_trial(method=DROPATTACK))
    assert torch.equal(torch.rand(3), expected), "its generator"
    assert torch.is_grad_enabled()


def test_what_came_before_in_torch_does_not_matter(
    make_trial: Make, run: Any, same: Any, tmp_path: Path
) -> None:
    _, at_first = run(make_trial(), tmp_path / "1")
    torch.manual_seed(12345)
    _, at_again = run(make_trial(), tmp_path / "2")
    assert same(at_first, at_again)


def seen_by(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Initial weights of the first layer as trained on, and the examples of each step."""
    from engine.step import Stepper

    seen = []
    plain = Stepper.gradients

    def record(self: Stepper, batch: Any, *arguments: Any, **named: Any) -> Any:
        seen.append((next(self.network.parameters()).detach().clone(), batch.index.clone()))
        return plain(self, batch, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "gradients", record)
        train(trial)
    return seen


@pytest.mark.parametrize("text", [False, True])
def test_a_seed_means_the_same_for_every_method(
    make_trial: Make, monkeypatch: pytest.MonkeyPatch, text: bool
) -> None:
    methods = ["standard", "fgm", "pgd", {"name": "dropattack"}]
    runs = [seen_by(make_trial(text=text, method=m, seed=6), monkeypatch) for m in methods]
    for other in runs[1:]:
        assert torch.equal(other[0][0], runs[0][0][0]), "initial weights"
        assert all(torch.equal(a[1], b[1]) for a, b in zip(other, runs[0], strict=True)), "order and subset"
    another = seen_by(make_trial(text=text, seed=7), monkeypatch)
    assert not torch.equal(another[0][0], runs[0][0][0])
    assert not torch.equal(another[0][1], runs[0][0][1])


def test_every_epoch_sees_every_example_once_in_another_order(
    make_trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial(batch_size=25)  # 60 examples: steps of 25, 25 and 10
    steps = [index for _, index in seen_by(trial, monkeypatch)]
    assert [len(index) for index in steps] == [25, 25, 10] * 2
    one, two = torch.cat(steps[:3]), torch.cat(steps[3:])
    chosen = load(trial.data, trial.seed, CPU).train.index
    assert torch.equal(one.sort().values, chosen)
    assert torch.equal(two.sort().values, chosen)
    assert not torch.equal(one, two)


def test_subsets_are_nested_and_differ_between_seeds(make_trial: Make) -> None:
    def chosen(size: int, seed: int) -> set[int]:
        data = make_trial(data={"name": "digits", "train_size": size}).data
        return set(load(data, seed, CPU).train.index.tolist())

    sizes = [chosen(size, 0) for size in (10, 60, 300)]
    assert [len(s) for s in sizes] == [10, 60, 300]
    assert sizes[0] < sizes[1] < sizes[2]
    assert chosen(60, 1) != sizes[1]


def test_the_order_is_a_permutation_of_the_seed_and_the_epoch() -> None:
    first = permutation(0, "order", 0, 50)
    assert torch.equal(first.sort().values, torch.arange(50))
    assert torch.equal(first, permutation(0, "order", 0, 50))
    assert not torch.equal(first, permutation(0, "order", 1, 50))
    assert not torch.equal(first, permutation(1, "order", 0, 50))


@pytest.mark.parametrize(
    ("select", "values", "best"),
    [
        ("val.accuracy", [0.5, 0.7, 0.7, 0.6], 2),  # a tie goes to the earlier epoch
        ("val.loss", [0.5, 0.3, 0.4, 0.3], 2),
        ("val.loss", [0.5, 0.6, 0.5], 1),
        ("val.accuracy", [float("nan"), 0.1, 0.0], 2),
        ("val.loss", [float("inf"), float("nan")], 0),
    ],
)
def test_the_best_epoch(select: str, values: list[float], best: int) -> None:
    progress = Progress()
    for epoch, value in enumerate(values, start=1):
        progress.history.append({"epoch": epoch, select: value})
        before = progress.history[progress.best_epoch - 1][select] if progress.best_epoch else None
        if better(value, before, select):
            progress.chosen["best"] = epoch
    assert progress.best_epoch == best


@pytest.mark.parametrize(
    ("select", "lr", "epochs"),
    [("val.loss", 0.01, 30), ("val.accuracy", 1e-6, 4)],  # overfits; stands still, so that all epochs tie
)
def test_best_is_chosen_on_validation_and_reported_on_test(
    make_trial: Make, run: Any, tmp_path: Path, select: str, lr: float, epochs: int
) -> None:
    trial = make_trial(epochs=epochs, select=select, optimizer={"name": "adam", "lr": lr})
    result, last = run(trial, tmp_path)
    values = [epoch[select] for epoch in result.history]
    best = max(values) if select == "val.accuracy" else min(values)
    assert result.best_epoch == values.index(best) + 1 < epochs
    assert result.best.items() >= result.history[result.best_epoch - 1].items()
    assert result.last.items() >= result.history[-1].items()
    _, _ = run(trial, tmp_path / "best", keep="best")
    splits = load(trial.data, trial.seed, CPU)
    network = model_config(trial.model).build(splits.info)
    for name, weights in (("best", load_weights(tmp_path / "best" / "best.pt", CPU)), ("last", last)):
        network.load_state_dict(weights)
        found, reported = evaluate(network, splits.test, Workers()), getattr(result, name)
        wanted = {n: v for n, v in reported.items() if n.startswith("test.")}
        assert found.metrics("test") == pytest.approx(wanted, rel=1e-6)  # memory layout moves the last bits
        assert result.correct[name] == found.bits()
        bits = np.unpackbits(np.frombuffer(result.correct[name], np.uint8), count=result.examples)
        assert bits.mean() == pytest.approx(reported["test.accuracy"], abs=1e-12)
        assert found.metrics("val").keys() == {"val.loss", "val.accuracy"}


def test_history_holds_every_epoch(make_trial: Make) -> None:
    result = train(make_trial(epochs=3))
    names = {"epoch", "train.loss", "train.accuracy", "val.loss", "val.accuracy"}
    assert [set(epoch) for epoch in result.history] == [names] * 3
    assert [epoch["epoch"] for epoch in result.history] == [1, 2, 3]
    assert result.seconds.keys() >= {"data", "build", "train", "evaluate"}
    assert all(value >= 0 for value in result.seconds.values())


def test_train_metrics_are_those_of_the_clean_pass(make_trial: Make) -> None:
    # With a learning rate of almost nothing the weights stay, and the epoch's sums are an evaluation's.
    trial = make_trial(method=DROPATTACK, epochs=1, optimizer={"name": "sgd", "lr": 1e-30})
    splits = load(trial.data, trial.seed, CPU)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(trial.seed, "init"))
        network = model_config(trial.model).build(splits.info)
    found, epoch = evaluate(network, splits.train, Workers()), train(trial).history[0]
    assert epoch["train.loss"] == pytest.approx(found.loss, rel=1e-6)
    assert epoch["train.accuracy"] == pytest.approx(found.accuracy, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_divergence_is_a_status(make_trial: Make, method: Any) -> None:
    result = train(make_trial(method=method, epochs=5, optimizer={"name": "sgd", "lr": 1e30}))
    assert result.status == "diverged"
    assert "not finite in epoch 1" in result.message
    assert len(result.history) == 1, "it ends there"
    assert (result.best, result.correct) == ({}, {})
    assert result.last["epoch"] == 1


def test_weights_broken_by_the_very_last_step_are_a_divergence(make_trial: Make) -> None:
    trial = make_trial(batch_size=60, epochs=1, optimizer={"name": "sgd", "lr": 1e30})
    result = train(trial)
    assert np.isfinite(result.last["train.loss"]), "taken before the step"
    assert result.status == "diverged"


def test_events(make_trial: Make) -> None:
    events: list[Event] = []

    def report(event: Event) -> Signal:
        events.append(event)
        return "continue"

    result = train(make_trial(), report)
    places = [(event.epoch, event.step) for event in events]
    assert places == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    told = [{"epoch": event.epoch, **event.metrics} for event in events if event.metrics]
    assert told == result.history


def test_no_warning(make_trial: Make, run: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i, (text, method) in enumerate(
            [(False, DROPATTACK), (True, {**DROPATTACK, "targets": ["input", "lstm.*"]})]
        ):
            for j, optimizer in enumerate(("sgd", "adam", "adamw")):
                folder = tmp_path / f"{i}{j}"
                run(make_trial(text=text, method=method, optimizer=optimizer), folder, lambda e: "checkpoint")


def test_a_batch_larger_than_the_data_is_one_step(make_trial: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(index) for _, index in seen_by(make_trial(batch_size=1000, epochs=1), monkeypatch)] == [60]


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_child_starts_from_its_parents_weights(
    make_trial: Make, run: Any, tmp_path: Path, which: str
) -> None:
    init = {"from": {"method": "standard", "epochs": 4}, "checkpoint": which}
    child = make_trial(method="fgm", init=init, optimizer={"name": "sgd", "lr": 1e-30}, epochs=1)
    parent = child.parent()
    assert parent is not None
    parent = parent.model_copy(
        update={"optimizer": make_trial(optimizer={"name": "adam", "lr": 0.02}).optimizer}
    )
    told, _ = run(parent, tmp_path / "parent", keep=which)
    result = train(child, parent=tmp_path / "parent" / f"{which}.pt")
    assert result.last["test.loss"] == pytest.approx(getattr(told, which)["test.loss"], rel=1e-6)
    assert result.last["val.loss"] != pytest.approx(train(make_trial(epochs=1)).last["val.loss"], rel=1e-3)


def test_a_child_without_its_parents_weights_is_refused(make_trial: Make, tmp_path: Path) -> None:
    child = make_trial(method="fgm", init={"from": {"method": "standard"}})
    with pytest.raises(InputError, match=r"init\.from: no file is not legal"):
        train(child)
    with pytest.raises(InputError, match=r"init\.from: .*best\.pt is not legal"):
        train(child, parent=tmp_path / "best.pt")


def test_a_head_can_be_left_out(make_trial: Make, run: Any, tmp_path: Path) -> None:
    init = {"from": {"method": "standard"}, "leave": ["fc3.*"]}
    child = make_trial(method="fgm", init=init)
    run(child.parent(), tmp_path, keep="best")
    parent = load_weights(tmp_path / "best.pt", CPU)
    data = load(child.data, 0, CPU)
    network = model_config(child.model).build(data.info)
    fresh = {n: t.clone() for n, t in network.state_dict().items()}
    assert take_over(network, data, tmp_path / "best.pt", "weights", CPU, child.leaves) is data
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (fresh if name.startswith("fc3.") else parent)[name]), name
    assert trial_key(child) != trial_key(make_trial(method="fgm", init=init | {"leave": []}))
    assert trial_key(child) == trial_key(make_trial(method="fgm", init=init | {"leave": ["fc3.b", "fc3.w"]}))
    assert train(child, parent=tmp_path / "best.pt").status == "completed"


def test_pre_training_on_other_classes(make_trial: Make) -> None:
    init = {"from": {"data": "cifar100", "method": "standard"}, "leave": ["fc.*"]}
    tuned = make_trial(data="cifar10", model="preact_resnet18", method="at_awp", init=init)
    assert tuned.leaves == ("fc.weight", "fc.bias")
    assert tuned.parent().data.info().classes == 100  # type: ignore[union-attr]


@pytest.mark.parametrize("use", ["weights", "labels"])
def test_a_parent_whose_weights_do_not_fit_is_one_line(
    make_trial: Make, run: Any, tmp_path: Path, use: str
) -> None:
    init = {"from": {"model.hidden": 6, "init": None}, "use": use}
    data = {"name": "toy_text", "train_size": 30, **({"labelled": 12} if use == "labels" else {})}
    child = make_trial(text=True, data=data, init=init)
    run(child.parent(), tmp_path, keep="best")
    with pytest.raises(InputError, match="a parent with the same model and number of classes") as caught:
        train(child, parent=tmp_path / "best.pt")
    assert caught.value.name == "init.from"
    assert "\n" not in str(caught.value)
    assert "size mismatch" in str(caught.value)
