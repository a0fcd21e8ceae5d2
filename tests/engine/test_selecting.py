"""Adaptive adversarial training: scores against single examples, draws against their probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.data.augment import augment
from engine.data.loading import load
from engine.distributed import Workers
from engine.feed import Feed
from engine.gradients import Gradients
from engine.models.catalog import config as model_config
from engine.selecting import begin_epoch, pick, scores
from engine.slots.selection import Selection
from engine.state import State
from engine.train import train

Make = Callable[..., Trial]
CPU = torch.device("cpu")


def started(trial: Trial) -> tuple[nn.Module, Gradients, Feed]:
    """A trial's network, gradients and batches, before its first epoch."""
    torch.manual_seed(1)
    splits = load(trial.data, trial.seed, CPU)
    network = model_config(trial.model).build(splits.info)
    state = State(len(splits.train))
    gradients = Gradients(network, trial.slots, trial.seed, Workers(), "float32", state)
    return network, gradients, Feed(trial, splits, Workers(), state, empty=False)


def adaptive(**settings: Any) -> dict[str, Any]:
    return {"name": "adaptive", "n": 20, **settings}


@pytest.mark.parametrize("power", [1, 2])
def test_scores_are_norms_of_the_gradients_of_single_examples(make_trial: Make, power: Any) -> None:
    model = {"name": "lenet5_8x8", "dropout": 0.5}
    network, gradients, feed = started(make_trial(method=adaptive(power=power), model=model))
    train_set, expected = feed.data.train, []
    network.eval()
    for i in range(len(train_set)):
        batch = train_set.batch(torch.tensor([i]))
        x = batch.views[0].double().requires_grad_()
        lost = nn.functional.cross_entropy(network.double()(x), batch.labels)
        expected.append(float(torch.autograd.grad(lost, x)[0].norm()) ** power)
    network.float().train()
    found = scores(gradients, train_set, Selection(n=1, power=power))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    assert network.training
    assert all(w.grad is None for w in network.parameters())


def test_scores_in_train_mode_depend_on_the_epoch_and_not_on_torch(make_trial: Make) -> None:
    model = {"name": "lenet5_8x8", "dropout": 0.5}
    _, gradients, feed = started(make_trial(method=adaptive(mode="train"), model=model))
    selection = Selection(n=1, mode="train")
    first = scores(gradients, feed.data.train, selection, 0)
    torch.manual_seed(77)
    assert torch.equal(scores(gradients, feed.data.train, selection, 0), first)
    assert not torch.equal(scores(gradients, feed.data.train, selection, 1), first)


@pytest.mark.parametrize("replacement", [False, True])
def test_one_draw_follows_its_probabilities(replacement: bool) -> None:
    weights = np.array([0.0, 1.0, 2.0, 5.0, np.nan])
    one = Selection(n=1, replacement=replacement)
    drawn = np.array([pick(weights, one, seed)[0] for seed in range(4000)])
    share = np.bincount(drawn, minlength=5) / 4000
    np.testing.assert_allclose(share, [0, 1 / 8, 2 / 8, 5 / 8, 0], atol=0.025)


def test_two_draws_without_replacement_leave_the_first_out() -> None:
    """P(i, j) = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j)."""
    p = np.array([0.1, 0.3, 0.6])
    pairs = [tuple(pick(p, Selection(n=2), seed)) for seed in range(4000)]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
        assert pairs.count((i, j)) / 4000 == pytest.approx(expected, abs=0.025)


def test_draws_with_replacement_perturb_an_example_once() -> None:
    p = np.array([0.1, 0.3, 0.6])
    sizes = [len(pick(p, Selection(n=2, replacement=True), seed)) for seed in range(4000)]
    assert sizes.count(1) / 4000 == pytest.approx(float((p**2).sum()), abs=0.025)


@pytest.mark.parametrize(
    ("scores_N", "n", "expected"),
    [([1.0, 2.0, 3.0], 9, [0, 1, 2]), ([0.0, 2.0, 3.0], 3, [1, 2]), ([0.0, 0.0, np.inf], 3, [0, 1, 2])],
)
def test_when_fewer_can_be_drawn(scores_N: list[float], n: int, expected: list[int]) -> None:
    assert pick(np.array(scores_N), Selection(n=n), 0).tolist() == expected


def fgsm(network: nn.Module, feed: Feed, epsilon: float) -> Tensor:
    """x + epsilon sign grad of every training example at the present weights."""
    batch = feed.data.train.batch(torch.arange(len(feed.data.train)))
    x = batch.views[0].clone().requires_grad_()
    lost = nn.functional.cross_entropy(network.eval()(x), batch.labels, reduction="sum")
    moved = x + epsilon * torch.autograd.grad(lost, x)[0].sign()
    network.train()
    return moved.clamp(0, 1).detach()


@pytest.mark.parametrize("with_augmentation", [False, True])
def test_frozen_perturbations_are_those_of_the_weights_at_the_start(
    make_trial: Make, with_augmentation: bool
) -> None:
    trial = make_trial(method=adaptive(), augment={"crop": 1, "flip": True} if with_augmentation else {})
    network, gradients, feed = started(trial)
    begin_epoch(gradients, feed.data.train, trial.slots, 0)
    expected = fgsm(network, feed, 0.3)
    with torch.no_grad():
        for w in network.parameters():
            w += 0.1
    places = torch.arange(10, 30)
    picked = gradients.state.picked
    assert picked is not None
    assert int((picked >= 0).sum()) == 20
    batch = feed.take(places, 3).batch
    plain = feed.data.train.batch(places).views[0]
    drawn = (picked[places] >= 0).view(-1, 1, 1, 1)
    wanted = torch.where(drawn, expected[places], plain)
    wanted, plain = (augment(x, trial.augment, trial.seed, 3, batch.index) for x in (wanted, plain))
    assert batch.attacked is not None
    assert batch.chosen is None
    assert torch.allclose(batch.attacked, wanted, atol=1e-6)
    assert torch.equal(batch.views[0], plain)
    assert not torch.allclose(plain, wanted, atol=0.1)


def test_refreshed_perturbations_are_made_in_the_step(make_trial: Make) -> None:
    trial = make_trial(method=adaptive(perturbations="refreshed"))
    _, gradients, feed = started(trial)
    begin_epoch(gradients, feed.data.train, trial.slots, 0)
    batch = feed.take(torch.arange(10, 30), 3).batch
    assert gradients.state.frozen is None
    assert batch.attacked is None
    assert batch.chosen is not None
    assert gradients.state.picked is not None
    assert batch.chosen.tolist() == (gradients.state.picked[10:30] >= 0).nonzero()[:, 0].tolist()


def test_every_epoch_draws_anew(make_trial: Make) -> None:
    trial = make_trial(method=adaptive())
    _, gradients, feed = started(trial)
    drawn = []
    for epoch in range(2):
        begin_epoch(gradients, feed.data.train, trial.slots, epoch)
        assert gradients.state.picked is not None
        drawn.append(gradients.state.picked >= 0)
    assert not torch.equal(drawn[0], drawn[1])


def test_frozen_and_refreshed_differ_and_unlabelled_examples_are_never_drawn(make_trial: Make) -> None:
    found = [train(make_trial(method=adaptive(perturbations=way))).history for way in ("frozen", "refreshed")]
    assert found[0] != found[1]
    composed = {
        "selection": {"n": 10},
        "input": {"kind": "attack", "steps": 1, "start": "zero", "epsilon": 0.2},
        "objective": {
            "terms": [{"branch": "attack", "divergence": "ce"}, {"branch": "view", "divergence": "kl"}]
        },
    }
    data = {"name": "digits", "train_size": 60, "labelled": 30}
    for way in ("frozen", "refreshed"):
        composed["selection"] = {"n": 10, "perturbations": way}
        assert train(make_trial(method=composed, data=data)).status == "completed"
    trial = make_trial(method=composed, data=data)
    _, gradients, feed = started(trial)
    begin_epoch(gradients, feed.data.train, trial.slots, 0)
    batch = feed.take(torch.arange(10), 0).batch
    assert batch.chosen is not None
    assert len(batch) == 30
    assert batch.chosen.max() < 10
