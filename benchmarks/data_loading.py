"""What taking the next batch costs the trainer: its steps against the same steps on one resident batch.

Both loops are ``engine.train``'s own step on the same model; in the second the batch is taken once and given
back ever after. The first takes the batches of shuffled epochs from bytes (or tokens) on the device, with
augmentation where the row says so, which is work of its own and has no target. Timed side by side as in
``benchmarks/steps.py``; shown is the time of a trainer's step over that of a resident one (target: at most
1.03), medians and quartiles over the rounds.

    python -m benchmarks.data_loading
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict
from benchmarks.steps import side_by_side
from engine.components import load_plugin
from engine.config import Trial
from engine.distributed import Workers
from engine.report import carry_on
from engine.train import _Run

TARGET = 1.03
GREY = {"name": "made_up_images", "channels": 1, "side": 28}
COLOUR = {"name": "made_up_images", "channels": 3, "side": 32}
CROPPED = {"crop": 4, "flip": True}
CASES: dict[str, dict[str, Any]] = {
    "digits 8 x 8, lenet5_8x8": {"data": "digits", "model": "lenet5_8x8"},
    "28 x 28, lenet5": {"data": GREY, "model": "lenet5"},
    "28 x 28, lenet5, crop and flip": {"data": GREY, "model": "lenet5", "augment": CROPPED},
    "3 x 32 x 32, convlarge": {"data": COLOUR, "model": "convlarge", "batch_size": 16},
    "3 x 32 x 32, convlarge, crop and flip": {
        "data": COLOUR, "model": "convlarge", "batch_size": 16, "augment": CROPPED,
    },
    "texts of 32 words, lstm": {"data": "synthetic_text", "model": "lstm", "batch_size": 32},
}  # fmt: skip


def loops(settings: dict[str, Any], device: torch.device) -> dict[str, Callable[[int], None]]:
    """The trainer's step on ever new batches, and on one."""
    found: dict[str, Callable[[int], None]] = {}
    for name in ("trainer", "resident"):
        trial = Trial.model_validate({"method": "standard", "batch_size": 128, **settings})
        run = _Run(trial, carry_on, None, Workers(device=device), 60.0, None, 0)
        run.start(None)
        run.network.train()
        if name == "resident":
            taken = run.feed.take(next(run.feed.epoch(0)), 0)
            run.feed.take = lambda places_B, step, taken=taken: taken  # type: ignore[method-assign,misc]
        found[name] = _stepping(run)
    return found


def _stepping(run: _Run) -> Callable[[int], None]:
    batches, numbers = _batches(run), count()
    return lambda number: _discard(run._step(next(batches), next(numbers)))


def _batches(run: _Run) -> Iterator[Tensor]:
    for epoch in count():
        yield from run.feed.epoch(epoch)


def _discard(sums: Tensor) -> None:
    """Nothing waits for the device."""


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=31, help="rounds over both loops")
    arguments.add_argument("--block", type=float, default=0.1, help="seconds of each loop in a round")
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = arguments.parse_args()
    torch.set_num_threads(1)
    load_plugin(Path(__file__).parent / "made_up_images.py")
    name = torch.cuda.get_device_name() if options.device.type == "cuda" else "cpu, 1 thread"
    facts, cases, rows = machine(["torch", "numpy"], name), {}, []
    for label, settings in CASES.items():
        taken = side_by_side(loops(settings, options.device), options.rounds, options.device, options.block)
        pairs = zip(taken["trainer"], taken["resident"], strict=True)
        ratio = summary([a / b for a, b in pairs])
        ms = {loop: summary([1e3 * s for s in values]) for loop, values in taken.items()}
        cases[label] = {"ms": ms, "ratio": ratio}
        held = "none" if "augment" in settings else verdict(ratio["median"], TARGET)
        rows.append([label, shown(ms["resident"]), shown(ms["trainer"]), shown(ratio, 3), held])
    columns = ["data and model", "resident batch, ms", "trainer, ms", "trainer / resident", "target"]
    table(f"Taking batches, {options.rounds} rounds", columns, rows)
    where = "data_loading" if options.device.type == "cpu" else "data_loading_cuda"
    finish(options.out, where, facts, {"rounds": options.rounds, "target": TARGET, "cases": cases})


if __name__ == "__main__":
    main()
