"""What Tune carries between the driver and its trials: jobs as text, and the names of what they report."""

from __future__ import annotations

import json

from orchestrator.planning.job import Job

VALUE, EPOCH = "value", "epoch"
"""Names in a report: the metric that trials are compared by, and after which epoch."""


def encode(job: Job) -> str:
    """A job as text, for Tune's config."""
    return json.dumps(vars(job))  # not asdict, whose deep copy takes several times as long


def decode(text: str) -> Job:
    """The job that :func:`encode` wrote."""
    return Job(**json.loads(text))
