"""Evaluations shared by two workers, as two threads that add up their tensors, equal those of one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluations.base import Findings, Subject

Make = Callable[..., Any]


class Meeting:
    """Where two threads leave their tensors and take the sum."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=60)
        self.left: dict[int, Tensor] = {}

    def total(self, rank: int, x: Tensor) -> Tensor:
        self.left[rank] = x.clone()
        self.barrier.wait()
        x.copy_(self.left[0] + self.left[1])
        self.barrier.wait()
        return x


@dataclass(frozen=True)
class Thread(Workers):
    meeting: Meeting = field(default_factory=Meeting)

    def total(self, x: Tensor) -> Tensor:
        return self.meeting.total(self.rank, x)


def shared(settings: Any, subject: Subject, folder: Path | None = None) -> list[Findings]:
    """What each of two workers finds."""
    meeting = Meeting()

    def one(rank: int) -> Findings:
        mine = replace(
            subject,
            network=copy.deepcopy(subject.network),
            workers=Thread(rank, 2, meeting=meeting),
            folder=folder,
        )
        found: Findings = settings.run(mine)
        return found

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, (0, 1)))


def close(a: Findings, b: Findings) -> bool:
    numbers = [[v for rows in f.tables.values() for row in rows for v in row.values()] for f in (a, b)]
    same = [
        x == (pytest.approx(y, rel=1e-4) if isinstance(y, float) else y)
        for x, y in zip(*numbers, strict=True)
    ]
    return all(same) and a.examples == b.examples


def test_points_are_bitwise_those_of_one_worker(subject: Subject, make: Make, tmp_path: Path) -> None:
    attack = {"kind": "attack", "epsilon": 0.1, "step_size": 0.05, "steps": 2}
    settings = make("landscape", points=4, examples=40, loss="adversarial", attack=attack)
    alone = settings.run(subject)
    assert shared(settings, subject, tmp_path) == [alone, alone]
    assert len(list(tmp_path.iterdir())) == 1
    assert shared(settings, subject, tmp_path) == [alone, alone]
    assert settings.run(replace(subject, folder=tmp_path)) == alone


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("landscape", {"points": 3, "span": (-0.02, 0.02), "along": "adversarial", "examples": 41}),
        ("weight_perturbation", {"gammas": [0.001, 0.02], "examples": 41}),
        ("activations", {"module": "conv2", "examples": 41, "span": (-1.0, 1.0)}),
    ],
)
def test_examples_are_shared(subject: Subject, make: Make, name: str, settings: dict[str, Any]) -> None:
    chosen = make(name, **settings)
    first, second = shared(chosen, subject)
    assert first == second
    assert close(first, chosen.run(subject))


def test_more_workers_than_examples(subject: Subject, make: Make) -> None:
    workers = Workers(0, 3)
    with pytest.raises(InputError, match="examples"):
        make("activations", module="conv1", examples=2).run(replace(subject, workers=workers))
    assert torch.equal(workers.share(torch.arange(2)), torch.arange(1))
