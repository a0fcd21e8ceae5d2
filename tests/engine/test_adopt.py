"""Members of a population: a checkpoint that another member takes over, under other settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import checkpoint
from engine.checkpoint import RESUME, Member, Progress
from engine.config import Trial
from engine.errors import InputError
from engine.identity import canonical, digest, member_key, trial_key
from engine.report import Event, Signal

CPU = torch.device("cpu")
NAME = "method.epsilon"
Make = Callable[..., Trial]


def fgm(make_trial: Make, epsilon: float, **settings: Any) -> Trial:
    return make_trial(method={"name": "fgm", "epsilon": epsilon}, epochs=4, **settings)


def first(epsilon: float) -> dict[str, Any]:
    return {"epoch": 1, "from": "", "settings": {NAME: epsilon}}


def after_two(event: Event) -> Signal:
    return "stop" if event.metrics and event.epoch == 2 else "continue"


METHODS: list[dict[str, Any]] = [{"name": "fgm"}, {"name": "free_at"}]


@pytest.mark.parametrize("method", METHODS, ids=["fgm", "free"])
def test_taken_over_under_the_same_settings_nothing_changes(
    make_trial: Make, run: Any, same: Any, tmp_path: Path, method: dict[str, Any]
) -> None:
    """Weights, optimiser, data order, history and what the method carries over are all there."""
    trial = make_trial(method=method, epochs=4, optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9})
    whole, weights = run(trial, tmp_path / "whole")
    stopped, _ = run(trial, tmp_path / "a", after_two, member=Member("a", (first(1.0),)))
    assert stopped.status == "stopped"
    content = checkpoint.adopt((tmp_path / "a" / RESUME).read_bytes(), "a", "b", {NAME: 1.0})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / RESUME).write_bytes(content)
    result, found = run(trial, tmp_path / "b", member=Member("b"))
    assert same(found, weights)
    assert result.history == whole.history
    assert result.best == whole.best


def test_under_other_settings_and_another_seed_it_goes_on(make_trial: Make, run: Any, tmp_path: Path) -> None:
    donor, taker = fgm(make_trial, 1.0), fgm(make_trial, 30.0, seed=1)
    run(donor, tmp_path, after_two, member=Member("a", (first(1.0),)))
    kept = (tmp_path / RESUME).read_bytes()
    alone, _ = run(donor, tmp_path, member=Member("a", (first(1.0),)))
    (tmp_path / RESUME).write_bytes(checkpoint.adopt(kept, "a", "b", {NAME: 30.0}))
    result, _ = run(taker, tmp_path, member=Member("b"))
    assert result.history[:2] == alone.history[:2]
    assert [epoch["epoch"] for epoch in result.history] == [1, 2, 3, 4]
    assert result.history[2:] != alone.history[2:]


def test_a_lineage_grows_with_each_adoption(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, "a", {}, {}, Progress(2, lineage=[first(1.0)]))
    content = checkpoint.adopt(path.read_bytes(), "a", "b", {NAME: 2.0})
    at = checkpoint.peek(content, "b")
    assert at is not None
    second = {"epoch": 3, "from": "a", "settings": {NAME: 2.0}}
    assert (at.epoch, at.lineage) == (2, [first(1.0), second])
    at = checkpoint.peek(checkpoint.adopt(content, "b", "c", {NAME: 3.0}), "c")
    assert at is not None
    assert [segment["from"] for segment in at.lineage] == ["", "a", "b"]
    assert checkpoint.peek(content, "a") is None, "it is the other's now"
    assert checkpoint.peek(content[:-1], "b") is None


def test_what_cannot_be_taken_over(tmp_path: Path) -> None:
    content = checkpoint.save(tmp_path, "a", {}, {}, Progress(2)).read_bytes()
    within = checkpoint.save(tmp_path, "a", {}, {}, Progress(2, step=1)).read_bytes()
    for bad, donor, why in [
        (content[:-1] + b"x", "a", "one that is whole"),
        (content, "z", "one of trial z"),
        (within, "a", "in epoch 3 is not legal: one that was written at the end of an epoch"),
    ]:
        with pytest.raises(InputError, match=why):
            checkpoint.adopt(bad, donor, "b", {})


def test_a_checkpoint_of_before_populations_is_read(tmp_path: Path) -> None:
    saved = {"key": "a", "model": {}, "optimizer": {}, **vars(Progress(1))}
    del saved["lineage"]
    (tmp_path / RESUME).write_bytes(checkpoint._sealed(saved))
    found = checkpoint.load(tmp_path, "a", CPU)
    assert found is not None
    assert found[2] == Progress(1)


def test_a_member_is_no_plain_trial(make_trial: Make) -> None:
    trial = fgm(make_trial, 1.0)
    population = {"sweep": "a", "rule": "r", "members": "m"}
    key = member_key(trial, population)
    assert key == digest({**canonical(trial), "population": population})
    others = [population | {"sweep": "b"}, population | {"rule": "s"}, population | {"members": "n"}]
    assert len({key, trial_key(trial), *(member_key(trial, other) for other in others)}) == 5
