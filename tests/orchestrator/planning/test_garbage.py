from __future__ import annotations

import gc

from orchestrator.planning.garbage import settled


def test_what_is_there_is_left_alone_for_as_long() -> None:
    with settled():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0
