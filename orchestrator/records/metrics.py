"""Names of metrics: ``split.measure`` of a trial, ``label.measure`` of an evaluation.

A measure may carry the setting that it was taken at: ``accuracy@0.1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TRIAL_METRICS = ("val.accuracy", "val.loss", "test.accuracy", "test.loss")
"""What every trial measures."""


def trial_metrics(attacks: Iterable[str]) -> tuple[str, ...]:
    """What a trial measures that validates under these attacks (their names in the trial).

    >>> trial_metrics(["pgd"])[4:]
    ('val.pgd.accuracy', 'val.pgd.loss', 'test.pgd.accuracy', 'test.pgd.loss')
    """
    places = [f"{split}.{name}" for split in ("val", "test") for name in attacks]
    return TRIAL_METRICS + tuple(f"{place}.{measure}" for place in places for measure in ("accuracy", "loss"))


RESERVED = ("train", "val", "test", "best", "last", "seconds", "curve", "trials")
"""Words that other metrics begin with, and no evaluation is called."""

LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9 _-]*[A-Za-z0-9_-])?"
"""What an evaluation may be called: the label is part of a metric's name, of a tag, of a file's name."""


def label_of(name: str) -> str:
    """The label of an evaluation's metric; empty for a metric of the trial itself.

    >>> label_of("PGD-20.accuracy@0.1"), label_of("test.accuracy")
    ('PGD-20', '')
    """
    head, dot, measure = name.partition(".")
    known = not dot or not measure or head in RESERVED or not re.fullmatch(LABEL, head)
    return "" if known else head


def measure_of(name: str) -> str:
    """What is measured, without where.

    >>> measure_of("PGD-20.accuracy@0.1"), measure_of("val.pgd.loss"), measure_of("loss")
    ('accuracy', 'loss', 'loss')
    """
    return name.partition("@")[0].rpartition(".")[2]


def lower_is_better(name: str) -> bool:
    """Whether a metric is a loss, or a rise of one, or a gap.

    >>> lower_is_better("val.loss"), lower_is_better("landscape.sharpness"), lower_is_better("clean.accuracy")
    (True, True, False)
    """
    return measure_of(name).endswith(("loss", "sharpness", "gap"))


def judged(name: str) -> bool:
    """Whether one value of a metric is better than another: no layer's kurtosis is.

    >>> judged("val.accuracy"), judged("clean.macro_f1"), judged("weights.kurtosis")
    (True, True, False)
    """
    return lower_is_better(name) or measure_of(name).endswith(("accuracy", "f1"))
