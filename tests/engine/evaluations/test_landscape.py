from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.data.loading import load
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluate import evaluate
from engine.evaluations import surroundings
from engine.evaluations.base import Findings, Subject
from engine.evaluations.measure import adversarial, first, gradients, measure
from engine.models.catalog import config as model_config
from engine.perturb.directions import filter_normalised
from engine.perturb.targets import perturbed
from engine.slots.attack import Attack

Make = Callable[..., Any]
State = Callable[[nn.Module], dict[str, bytes]]
ATTACK = {"kind": "attack", "epsilon": 0.1, "step_size": 0.05, "steps": 3}
PGD = Attack.model_validate({**ATTACK, "mode": "eval"})


class Linear(nn.Module):
    """Logits (s, 0) with s = sum of the pixels' weights times x: the loss has a closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.norm(self.fc(x_BCHW.flatten(1)))
        return logits_BC


class Quadratic:
    """Stands in for the loss at a point: 1 + 2 sum_l ||w_l - c_l||^2 for known centres."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.start = {n: p.detach().double().clone() for n, p in network.named_parameters()}

    def __call__(self, *_: Any) -> tuple[float, float]:
        with torch.no_grad():
            moved = [(p.double() - self.start[n]).square().sum() for n, p in self.network.named_parameters()]
        return 1 + 2 * float(torch.stack(moved).sum()), 0.5


def rows(findings: Findings) -> list[dict[str, Any]]:
    return [dict(row) for row in findings.tables["landscape"]]


def test_the_centre_is_the_loss_of_the_clean_evaluation(subject: Subject, make: Make) -> None:
    found = make("landscape", points=5).run(subject)
    clean = evaluate(subject.network, subject.data.test, Workers())
    assert found.metrics["loss"] == clean.loss
    assert found.metrics["accuracy"] == clean.accuracy
    (centre,) = [row for row in rows(found) if row["alpha"] == 0]
    assert (centre["loss"], centre["relative"], centre["accuracy"]) == (clean.loss, 0.0, clean.accuracy)
    assert [row["alpha"] for row in rows(found)] == [-1, -0.5, 0, 0.5, 1]
    assert found.examples == len(subject.data.test)
    rises = [row["relative"] for row in rows(found) if row["alpha"]]
    assert found.metrics["sharpness"] == pytest.approx(np.mean(rises), rel=1e-12)


def test_each_point_is_the_loss_at_the_moved_weights(subject: Subject, make: Make) -> None:
    found = make("landscape", dimensions=2, points=3, span=(-0.4, 0.8), seed=7, directions=2).run(subject)
    table = rows(found)
    assert len(table) == 2 * 9
    network = model_config({"name": "lenet5_8x8"}).build(subject.data.info).eval()
    for row in (table[1], table[9 + 5]):
        first = 2 * row["direction"]
        d, e = (filter_normalised(subject.network, 7, first + k) for k in (0, 1))
        weights = {n: t.clone() for n, t in subject.network.state_dict().items()}
        for name in d:
            weights[name] += row["alpha"] * d[name] + row["beta"] * e[name]
        network.load_state_dict(weights)
        expected = evaluate(network, subject.data.test, Workers())
        assert row["loss"] == pytest.approx(expected.loss, rel=1e-5)
        assert row["accuracy"] == expected.accuracy
        assert row["relative"] == abs(row["loss"] - found.metrics["loss"])


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_quadratic_has_its_closed_form(
    subject: Subject, make: Make, monkeypatch: pytest.MonkeyPatch, dimensions: int
) -> None:
    monkeypatch.setattr(surroundings, "measure", Quadratic(subject.network))
    settings = make("landscape", points=5, dimensions=dimensions, directions=2, radius=1.0)
    found = settings.run(subject)
    near = []
    for row in rows(found):
        first = dimensions * row["direction"]
        axes = [filter_normalised(subject.network, 0, first + k) for k in range(dimensions)]
        place = [row["alpha"], row.get("beta", 0.0)]
        moved = [sum(a * d[n].double() for a, d in zip(place, axes, strict=False)) for n in axes[0]]
        expected = 2 * sum(float(torch.as_tensor(m).square().sum()) for m in moved)
        assert row["relative"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        if 0 < np.hypot(*place) <= 1:
            near.append(expected)
    assert found.metrics["sharpness@1"] == pytest.approx(np.mean(near), rel=1e-5)
    # Along a line every filter of w moves by alpha times its own norm.
    if dimensions == 1:
        squares = sum(float(p.detach().square().sum()) for p in subject.network.parameters() if p.dim() > 1)
        assert rows(found)[0]["loss"] == pytest.approx(1 + 2 * squares, rel=1e-5)


def test_without_a_centre_on_the_grid(subject: Subject, make: Make) -> None:
    found = make("landscape", points=4, examples=50).run(subject)
    assert len(rows(found)) == 4
    assert all(row["alpha"] for row in rows(found))
    assert found.metrics["loss"] == evaluate(subject.network, first(subject.data.test, 50), Workers()).loss


def test_the_adversarial_loss_is_above_the_clean_one(subject: Subject, make: Make) -> None:
    shared = {"points": 5, "examples": 120, "split": "train"}
    clean = rows(make("landscape", **shared).run(subject))
    attacked = rows(make("landscape", **shared, loss="adversarial", attack=ATTACK).run(subject))
    assert all(a["loss"] > c["loss"] for a, c in zip(attacked, clean, strict=True))
    assert all(a["accuracy"] <= c["accuracy"] for a, c in zip(attacked, clean, strict=True))
    centre = measure(subject.network, first(subject.data.train, 120), PGD, 0, Workers())
    assert (attacked[2]["loss"], attacked[2]["accuracy"]) == centre


def test_examples_are_attacked_at_the_moved_weights(subject: Subject, make: Make) -> None:
    """AWP's difference to earlier work: examples made at the centre underestimate the loss."""
    settings = make("landscape", points=3, examples=60, loss="adversarial", attack=ATTACK)
    end = rows(settings.run(subject))[2]
    examples = first(subject.data.test, 60)
    batch = examples.batch(torch.arange(60))
    stale = adversarial(subject.network, batch, PGD, 0)
    with perturbed(subject.network, filter_normalised(subject.network, 0, 0)):
        fresh = adversarial(subject.network, batch, PGD, 0)
        losses = [
            nn.functional.cross_entropy(subject.network(batch.views[0] + r), batch.labels).item()
            for r in (fresh, stale)
        ]
    assert end["loss"] == pytest.approx(losses[0], rel=1e-5)
    assert losses[0] > losses[1]


def test_the_adversarial_direction_is_the_relative_gradient(subject: Subject, make: Make) -> None:
    found = make("landscape", points=3, span=(-1e-4, 1e-4), along="adversarial").run(subject)
    examples = subject.data.test
    names = tuple(n for n, p in subject.network.named_parameters() if p.dim() > 1)
    network = subject.network
    whole = examples.batch(torch.arange(len(examples)))
    loss = nn.functional.cross_entropy(network(whole.views[0]), whole.labels)
    g = dict(zip(names, torch.autograd.grad(loss, [network.get_parameter(n) for n in names]), strict=True))
    found_g = gradients(network, names, examples, None, 0, Workers())
    assert all(torch.allclose(found_g[n], g[n], rtol=1e-4, atol=1e-7) for n in names)
    slope = sum(float(g[n].norm() * network.get_parameter(n).detach().norm()) for n in names)
    low, _, high = rows(found)
    assert (high["loss"] - low["loss"]) / 2e-4 == pytest.approx(slope, rel=0.01)


def test_two_axes_of_their_own_spans(subject: Subject, make: Make) -> None:
    settings = make(
        "landscape", dimensions=2, points=3, along="adversarial", span=(-0.01, 0.01), span_beta=(-1, 1)
    )
    table = rows(settings.run(subject))
    assert [(r["alpha"], r["beta"]) for r in table[:4]] == [(-0.01, -1), (-0.01, 0), (-0.01, 1), (0, -1)]
    random = rows(make("landscape", dimensions=2, points=3).run(subject))
    assert [r["loss"] for r in table if not r["alpha"]] == [r["loss"] for r in random if not r["alpha"]]


def test_interrupted_and_resumed_equals_uninterrupted(
    subject: Subject, make: Make, state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = make("landscape", points=7, examples=40, loss="adversarial", attack=ATTACK, directions=2)
    before = state(subject.network)
    whole = settings.run(subject)
    assert state(subject.network) == before
    kept = replace(subject, folder=tmp_path)
    count = 0

    def failing(*arguments: Any) -> tuple[float, float]:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(surroundings, "measure", failing)
    with pytest.raises(KeyboardInterrupt):
        settings.run(kept)
    assert state(subject.network) == before, "weights are restored bit for bit when interrupted"
    resumed = settings.run(kept)
    assert resumed == whole
    assert count == 6 + 13 - 5
    settings.run(kept)
    assert count == 6 + 13 - 5, "kept points are not computed again"
    make("landscape", points=7, examples=41, loss="adversarial", attack=ATTACK, directions=2).run(kept)
    assert count == 6 + 13 - 5 + 13, "other settings are"


def test_buffers_and_modes_stay(subject: Subject, make: Make, state: State) -> None:
    torch.manual_seed(0)
    normed = replace(subject, network=Linear().eval())
    before = state(normed.network)
    make("landscape", points=3, loss="adversarial", attack=ATTACK, examples=20).run(normed)
    make("landscape", points=3, along="adversarial", examples=20).run(normed)
    assert state(normed.network) == before


def test_text(make_trial: Callable[..., Any], make: Make, state: State) -> None:
    trial = make_trial(text=True)
    data = load(trial.data, 0, torch.device("cpu"))
    torch.manual_seed(0)
    network = model_config(trial.model).build(data.info, data.words).eval()
    subject, before = Subject(network, data, Workers()), state(network)
    attack = {**ATTACK, "clamp": None, "norm": "l2", "epsilon": 3.0, "step_size": 1.0}
    clean = rows(make("landscape", points=3).run(subject))
    attacked = rows(make("landscape", points=3, loss="adversarial", attack=attack).run(subject))
    assert clean[1]["loss"] == evaluate(network, data.test, Workers()).loss
    assert all(a["loss"] > c["loss"] for a, c in zip(attacked, clean, strict=True))
    assert state(network) == before
    with pytest.raises(InputError, match=r"attack\.clamp"):
        make("landscape", points=3, loss="adversarial", attack=ATTACK).run(subject)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"span": (1.0, 1.0)}, "span"),
        ({"span_beta": (1.0, -1.0)}, "span_beta"),
        ({"radius": 0.01}, "radius"),
        ({"along": "adversarial", "directions": 2}, "directions"),
        ({"points": 1}, "points"),
        ({"dimensions": 3}, "dimensions"),
    ],
)
def test_bad_settings(make: Make, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make("landscape", **settings)


def test_only_what_has_an_effect_is_in_the_key(make: Make) -> None:
    plain = make("landscape").canonical()
    assert make("landscape", attack=ATTACK).canonical() == plain
    assert make("landscape", loss="adversarial", attack={**ATTACK, "epsilon": 0.0}).canonical() == plain
    attacked = make("landscape", loss="adversarial", attack=ATTACK).canonical()
    assert attacked != plain
    assert make("landscape", loss="adversarial", attack={**ATTACK, "mode": "eval"}).canonical() == attacked
    default = make("landscape", loss="adversarial").canonical()
    assert default not in (plain, attacked)
