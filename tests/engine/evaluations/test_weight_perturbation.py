from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.errors import InputError
from engine.evaluate import evaluate
from engine.evaluations import surroundings
from engine.evaluations.base import Subject
from engine.evaluations.measure import adversarial, first, measure
from engine.perturb.targets import perturbed
from engine.slots.attack import Attack

Make = Callable[..., Any]
ATTACK = {"kind": "attack", "epsilon": 0.1, "step_size": 0.05, "steps": 3}
GAMMAS = [0.002, 0.01, 0.05]
KEPT: dict[str, Any] = {"gammas": GAMMAS, "draws": 2, "examples": 80}


def losses(table: list[dict[str, Any]], kind: str, draw: int = 0) -> list[float]:
    return [row["loss"] for row in table if (row["kind"], row["draw"]) == (kind, draw)]


def test_against_the_formula(subject: Subject, make: Make) -> None:
    found = make("weight_perturbation", **KEPT).run(subject)
    table = found.tables["weight_perturbation"]
    examples, network = first(subject.data.test, 80), subject.network
    batch = examples.batch(torch.arange(80))
    named = {n: p for n, p in network.named_parameters() if p.dim() > 1}
    loss = nn.functional.cross_entropy(network(batch.views[0]), batch.labels)
    g = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
    for gamma, measured in zip(GAMMAS, losses(table, "adversarial")[1:], strict=True):
        v = {n: gamma * p.detach().norm() * g[n] / g[n].norm() for n, p in named.items()}
        with perturbed(network, v):
            expected = evaluate(network, examples, subject.workers)
        assert measured == pytest.approx(expected.loss, rel=1e-5)
        assert found.metrics[f"adversarial_loss@{gamma:g}"] == measured
    mean = (losses(table, "random", 0)[2] + losses(table, "random", 1)[2]) / 2
    assert found.metrics["random_loss@0.01"] == pytest.approx(mean, rel=1e-12)


def test_worst_case_is_worse_than_random(subject: Subject, make: Make) -> None:
    """Fig. 3(a): at the same size the adversarial perturbation raises the loss far more."""
    settings = make("weight_perturbation", **KEPT, loss="adversarial", attack=ATTACK)
    found = settings.run(subject)
    table = found.tables["weight_perturbation"]
    worst = losses(table, "adversarial")
    assert worst == sorted(worst)
    centre = found.metrics["loss"]
    for draw in (0, 1):
        random = losses(table, "random", draw)
        assert random[0] == worst[0] == centre
        rises = zip(worst[1:], random[1:], strict=True)
        assert all(w - centre > 5 * abs(r - centre) for w, r in rises)
    assert losses(table, "random", 0) != losses(table, "random", 1)


def test_the_gradient_is_of_the_adversarial_loss(subject: Subject) -> None:
    attack = Attack.model_validate({**ATTACK, "mode": "eval"})
    around = surroundings.Surroundings(
        subject.network, first(subject.data.test, 40), attack, 0, subject.workers
    )
    batch = around.examples.batch(torch.arange(40))
    r = adversarial(subject.network, batch, attack, 0)
    loss = nn.functional.cross_entropy(subject.network(batch.views[0] + r), batch.labels)
    w = subject.network.get_parameter("fc1.weight")
    (g,) = torch.autograd.grad(loss, w)
    expected = g / g.norm() * w.detach().norm()
    assert torch.allclose(around.steepest()["fc1.weight"], expected, rtol=1e-3, atol=1e-5)


def test_interrupted_and_resumed(
    subject: Subject, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings, count = make("weight_perturbation", **KEPT), 0
    whole = settings.run(subject)

    def failing(*arguments: Any) -> tuple[float, float]:
        nonlocal count
        count += 1
        if count == 4:
            raise RuntimeError("out of memory")
        return measure(*arguments)

    monkeypatch.setattr(surroundings, "measure", failing)
    held = {n: t.clone() for n, t in subject.network.state_dict().items()}
    with pytest.raises(RuntimeError):
        settings.run(replace(subject, folder=tmp_path))
    assert all(torch.equal(t, held[n]) for n, t in subject.network.state_dict().items())
    assert settings.run(replace(subject, folder=tmp_path)) == whole
    assert count == 4 + 10 - 3


@pytest.mark.parametrize(("kind", "count"), [("adversarial", 4), ("random", 8), ("both", 12)])
def test_kinds(subject: Subject, make: Make, kind: str, count: int) -> None:
    found = make("weight_perturbation", **KEPT, kind=kind).run(subject)
    assert len(found.tables["weight_perturbation"]) == count
    assert sum(row["gamma"] == 0 for row in found.tables["weight_perturbation"]) == count // 4


@pytest.mark.parametrize("gammas", [[], [0.1, 0.01], [0.1, 0.1], [0.0, 0.1], [-1.0]])
def test_bad_gammas(make: Make, gammas: list[float]) -> None:
    with pytest.raises(ValueError, match="gammas"):
        make("weight_perturbation", gammas=gammas)


def test_a_network_without_weight_matrices(subject: Subject, make: Make) -> None:
    with pytest.raises(InputError, match="weight matrices"):
        make("weight_perturbation").run(replace(subject, network=nn.Flatten()))
