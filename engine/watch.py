"""What is measured after every epoch, and which epochs are kept for it."""

from __future__ import annotations

from torch import Tensor, nn

from engine.checkpoint import Progress
from engine.config import Trial
from engine.data.loading import Splits
from engine.distributed import Workers
from engine.evaluate import Evaluation, evaluate
from engine.evaluations.attacks import image_range
from engine.evaluations.robust import attacked

Metrics = dict[str, float]


def measure(
    network: nn.Module, data: Splits, split: str, trial: Trial, workers: Workers
) -> tuple[Metrics, Evaluation]:
    """``split.loss``, ``split.accuracy``, and ``split.NAME.accuracy`` and ``.loss`` of each attack."""
    examples = getattr(data, split)
    task = trial.model_info.task
    clean = evaluate(network, examples, workers, task=task)
    metrics = clean.metrics(split)
    if task == "reconstruction":  # no example is right or wrong
        del metrics[f"{split}.accuracy"]
    for label, config in trial.attacks.items():
        found = attacked(network, examples, workers, config, image_range(data.info))
        metrics |= found.metrics(f"{split}.{label}")
    return metrics, clean


def contests(trial: Trial) -> dict[str, str]:
    """Metric by which each checkpoint is chosen: ``best``, and those recorded apart.

    >>> from engine.config import Trial
    >>> attacks = {"pgd": {"name": "pgd"}}
    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="at", attacks=attacks))
    >>> contests(t)
    {'best': 'val.accuracy', 'best.pgd': 'val.pgd.accuracy'}
    """
    found = {"best": trial.select}
    for label in trial.attacks:
        found[f"best.{label}"] = f"val.{label}.accuracy"
    if trial.watch_test:
        found["best.test"] = trial.select.replace("val.", "test.", 1)
    return found


def choose(metrics: Metrics, progress: Progress, trial: Trial, weights: dict[str, Tensor]) -> None:
    """Keep this epoch's weights for each contest that it wins; the earlier epoch wins a tie.

    Args:
        metrics: of the epoch that has just been added to ``progress.history``. weights: a copy of them.
    """
    for name, metric in contests(trial).items():
        held = progress.chosen.get(name)
        before = progress.history[held - 1][metric] if held else None
        if better(metrics[metric], before, metric):
            progress.chosen[name], progress.weights[name] = progress.epoch, weights


def final(
    network: nn.Module, data: Splits, trial: Trial, workers: Workers, progress: Progress
) -> tuple[dict[str, Metrics], dict[str, bytes]]:
    """Metrics of every checkpoint with those of test, and correctness on test of the best and the last one.

    The network is left at its last weights.
    """
    metrics, clean = measure(network, data, "test", trial, workers)
    by_epoch = {progress.epoch: (progress.history[-1] | metrics, clean.bits())}
    last = copied(network)
    for name, epoch in progress.chosen.items():
        if epoch not in by_epoch:
            network.load_state_dict(progress.weights[name])
            metrics, clean = measure(network, data, "test", trial, workers)
            by_epoch[epoch] = progress.history[epoch - 1] | metrics, clean.bits()
    network.load_state_dict(last)
    epochs = {**progress.chosen, "last": progress.epoch}
    found = {name: by_epoch[epoch][0] for name, epoch in epochs.items()}
    return found, {name: by_epoch[epochs[name]][1] for name in ("best", "last")}


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of its weights and buffers."""
    return {name: t.detach().clone() for name, t in network.state_dict().items()}


def better(value: float, before: float | None, metric: str) -> bool:
    """Whether a metric improved; a value that is not finite never does."""
    if not finite(value):
        return False
    if before is None:
        return True
    return value < before if metric.endswith(".loss") else value > before


def finite(x: float) -> bool:
    """Neither NaN nor infinite."""
    return x == x and abs(x) != float("inf")
