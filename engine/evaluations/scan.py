"""Many points of one landscape: shared out over the workers, kept as they are finished, never done twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.distributed import Workers
from engine.files import write_atomic

Point = tuple[float, float]
"""Loss and accuracy."""

SECONDS = 5.0
"""Time between two writes; so much work is lost when a process is killed, none when it is interrupted."""


@dataclass(frozen=True)
class Kept:
    """A file of finished points: its SHA-256, then the points as JSON, which holds floats exactly.

    Attributes:
        path: named by what the points depend on, so that points of other settings are never met.
    """

    path: Path

    @staticmethod
    def at(folder: Path, settings: Mapping[str, Any], network: nn.Module, examples: int) -> Kept:
        """The file for these settings, these weights and this number of examples."""
        depends = json.dumps([settings, _fingerprint(network), examples], sort_keys=True)
        digest = hashlib.sha256(depends.encode()).hexdigest()
        return Kept(folder / f"{settings['name']}-{digest[:16]}.points")

    def load(self) -> dict[int, Point]:
        """Finished points by their number; none where the file is missing or damaged."""
        try:
            check, _, content = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return {}
        if hashlib.sha256(content).hexdigest().encode() != check:
            return {}
        return {int(number): (loss, accuracy) for number, loss, accuracy in json.loads(content)}

    def save(self, points: Mapping[int, Point]) -> None:
        """Replace the file."""
        content = json.dumps([[number, *points[number]] for number in sorted(points)]).encode()
        write_atomic(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def scan(count: int, at: Callable[[int], Point], workers: Workers, kept: Kept | None = None) -> list[Point]:
    """Points 0 ... count - 1, each the work of one worker, so that their number changes no value.

    Args:
        at: loss and accuracy of a point, without any exchange with the other workers.
        kept: where finished points are looked up and written, by rank 0; None keeps nothing.
    """
    kept = kept if workers.rank == 0 else None
    done = _agreed(kept.load() if kept else {}, count, workers)
    missing = [number for number in range(count) if number not in done]
    saved_at, saved = time.monotonic(), len(done)
    try:
        for first in range(0, len(missing), workers.size):
            numbers = missing[first : first + workers.size]
            mine = numbers[workers.rank : workers.rank + 1]
            done |= _agreed({number: at(number) for number in mine}, count, workers)
            if kept and time.monotonic() - saved_at > SECONDS:
                kept.save(done)
                saved_at, saved = time.monotonic(), len(done)
    finally:
        if kept and len(done) > saved:
            kept.save(done)
    return [done[number] for number in range(count)]


def _agreed(mine: Mapping[int, Point], count: int, workers: Workers) -> dict[int, Point]:
    """The workers' points together; no two have the same one."""
    if workers.size == 1:
        return dict(mine)
    table = torch.zeros(count, 3, dtype=torch.float64, device=workers.device)
    for number, point in mine.items():
        table[number] = torch.tensor([1.0, *point], dtype=torch.float64)
    rows = workers.total(table).tolist()
    return {number: (loss, accuracy) for number, (is_there, loss, accuracy) in enumerate(rows) if is_there}


def _fingerprint(network: nn.Module) -> str:
    """SHA-256 of the weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
