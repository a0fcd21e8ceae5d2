"""Small sweeps for tests: few trials of the digits, a second or less each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.planning.job import stop_flag
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict

TRIAL: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 64},
    "model": "lenet5_8x8",
    "method": {"name": "dropattack", "targets": ["input", "conv1.w"]},
    "epochs": 2,
    "batch_size": 32,
}


def sweep_of(folder: Path = Path(), **changes: Any) -> Sweep:
    """Four points of epsilon x p, three cells, one seed; ``changes`` replace any block."""
    content: dict[str, Any] = {
        "name": "small",
        "trial": TRIAL,
        "axes": {"method.epsilon": [1, 5], "method.p": [0, 0.5]},
        "reports": [{"grid": ["method.epsilon", "method.p"]}],
    }
    return from_dict(content | changes, folder)


PLUGINS = Path(__file__).parent / "plugins"


def breaking(act: str, **changes: Any) -> Sweep:
    """Two cells, of which the second misbehaves (see ``plugins/breaking.py``)."""
    settings = changes.pop("model", {})
    trial = TRIAL | {"model": {"name": "breaking"}, "method": "standard"} | changes.pop("trial", {})
    content = {
        "name": "breaking",
        "trial": trial,
        "points": {"good": {}, "bad": {"model": {"name": "breaking", "act": act, **settings}}},
        "plugins": ["breaking.py"],
        "reports": [{"table": "points"}],
    }
    return from_dict(content | changes, PLUGINS)


def probing(*evaluations: dict[str, Any] | str, **changes: Any) -> Sweep:
    """Two cells, both evaluated (see ``plugins/probing.py``); one called ``probing`` where none is given."""
    content: dict[str, Any] = {
        "name": "probed",
        "trial": TRIAL | {"method": "fgm"},
        "axes": {"method.epsilon": [1, 5]},
        "plugins": ["probing.py"],
        "evaluations": list(evaluations or ("probing",)),
    }
    return from_dict(content | changes, PLUGINS)


def scripted(*scripts: Sequence[str], **changes: Any) -> Sweep:
    """A cell for each script (see ``plugins/scripted.py``), acted out in milliseconds."""
    model = {"name": "scripted"}
    points = {f"s{i}": {"model": model | {"script": list(script)}} for i, script in enumerate(scripts)}
    content: dict[str, Any] = {
        "name": "scripted",
        "trial": {"data": "digits", "model": model, "method": "standard", "epochs": 1},
        "points": points,
        "plugins": ["scripted.py"],
        "reports": [{"table": "points"}],
    }
    return from_dict(content | changes, PLUGINS)


@contextmanager
def stopped_once(reached: Path, store: Store, name: str) -> Iterator[None]:
    """Inside, the sweep is stopped as ``perturb stop`` does as soon as a file is there."""
    over = threading.Event()  # a sweep that never makes the file fails its test, not hangs it

    def stop() -> None:
        while not over.wait(0.02):
            if reached.exists():
                store.put(stop_flag(name), b"")
                return

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
