from __future__ import annotations

import gc

import pytest

from orchestrator.planning.garbage import settled


def test_what_is_there_is_left_alone_for_as_long() -> None:
    before = gc.get_freeze_count()
    during = []

    def fails() -> None:
        with settled():
            during.append(gc.get_freeze_count())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert during[0] > before
    assert gc.get_freeze_count() == 0
