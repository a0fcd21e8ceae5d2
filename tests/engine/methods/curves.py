"""Short trainings in which each method shows: what the pinned loss curves are curves of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.components import names
from engine.config import Trial
from engine.train import train

FIRST = {"dropattack", "fgm", "pgd", "standard"}
"""Pinned by the first version, with a learning rate of their own."""

ROUGH = {
    "adaptive",
    "free_at",
    "rst",
    "trades",
    *(name for name in names("methods") if name.endswith("_awp")),
}
"""Where rounding decides a sign, a maximum or a draw, so that other instruction sets move the loss by 1e-4.

Weight perturbation changes it by 4e-3 or more. The noise in ``BESIDE`` and the lack of a clamp are for the
same reason: equal pixels of a background make ties in max pooling.
"""

PIXELS = {"epsilon": 0.1, "steps": 3, "step_size": 0.05, "clamp": None}
AWP = {"kind": "relative", "gamma": 0.02}
NOISE = {"augment": {"noise": 0.1}}
DATA = {"name": "digits", "train_size": 300}
SOME_LABELS = {**DATA, "labelled": 150}
FROM_STANDARD = {"from": {"method": "standard", "epochs": 2}, "use": "labels"}
DROPS = {"name": "lenet5_8x8", "dropout": 0.3}
SETTINGS: dict[str, dict[str, Any]] = {
    "dropattack": {"targets": ["input", "conv1.w"], "steps": 2},
    "adaptive": {"n": 100, "epsilon": 0.2, "clamp": None},
    "at": PIXELS,
    "at_awp": {**PIXELS, "weight": AWP},
    "fgsm": {"epsilon": 0.1, "clamp": None},
    "free_at": {"epsilon": 0.1, "clamp": None},
    "freelb": {"epsilon": 2.0, "step_size": 0.7, "init": 1.0},
    "mart": PIXELS,
    "mart_awp": {**PIXELS, "weight": AWP},
    "pi_model": {"ramp": 3},
    "rst": PIXELS,
    "rst_awp": {**PIXELS, "weight": AWP},
    "sadd": {"delta": 0.2, "ramp": 3},
    "temporal": {"ramp": 3},
    "trades": PIXELS,
    "trades_awp": {**PIXELS, "weight": {**AWP, "warmup": 2}},
    "vadd": {"delta": 0.2, "ramp": 3, "entropy": 0.3},
    "vat": {"epsilon": 1.0, "xi": 0.01, "entropy": 0.3},
}
"""Settings with which a method shows in five epochs."""

BESIDE: dict[str, dict[str, Any]] = {
    **{name: {"data": SOME_LABELS, "model": DROPS} for name in ("pi_model", "temporal", "vat")},
    **{name: {"data": SOME_LABELS, "init": FROM_STANDARD, **NOISE} for name in ("rst", "rst_awp")},
    **dict.fromkeys(("adaptive", "at", "at_awp", "fgsm", "free_at", "mart", "mart_awp"), NOISE),
    **dict.fromkeys(("trades", "trades_awp"), NOISE),
    "freelb": {"model": DROPS},
    "sadd": {"model": DROPS},
    "vadd": {"data": SOME_LABELS, "model": DROPS, **NOISE},
}


def trained(
    name: str, make_trial: Callable[..., Trial], folder: Path, **changes: Any
) -> list[dict[str, float]]:
    """The history of a method's training, after its parent's where it has one."""
    settings: dict[str, Any] = {
        "data": DATA,
        "epochs": 5,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "lr": 0.05 if name in FIRST else 0.2},
        "method": {"name": name, **SETTINGS.get(name, {})},
        **BESIDE.get(name, {}),
        **changes,
    }
    trial = make_trial(**settings)
    parent = trial.parent()
    if parent is not None:
        train(parent, folder=folder, keep="best")
    return train(trial, parent=folder / "best.pt").history
