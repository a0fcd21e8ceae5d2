"""Evaluate a checkpoint of a finished trial: data and network as in training, weights from the file."""

from __future__ import annotations

from pathlib import Path

from engine import checkpoint
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.models.catalog import config as model_config
from engine.train import placed


def evaluate_checkpoint(
    trial: Trial,
    config: EvaluationConfig,
    weights: Path,
    workers: Workers | None = None,
    folder: Path | None = None,
) -> Findings:
    """Evaluate the weights that a trial kept.

    Args:
        trial: what was trained. config: how it is evaluated. weights: the checkpoint's file.
        workers: who share the work; None is this process alone.
        folder: where a long evaluation keeps what it has finished; None keeps nothing.

    Raises:
        InputError: the weights are not there, or the evaluation does not apply.
    """
    workers = workers or Workers()
    data = load(trial.data, trial.seed, workers.device)
    network = model_config(trial.model).build(data.info, data.words)
    network = placed(network, data.info, workers.device)
    network.load_state_dict(checkpoint.load_weights(weights, workers.device))
    return config.run(Subject(network.eval(), data, workers, folder))
