"""Batches of a trial: order, unlabelled examples, augmentation, mixup, pixels to reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.data.augment import augment
from engine.data.augment_settings import Augment
from engine.data.loading import load
from engine.data.mixup import mixup_partners, mixup_weight
from engine.distributed import Workers
from engine.feed import Feed, joined
from engine.models.catalog import config as model_config
from engine.parent import pseudo_labelled
from engine.state import State
from engine.train import train

Make = Callable[..., Trial]
CPU = torch.device("cpu")
LABELLED = {"name": "digits", "train_size": 60, "labelled": 30}
PI = {"name": "pi_model", "weight": 1.0}


def feed_of(trial: Trial) -> Feed:
    return Feed(trial, load(trial.data, trial.seed, CPU), Workers(), State(), empty=False)


def places(feed: Feed, epochs: int) -> list[Tensor]:
    return [places_B for epoch in range(epochs) for places_B in feed.epoch(epoch)]


def test_steps_of_an_epoch(make_trial: Make) -> None:
    feed = feed_of(make_trial(batch_size=25))
    assert feed.steps == 3
    assert [len(p) for p in places(feed, 1)] == [25, 25, 10]
    feed = feed_of(make_trial(batch_size=25, steps_per_epoch=5))
    taken = places(feed, 12)  # 60 steps of 25: 25 passes over 60 examples
    assert [len(p) for p in taken] == [25] * 60
    assert torch.equal(torch.bincount(torch.cat(taken)), torch.full((60,), 25))


def test_unlabelled_examples_ride_along_only_where_they_are_learnt_from(make_trial: Make) -> None:
    plain = feed_of(make_trial(data=LABELLED))
    assert len(plain.take(torch.arange(10), 0).batch) == 10
    feed = feed_of(make_trial(data=LABELLED, method=PI, unlabelled_batch=12, batch_size=10))
    taken = feed.take(torch.arange(10), 3)
    assert (taken.labelled, taken.examples, len(taken.batch), taken.batch.extra) == (10, 22, 22, 12)
    assert taken.batch.labels is not None
    assert len(taken.batch.labels) == 10
    assert not taken.batch.pseudo
    assert (taken.places[:10] < 30).all()
    assert (taken.places[10:] >= 30).all()
    train_set, others = feed.data.train, feed.data.unlabelled
    assert others is not None
    known = torch.cat([train_set.index, others.index])
    assert torch.equal(taken.batch.index, known[taken.places]), "places count on"
    seen = torch.cat([feed.take(torch.arange(10), step).places[10:] for step in range(5)])
    assert torch.equal(torch.bincount(seen - 30), torch.full((30,), 2)), "60 draws: two passes over 30"


def test_pseudo_labels_are_a_networks_answers(make_trial: Make) -> None:
    trial = make_trial(data=LABELLED)
    splits = load(trial.data, 0, CPU)
    network = model_config(trial.model).build(splits.info)
    assert splits.unlabelled is not None
    found = pseudo_labelled(splits.unlabelled, network, batch=7)
    x = splits.unlabelled.batch(torch.arange(30)).views[0]
    assert found.labels is not None
    assert torch.equal(found.labels, network.eval()(x).argmax(1))
    assert splits.unlabelled.labels is None
    both = joined(splits.train.batch(torch.arange(4)), found.batch(torch.arange(3)))
    assert both.labels is not None
    assert (len(both), both.extra, both.pseudo, len(both.labels)) == (7, 3, True, 7)


@pytest.mark.parametrize("part", [(0, 3), (2, 6), (4, 7), (5, 6)])
def test_parts_know_their_extra_rows(make_trial: Make, part: tuple[int, int]) -> None:
    splits = load(make_trial(data=LABELLED).data, 0, CPU)
    assert splits.unlabelled is not None
    both = joined(splits.train.batch(torch.arange(4)), splits.unlabelled.batch(torch.arange(3)))
    assert both.part(*part).extra == len(set(range(4, 7)) & set(range(*part)))


def test_two_views_where_a_method_compares_them(make_trial: Make) -> None:
    varied = {"crop": 1, "noise": 0.1}
    assert len(feed_of(make_trial(augment=varied)).take(torch.arange(5), 0).batch.views) == 1
    batch = feed_of(make_trial(augment=varied, method=PI)).take(torch.arange(5), 4).batch
    x = load(make_trial().data, 0, CPU).train.batch(torch.arange(5)).views[0]
    for view in range(2):
        expected = augment(x, Augment(crop=1, noise=0.1), 0, 4, batch.index, view)
        assert torch.equal(batch.views[view], expected)
    assert not torch.equal(*batch.views)
    assert len(feed_of(make_trial(method=PI)).take(torch.arange(5), 0).batch.views) == 1


def test_mixup_mixes_the_augmented_batch_with_itself(make_trial: Make) -> None:
    flips = {"flip": True, "crop": 1}
    trial = make_trial(mixup=1.4, augment=flips)
    feed, where = feed_of(trial), torch.tensor([9, 4, 31, 2, 17])
    taken = feed.take(where, 6)
    batch = feed.data.train.batch(where)
    x = augment(batch.views[0], Augment(flip=True, crop=1), trial.seed, 6, batch.index)
    assert batch.labels is not None
    y = nn.functional.one_hot(batch.labels, 10).double()
    weight, partner = mixup_weight(0, 6, 1.4), mixup_partners(0, 6, 5, CPU)
    assert taken.aims is not None
    assert torch.allclose(taken.batch.views[0], weight * x + (1 - weight) * x[partner], atol=1e-6)
    assert torch.allclose(taken.aims.double(), weight * y + (1 - weight) * y[partner], atol=1e-6)
    assert torch.allclose(taken.aims.sum(1), torch.ones(5))


def test_what_is_reconstructed_is_the_example_as_it_was(make_trial: Make) -> None:
    model = {"name": "autoencoder", "hidden": 9}
    trial = make_trial(model=model, augment={"noise": 0.3}, select="val.loss")
    taken = feed_of(trial).take(torch.arange(6), 0)
    plain = load(trial.data, 0, CPU).train.batch(torch.arange(6)).views[0]
    assert taken.aims is not None
    assert torch.equal(taken.aims, plain)
    assert not torch.equal(taken.batch.views[0], plain)


@pytest.mark.parametrize(
    "method", ["standard", {"name": "sadd", "delta": 0.3, "weight": 0.2, "ramp": 0}, {"name": "fgm"}]
)
def test_an_autoencoder_learns_to_reconstruct(make_trial: Make, method: Any) -> None:
    model = {"name": "autoencoder", "hidden": 64}
    data = {"name": "digits", "train_size": 300}
    trial = make_trial(
        model=model,
        method=method,
        data=data,
        epochs=12,
        optimizer={"name": "adam", "lr": 0.01},
        select="val.loss",
    )
    result = train(trial)
    splits = load(trial.data, 0, CPU)
    x = splits.train.batch(torch.arange(300)).views[0]
    spread = float((x - x.mean(0)).square().mean())
    losses = [epoch["val.loss"] for epoch in result.history]
    assert losses[-1] < 0.7 * spread, "better than the mean image"
    assert losses[-1] < losses[0]
    assert not [name for name in result.best if name.endswith("accuracy")], "it has no classes"


@pytest.mark.parametrize(
    "settings",
    [
        {"augment": {"crop": 1, "flip": True}},
        {"augment": {"cutout": 3}},
        {"augment": {"rotation": 15.0}},
        {"mixup": 1.4},
        {"method": {"name": "at", "epsilon": 0.1, "steps": 2, "step_size": 0.1}, "mixup": 1.4},
        {"regularise": {"l1": 1e-3}},
        {"regularise": {"l2": 1e-2}},
        {"steps_per_epoch": 5},
    ],
)
def test_every_setting_of_the_training_set_does_something(make_trial: Make, settings: dict[str, Any]) -> None:
    adam = {"optimizer": {"name": "adam", "lr": 0.01}}
    found = train(make_trial(**settings, **adam))
    idle = {"mixup": 0.0, "augment": {}, "regularise": {}, "steps_per_epoch": None}
    plain = train(make_trial(**{**settings, **idle, **adam}))
    assert found.status == "completed"
    assert found.history[-1]["val.loss"] != plain.history[-1]["val.loss"]
