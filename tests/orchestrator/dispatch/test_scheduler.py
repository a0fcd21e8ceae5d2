"""The guard of Tune's schedulers with Tune itself: a sweep that is stopped while trials wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.dispatch.scheduler import scheduler_of

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


@pytest.mark.parametrize("looks", range(1, 9))
def test_trials_that_can_never_run_are_ended(tmp_path: Path, looks: int) -> None:
    """At whichever look of its loop, also before it asks for an actor: they want more CPUs than there are."""
    looked = 0

    def closed() -> bool:
        nonlocal looked
        looked += 1
        return looked >= looks

    def never(config: dict[str, Any]) -> None:
        raise AssertionError

    found = tune.Tuner(
        tune.with_resources(never, {"cpu": 100}),
        tune_config=tune.TuneConfig(num_samples=3, scheduler=scheduler_of(None, "max", 1, closed)),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert len(found) == 3
    assert found.num_errors == 0
    assert all("training_iteration" not in (result.metrics or {}) for result in found)
