from __future__ import annotations

import gc

import pytest

from orchestrator.planning.garbage import settled


def test_what_is_there_is_left_alone_for_as_long() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(KeyError), settled():
        assert gc.get_freeze_count() > before
        raise KeyError
    assert gc.get_freeze_count() == 0
