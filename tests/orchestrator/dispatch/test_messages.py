from __future__ import annotations

from engine.config import Trial
from orchestrator.dispatch.messages import decode, encode
from orchestrator.planning.job import Job
from tests.orchestrator.sweeps import TRIAL


def test_jobs_travel_as_text() -> None:
    trial = Trial.model_validate(TRIAL).model_dump(mode="json")
    job = Job("k", "c", 1, trial, {"seed": 1}, "h", {"method.p": 0.5}, "best", "p")
    assert decode(encode(job)) == job
