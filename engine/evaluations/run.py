"""Evaluate a checkpoint that a trial kept, without training anything."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from engine.checkpoint import load_weights
from engine.config import Trial
from engine.data.loading import Splits, load
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.models.catalog import config as model_config
from engine.placing import placed

UNREADABLE = (RuntimeError, EOFError, OSError, UnpicklingError, TypeError, AttributeError)
"""What loading raises for a file that is damaged, or no weights, or those of another model."""


def evaluate_checkpoint(
    trial: Trial,
    config: EvaluationConfig,
    weights: Path,
    workers: Workers | None = None,
    folder: Path | None = None,
) -> Findings:
    """What an evaluation finds of kept weights.

    Args:
        trial: what was trained. config: what to look at. weights: the file that the trial kept.
        workers: who share the work; None is this process alone.
        folder: where a long evaluation keeps what it has finished; None keeps nothing.

    Raises:
        InputError: the evaluation does not fit the trial; no weights there, or those of another model.
        DataMissing: the data are not on this machine.
    """
    workers = workers or Workers()
    config.check(trial.data.info(), trial.model_info)
    data = load(trial.data, trial.seed, workers.device)
    network = restored(trial, data, weights, workers.device)
    return config.run(Subject(network.eval(), data, workers, folder))


def restored(trial: Trial, data: Splits, weights: Path, device: torch.device) -> nn.Module:
    """The trial's network with kept weights, on its device; torch's generator is left as it was.

    Raises:
        InputError: no weights there, or those of another model.
    """
    where = "evaluation.checkpoint"
    if not weights.is_file():
        keep = weights.stem if weights.stem in ("best", "last") else "all"
        raise InputError(where, weights, f"a checkpoint that its trial kept; train it with --keep {keep}")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        network = placed(model_config(trial.model).build(data.info, data.words), data.info, device)
    try:
        network.load_state_dict(load_weights(weights, device))
    except torch.OutOfMemoryError:
        raise
    except UNREADABLE as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(where, weights, f"weights of this trial's model ({first})") from None
    return network
