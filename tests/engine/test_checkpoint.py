"""Exact resume: whatever stops a trial, it ends with the bits of one that was never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import checkpoint
from engine.checkpoint import Progress, load_weights
from engine.components import names
from engine.config import Trial
from engine.errors import InputError
from engine.identity import trial_key
from engine.report import Event, Signal
from engine.result import Result
from engine.train import train

CPU = torch.device("cpu")
DROPATTACK = {"name": "dropattack", "targets": ["input", "conv1.w"], "steps": 2}
TEXT = {"name": "dropattack", "targets": ["embedding", "lstm.ih.w"], "norm_over": "joint"}
KINDS: list[dict[str, Any]] = [
    {"method": DROPATTACK, "batch_size": 25},
    {"method": "pgd", "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
    {"method": TEXT, "text": True, "optimizer": "adamw"},
]
Make = Callable[..., Trial]


class At:
    """A report that gives one answer at one event, and carries on at all others."""

    def __init__(self, number: int, answer: Signal) -> None:
        self.number, self.answer, self.events = number, answer, 0

    def __call__(self, event: Event) -> Signal:
        self.events += 1
        return self.answer if self.events == self.number else "continue"


def timeless(result: Result) -> Result:
    return replace(result, seconds={})


@pytest.mark.parametrize("settings", KINDS, ids=["dropattack", "pgd", "text"])
def test_stopped_at_every_step_and_resumed(
    make_trial: Make, run: Any, same: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    trial = make_trial(**settings)
    counter = At(0, "stop")
    whole, weights = run(trial, tmp_path / "whole", counter)
    for number in range(1, counter.events):  # at the last event nothing is left to stop
        folder = tmp_path / str(number)
        stopped, none = run(trial, folder, At(number, "stop"))
        assert (stopped.status, none) == ("stopped", {})
        resumed, found = run(trial, folder)
        assert same(found, weights), number
        assert timeless(resumed) == timeless(whole), number


PRECISE = {"precision": "fp16", "model": {"name": "normed", "dropout": 0.2}}
CONTESTS = {
    "attacks": {"fgsm": {"name": "fgsm", "epsilon": 0.1}},
    "watch_test": True,
    "patience": 1,
    "schedule": "ramps",
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "epochs": 3,
}
CARRIED: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in names("methods")},
    "fp16": ("at_awp", {**PRECISE, "optimizer": "adamw"}),
    "fp16_free": ("free_at", PRECISE),
    "contests": ("fgsm", CONTESTS),
}


@pytest.mark.parametrize("name", list(CARRIED))
def test_every_method_goes_on_where_it_was_stopped(
    make_lively: Make, parents: Any, run: Any, same: Any, tmp_path: Path, name: str
) -> None:
    """At a random step of an epoch, and at the end of one."""
    method, changes = CARRIED[name]
    trial = make_lively(method, **changes)
    options = {"parent": parents(trial), "keep": "all"}
    counter = At(0, "stop")
    whole, weights = run(trial, tmp_path / "whole", counter, **options)
    steps = counter.events // len(whole.history)  # events of an epoch: its steps and its end
    for number in (random.randint(1, steps - 1), steps, random.randint(steps + 1, 2 * steps - 1)):
        folder = tmp_path / str(number)
        stopped, _ = run(trial, folder, At(number, "stop"), **options)
        assert stopped.status == "stopped"
        resumed, found = run(trial, folder, **options)
        assert same(found, weights), number
        assert timeless(resumed) == timeless(whole), number
        kept = [path.name for path in (tmp_path / "whole").iterdir()]
        for file in kept:
            assert same(load_weights(folder / file, CPU), load_weights(tmp_path / "whole" / file, CPU))


def test_a_stop_at_the_last_event_changes_nothing(
    make_trial: Make, run: Any, same: Any, tmp_path: Path
) -> None:
    whole, weights = run(make_trial(), tmp_path / "whole")
    stopped, found = run(make_trial(), tmp_path / "stopped", At(8, "stop"))
    assert stopped.status == "completed"
    assert timeless(stopped) == timeless(whole)
    assert same(found, weights)


def test_stopped_again_and_again(make_trial: Make, run: Any, same: Any, tmp_path: Path) -> None:
    trial = make_trial(method=DROPATTACK)
    whole, weights = run(trial, tmp_path / "whole")
    starts = 0
    while not (result := run(trial, tmp_path / "parts", At(1, "stop")))[1]:
        starts += 1
    assert starts == 7
    assert same(result[1], weights)
    assert timeless(result[0]) == timeless(whole)


def test_a_checkpoint_in_the_middle_of_an_epoch_disturbs_nothing(
    make_trial: Make, run: Any, same: Any, tmp_path: Path
) -> None:
    trial = make_trial(method=DROPATTACK)
    whole, weights = run(trial, tmp_path / "whole")
    written: list[Path] = []
    told, found = run(trial, tmp_path / "told", lambda event: "checkpoint", saved=written.append)
    assert same(found, weights)
    assert timeless(told) == timeless(whole)
    folder = tmp_path / "told"
    assert written == [folder / "resume.pt"] * 8 + [folder / "last.pt"]
    held = checkpoint.load(folder, trial_key(trial), CPU)
    assert held is not None
    assert (held[2].epoch, held[2].step) == (2, 0)


def test_checkpoints_become_due_at_the_ends_of_epochs(make_trial: Make, run: Any, tmp_path: Path) -> None:
    for seconds, expected in ((0.0, 2), (1e6, 0)):
        written: list[Path] = []
        run(make_trial(), tmp_path, checkpoint_seconds=seconds, keep="none", saved=written.append)
        assert written == [tmp_path / "resume.pt"] * expected


@pytest.mark.parametrize("keep", ["none", "best", "last"])
def test_keep(make_trial: Make, tmp_path: Path, keep: Any) -> None:
    written: list[Path] = []
    train(make_trial(), folder=tmp_path, keep=keep, saved=written.append)
    expected = [] if keep == "none" else [tmp_path / f"{keep}.pt"]
    assert written == expected == list(tmp_path.iterdir())


def test_without_a_folder_nothing_is_written(
    make_trial: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(make_trial(), lambda event: "checkpoint", keep="best").status == "completed"
    assert train(make_trial(), At(2, "stop")).status == "stopped"
    assert list(tmp_path.iterdir()) == []


def damages(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return {
        "empty": b"",
        "text": b"hello world\n" * 100,
        "half": content[:middle],
        "zeros": bytes(len(content)),
        "one bit": flipped,
        "cut by a byte": content[:-1],
    }


@pytest.mark.parametrize("kind", list(damages(b"abcd")))
def test_a_damaged_checkpoint_is_set_aside(
    make_trial: Make, run: Any, same: Any, tmp_path: Path, kind: str
) -> None:
    trial = make_trial()
    whole, weights = run(trial, tmp_path / "whole")
    folder = tmp_path / "damaged"
    run(trial, folder, At(5, "stop"))
    broken = damages((folder / "resume.pt").read_bytes())[kind]
    (folder / "resume.pt").write_bytes(broken)
    events: list[Event] = []

    def watch(event: Event) -> Signal:
        events.append(event)
        return "continue"

    resumed, found = run(trial, folder, watch)
    assert events[0].epoch == 0
    assert events[0].step == 1, "it starts afresh"
    assert same(found, weights)
    assert timeless(resumed) == timeless(whole)
    assert (folder / "resume.damaged").read_bytes() == broken
    assert not (folder / "resume.pt").exists()


def test_another_trials_folder_is_refused(make_trial: Make, run: Any, tmp_path: Path) -> None:
    run(make_trial(), tmp_path, At(2, "stop"))
    with pytest.raises(InputError, match="it holds another trial"):
        train(make_trial(seed=1), folder=tmp_path)
    assert (tmp_path / "resume.pt").is_file(), "and left alone"


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=torch.tensor(0.1), fused=True)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress = Progress(
        2, 3, 0.1 + 0.2, 7.0, 11, [{"epoch": 1, "val.loss": 1 / 3}], {"best": 1},
        {"best": {"w": torch.ones(2)}}, {"epochs": 3}, {"scale": 2.0}, {"a": 1.5},
    )  # fmt: skip
    assert checkpoint.load(tmp_path, "k", CPU) is None
    path = checkpoint.save(tmp_path, "k", network.state_dict(), optimizer.state_dict(), progress)
    assert list(tmp_path.iterdir()) == [path]
    found = checkpoint.load(tmp_path, "k", CPU)
    assert found is not None
    model, state, loaded = found
    assert all(torch.equal(t, model[n]) for n, t in network.state_dict().items())
    assert torch.equal(state["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert torch.equal(loaded.weights["best"].pop("w"), progress.weights["best"].pop("w"))
    assert loaded == progress


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train the parent first"):
        load_weights(tmp_path / "best.pt", CPU)


KILLED = """
import json, sys, torch
from pathlib import Path
from engine.config import Trial
from engine.report import Event
from engine.train import train

torch.set_num_threads(1)

def report(event):
    print(event.epoch, event.step, flush=True)
    return "checkpoint"

train(Trial.model_validate(json.loads(sys.argv[1])), report, Path(sys.argv[2]))
"""


def test_killed_at_a_random_moment_and_resumed(make_trial: Make, run: Any, same: Any, tmp_path: Path) -> None:
    trial = make_trial(method=DROPATTACK, epochs=20)
    whole, weights = run(trial, tmp_path / "whole")
    arguments = [
        sys.executable,
        "-c",
        KILLED,
        json.dumps(trial.model_dump(mode="json")),
        str(tmp_path / "killed"),
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, cwd=root, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        for _ in range(random.randint(2, 40)):  # of 80 events; the moment is free, the outcome is not
            process.stdout.readline()
        time.sleep(random.random() / 50)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    events: list[Event] = []

    def watch(event: Event) -> Signal:
        events.append(event)
        return "continue"

    resumed, found = run(trial, tmp_path / "killed", watch)
    assert len(events) < 80, "it went on from the checkpoint"
    assert same(found, weights)
    assert timeless(resumed) == timeless(whole)
