"""Names of metrics: ``split.measure`` of a trial, ``label.measure`` of an evaluation.

A measure may carry the setting that it was taken at: ``accuracy@0.1``.
"""

from __future__ import annotations

import re

TRIAL_METRICS = ("val.accuracy", "val.loss", "test.accuracy", "test.loss")
"""What every trial measures."""

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

    >>> measure_of("PGD-20.accuracy@0.1"), measure_of("val.loss"), measure_of("loss")
    ('accuracy', 'loss', 'loss')
    """
    return (name.partition(".")[2] or name).partition("@")[0]


def lower_is_better(name: str) -> bool:
    """Whether a metric is a loss.

    >>> lower_is_better("val.loss"), lower_is_better("clean.accuracy")
    (True, False)
    """
    return measure_of(name) == "loss"
