"""Checkpoints: written atomically, enough of them kept to continue bit for bit.

No generator's state needs saving: every draw is a function of (seed, epoch or step, place), and torch's
global generator is seeded anew at each step (:mod:`engine.perturb.random`).
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import InputError
from engine.files import RESUME, write_atomic

State = dict[str, Tensor]


@dataclass
class Progress:
    """Where a trial stands; all that its loop carries besides model and optimiser.

    Attributes:
        epoch: epochs finished. step: optimisation steps finished in the epoch under way.
        loss, correct, seen: sums over the examples of that epoch so far, over all workers.
        history: metrics of the finished epochs.
        chosen: epoch, from 1, that each checkpoint (``best``, ``best.NAME``) holds. weights: their weights.
        method: what the method carries over (:class:`engine.state.State`). scaler: the loss scale.
        seconds: of training so far, by phase.
        lineage: of a member of a population (:class:`Member`); empty for every other trial.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    chosen: dict[str, int] = field(default_factory=dict)
    weights: dict[str, State] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch chosen on validation; 0 before the first."""
        return self.chosen.get("best", 0)


@dataclass(frozen=True)
class Member:
    """A trial of a population, which takes over what others have learnt and changes settings on the way.

    Attributes:
        key: of the member, in place of the trial's own, which changes with the settings.
        lineage: how its weights came about, one segment for each time that settings changed: the first
            ``epoch`` that was trained with them, the ``settings``, by dotted name, and ``from``, the key
            of the member whose checkpoint was taken over before that epoch, empty for none.
    """

    key: str
    lineage: tuple[dict[str, Any], ...] = ()


def save(folder: Path, key: str, model: State, optimizer: dict[str, Any], progress: Progress) -> Path:
    """Write the point from which the trial can continue, behind the SHA-256 of its bytes."""
    saved = {"key": key, "model": model, "optimizer": optimizer, **vars(progress)}
    write_atomic(folder / RESUME, _sealed(saved))
    return folder / RESUME


def load(folder: Path, key: str, device: torch.device) -> tuple[State, dict[str, Any], Progress] | None:
    """The saved point, None where there is none.

    A damaged file is set aside and treated as absent: the trial starts afresh, which costs time and no
    truth. One of another trial is refused.

    Raises:
        InputError: the folder belongs to another trial.
    """
    path = folder / RESUME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    saved = _opened(content, device)
    if saved is None:
        with suppress(FileNotFoundError):  # another worker of the trial has set it aside
            path.rename(path.with_suffix(".damaged"))
        return None
    if saved.pop("key") != key:
        raise InputError("folder", str(folder), f"a folder of trial {key[:12]}; it holds another trial")
    return saved.pop("model"), saved.pop("optimizer"), Progress(**saved)


def adopt(content: bytes, donor: str, key: str, settings: dict[str, Any]) -> bytes:
    """A saved point of one member of a population as that of another, which goes on with other settings.

    All of it is taken over: weights, optimiser, epoch, history, the method's state. Its lineage is the
    donor's and one segment more.

    Args:
        content: of the file that :func:`save` wrote, at the end of an epoch. donor: key that it belongs to.
        key: of the member that takes it over. settings: that it trains with from the next epoch on.

    Raises:
        InputError: the file is damaged, belongs to another trial, or was written within an epoch.
    """
    saved = _opened(content, torch.device("cpu"))
    if saved is None:
        raise InputError("checkpoint", f"of {donor[:12]}", "one that is whole; its checksum is another")
    if saved["key"] != donor:
        raise InputError("checkpoint", f"of {saved['key'][:12]}", f"one of trial {donor[:12]}")
    if saved["step"]:
        place = f"of {donor[:12]}, in epoch {saved['epoch'] + 1}"
        raise InputError("checkpoint", place, "one that was written at the end of an epoch")
    segment = {"epoch": saved["epoch"] + 1, "from": donor, "settings": dict(settings)}
    return _sealed(saved | {"key": key, "lineage": [*saved.get("lineage", ()), segment]})


def peek(content: bytes, key: str) -> Progress | None:
    """Where a saved point stands, without its weights; None where it is damaged or another trial's."""
    saved = _opened(content, torch.device("cpu"))
    if saved is None or saved.pop("key") != key:
        return None
    del saved["model"], saved["optimizer"]
    return Progress(**saved | {"weights": {}})


def save_weights(folder: Path, checkpoint: str, model: State) -> Path:
    """Keep weights under the name of their checkpoint (``best``, ``last``)."""
    path = folder / f"{checkpoint}.pt"
    write_atomic(path, _bytes(model))
    return path


def load_weights(path: Path, device: torch.device) -> State:
    """Weights that :func:`save_weights` kept.

    Raises:
        InputError: the file is not there.
    """
    if not path.is_file():
        raise InputError("init.from", str(path), "a checkpoint that its trial kept; train the parent first")
    state: State = torch.load(path, map_location=device, weights_only=True)
    return state


def _sealed(saved: dict[str, Any]) -> bytes:
    """A saved point behind the SHA-256 of its bytes."""
    body = _bytes(saved)
    return hashlib.sha256(body).digest() + body


def _opened(content: bytes, device: torch.device) -> dict[str, Any] | None:
    """What :func:`_sealed` wrote; None where it is damaged."""
    if hashlib.sha256(content[32:]).digest() != content[:32]:  # torch.load itself checks no checksum
        return None
    saved: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location=device, weights_only=True)
    return saved


def _bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
