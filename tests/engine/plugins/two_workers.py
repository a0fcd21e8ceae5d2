"""Trains the trials of a JSON file in one process group, as ``torchrun`` would start it; run by a test."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.components import load_plugin
from engine.config import Trial
from engine.distributed import Workers, from_environment
from engine.report import Event, Signal
from engine.train import train


def main(cases: Path, out: Path) -> None:
    torch.set_num_threads(1)
    load_plugin(Path(__file__).parent / "toy_text.py")
    with from_environment() as workers:
        for name, case in json.loads(cases.read_text()).items():
            one(name, case, out, workers)


def one(name: str, case: dict[str, Any], out: Path, workers: Workers) -> None:
    """Train; where the case has a ``stop``, stop at that event first and go on from the checkpoint."""
    trial, folder = Trial.model_validate(case["trial"]), out / name
    told = 0

    def report(event: Event) -> Signal:
        nonlocal told
        told += 1
        return "stop" if told == case.get("stop") else "continue"

    result = train(trial, report, folder, workers=workers, keep="last")
    if "stop" in case:
        assert result.status == "stopped"
        result = train(trial, folder=folder, workers=workers, keep="last")
    if workers.rank == 0:
        bits = {which: list(found) for which, found in result.correct.items()}
        text = json.dumps({**asdict(result), "correct": bits, "told": told})
        (folder / "result.json").write_text(text)
    else:
        assert told == 0, "rank 0 reports"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
