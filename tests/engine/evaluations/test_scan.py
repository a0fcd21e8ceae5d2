from __future__ import annotations

import math
from pathlib import Path

import pytest
from torch import nn

from engine.distributed import Workers
from engine.evaluations import scan as module
from engine.evaluations.scan import Kept, Point, scan

SETTINGS = {"name": "landscape", "points": 5}


def point(number: int) -> Point:
    return number / 3, -number / 7


def test_points_in_order() -> None:
    assert scan(4, point, Workers()) == [point(i) for i in range(4)]
    assert scan(0, point, Workers()) == []


def test_what_was_finished_is_not_done_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "folder" / "a.points")
    asked: list[int] = []

    def interrupted(number: int) -> Point:
        asked.append(number)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return point(number)

    with pytest.raises(KeyboardInterrupt):
        scan(6, interrupted, Workers(), kept)
    assert kept.load() == {i: point(i) for i in range(3)}
    assert scan(6, interrupted, Workers(), kept) == [point(i) for i in range(6)]
    assert asked == [0, 1, 2, 3, 3, 4, 5]
    assert scan(6, interrupted, Workers(), kept) == [point(i) for i in range(6)]
    assert len(asked) == 7


def test_written_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", -1.0)
    kept = Kept(tmp_path / "a.points")

    def look(number: int) -> Point:
        assert len(kept.load()) == number
        return point(number)

    scan(5, look, Workers(), kept)


def test_floats_are_kept_exactly(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a.points")
    points = {0: (0.1 + 0.2, 1e-310), 3: (math.inf, -0.0)}
    kept.save(points)
    assert kept.load() == points
    assert math.copysign(1, kept.load()[3][1]) == -1
    kept.save({0: (math.nan, 0.0)})
    assert math.isnan(kept.load()[0][0])


@pytest.mark.parametrize("damage", ["empty", "short", "digit", "text"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: str) -> None:
    kept = Kept(tmp_path / "a.points")
    kept.save({i: point(i) for i in range(3)})
    content = kept.path.read_bytes()
    assert b"0.3333333333333333" in content
    broken = {
        "empty": b"",
        "short": content[:-4],
        "digit": content.replace(b"0.3333333333333333", b"0.3433333333333333"),
        "text": b"not a file of points",
    }
    kept.path.write_bytes(broken[damage])
    assert kept.load() == {}
    assert scan(3, point, Workers(), kept) == [point(i) for i in range(3)]
    assert kept.path.read_bytes() == content


def test_other_settings_weights_or_examples_do_not_mix(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    here = Kept.at(tmp_path, SETTINGS, network, 10)
    assert Kept.at(tmp_path, dict(reversed(SETTINGS.items())), network, 10) == here
    assert Kept.at(tmp_path, {**SETTINGS, "points": 6}, network, 10) != here
    assert Kept.at(tmp_path, SETTINGS, network, 11) != here
    network[1].running_mean += 1  # type: ignore[operator]
    assert Kept.at(tmp_path, SETTINGS, network, 10) != here
