"""Each preset's whole step against its paper's formula in float64, on a network of one hidden layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.components import names
from tests.engine.methods.papers import P_DROP, PAPERS
from tests.engine.oracles import agree, gradient, slots_of, step, theta_of, tiny

ELSEWHERE = {"free_at": "test_step_replay", "temporal": "test_branches"}


def test_every_preset_is_proved() -> None:
    assert PAPERS.keys() | ELSEWHERE.keys() == set(names("methods"))


@pytest.mark.parametrize("name", PAPERS)
def test_the_step_is_the_papers(name: str) -> None:
    settings, paper = PAPERS[name]
    network, batch = tiny(p=P_DROP, seed=1, views=2)
    options: dict[str, Any] = {"epoch": 10.0} if name == "trades_awp" else {}
    if name.startswith("rst"):
        batch, options = replace(batch, extra=3, pseudo=True), {"labelled": 4, "examples": 7}
    if name == "adaptive":
        batch = replace(batch, chosen=torch.tensor([1, 4]))
    before = {n: w.detach().clone() for n, w in network.named_parameters()}
    found = step(network, batch, {"name": name, **settings}, **options)
    theta = theta_of(network)
    agree(found, gradient(paper(theta, batch), theta))
    assert all(torch.equal(before[n], w) for n, w in network.named_parameters()), "restored bit for bit"


@pytest.mark.parametrize("name", PAPERS)
def test_forward_passes_are_counted(name: str) -> None:
    network, batch = tiny(p=P_DROP, views=2)
    settings, count = PAPERS[name][0], []
    network.register_forward_hook(lambda module, given, out: count.append(1))
    slots = slots_of({"name": name, **settings})
    step(network, batch, slots, epoch=10.0)
    assert len(count) == slots.passes
