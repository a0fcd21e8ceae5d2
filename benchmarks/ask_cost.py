"""Seconds that a search takes to ask for a cell, by sampler and by the number of cells that were told.

The driver asks between the ends of trials, so an ask that takes seconds leaves workers idle. Measured is what
the driver does: Optuna's ask, a value for each of four settings (three numbers and a whole one) with 8 cells
under way. Told cells have random settings and values, and one seed. Variants of TPE show what its parts
cost. Storages are measured with a whole cell, ask and tell, on a temporary folder. The warm start reads a
ledger of rows as trials leave them, of which all lie in the space.

    python -m benchmarks.ask_cost
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import finish, machine, parser, shown, summary, table
from orchestrator.planning.expand import expand_one
from orchestrator.planning.jobs import jobs_of
from orchestrator.planning.results import Result, known
from orchestrator.planning.study import Study
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict

SPACE = {
    "method.p": {"uniform": [0.1, 1]},
    "method.epsilon": {"log_uniform": [0.01, 10]},
    "optimizer.lr": {"log_uniform": [1e-4, 1e-1]},
    "method.steps": {"int": [1, 5]},
}
TOLD = (100, 1000, 10_000)
FLIGHT = 8


def sweep_of(sampler: dict[str, Any], name: str = "asked") -> Sweep:
    trial = {"data": "digits", "model": "lenet5_8x8", "method": {"name": "dropattack", "targets": ["input"]}}
    budget = {"trials": 1_000_000}
    return from_dict({"name": name, "trial": trial, "search": SPACE, "budget": budget, "sampler": sampler})


def told(n: int) -> dict[str, tuple[dict[str, Any], Result]]:
    """Cells at random places."""
    draws = random.Random(0)
    return {str(i): (place(draws), Result({0: (draws.random(),)})) for i in range(n)}


def place(draws: random.Random) -> dict[str, Any]:
    return {
        "method.p": draws.uniform(0.1, 1),
        "method.epsilon": 10 ** draws.uniform(-2, 1),
        "optimizer.lr": 10 ** draws.uniform(-4, -1),
        "method.steps": draws.randint(1, 5),
    }


def times(act: Callable[[], Any], rounds: int) -> dict[str, Any]:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return summary(found)


def asks(sampler: dict[str, Any], n: int, rounds: int, change: Callable[[Any], None] | None = None) -> Any:
    """Asks with ``n`` cells told; ``change`` alters Optuna's sampler first."""
    study = Study(sweep_of(sampler), Store("memory://asked"), told(n))
    if change is not None:
        change(study.sampler)
    for _ in range(FLIGHT):
        study.propose()
    return times(lambda: study.tell(study.propose()[0], None), rounds)


def cells(storage: str, rounds: int) -> Any:
    """Whole cells in a storage, from none on."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(sweep_of({"name": "tpe", "storage": storage}), Store(folder), {})
        draws = random.Random(0)

        def cell() -> None:
            number, _ = study.propose()
            study.mark(number, str(number))
            study.tell(number, Result({0: (draws.random(),)}))

        return times(cell, rounds)


def warm_start(n: int) -> dict[str, float]:
    """A ledger of ``n`` rows, each with 20 epochs of history: read and recognised, then told."""
    sweep, draws = sweep_of({"name": "tpe"}), random.Random(0)
    history = [
        {"epoch": float(e), "train.loss": 0.1, "val.loss": 0.1, "val.accuracy": 0.9} for e in range(20)
    ]
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Store(folder))
        os.makedirs(f"{folder}/ledger/trials/completed")
        for _ in range(n):
            point, cell = expand_one(sweep, place(draws))
            (job,) = jobs_of([cell], sweep, [point])
            row = Row(
                job.key, job.cell, 0, "completed", job.trial, job.canonical, best={"val.accuracy": 0.9},
                last={"val.accuracy": 0.9}, history=history, correct={"best": bytes(1250)}, examples=10_000,
            )  # fmt: skip
            # without a flush to the disk, which is not what is measured
            Path(f"{folder}/ledger/trials/completed/{job.key}.parquet").write_bytes(ledger.to_parquet(row))
        start = time.perf_counter()
        found = known(sweep, ledger, {})
        read = time.perf_counter() - start
        assert len(found) == n
        start = time.perf_counter()
        Study(sweep, ledger.store, found)
        return {"rows": n, "read_s": read, "told_s": time.perf_counter() - start}


VARIANTS: dict[str, Callable[[Any], None]] = {
    "as it is": lambda sampler: None,
    "no constant liar": lambda sampler: setattr(sampler, "_constant_liar", False),
    "no groups": lambda sampler: setattr(sampler, "_group", False),
    "12 candidates": lambda sampler: setattr(sampler, "_n_ei_candidates", 12),
}


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=10, help="asks of each kind")
    arguments.add_argument("--rows", type=int, default=10_000, help="of the warm start")
    options = arguments.parse_args()
    facts = machine(["optuna", "numpy", "cmaes", "torch"], "cpu, 1 thread")
    samplers: dict[str, dict[str, Any]] = {}
    for name in ("tpe", "random", "qmc", "nsga2", "cmaes", "gp"):
        samplers[name] = {str(n): asks({"name": name}, n, options.rounds) for n in TOLD}
    variants = {
        name: {str(n): asks({"name": "tpe"}, n, options.rounds, change) for n in TOLD}
        for name, change in VARIANTS.items()
    }
    storages = {
        name: cells(name, 10 * options.rounds)
        for name in ("memory", "journal:///study.journal", "sqlite:///optuna.db")
    }
    warm = warm_start(options.rows)
    columns = ["sampler", *(f"{n:,} told, ms" for n in TOLD)]
    rows = [[name, *_row(of)] for name, of in samplers.items()]
    rows += [[f"tpe, {name}", *_row(of)] for name, of in variants.items() if name != "as it is"]
    table(f"An ask, {FLIGHT} cells under way, {options.rounds} asks", columns, rows)
    kinds = [[name, shown(_milliseconds(of))] for name, of in storages.items()]
    table("A cell in a storage: ask, mark, tell", ["storage", "ms"], kinds)
    seconds = f"read in {warm['read_s']:.1f} s, told in {warm['told_s']:.1f} s"
    print(f"warm start from {warm['rows']:,} rows: {seconds}")
    results = {"samplers": samplers, "tpe": variants, "storages": storages, "warm_start": warm}
    finish(options.out, "ask_cost", facts, {"rounds": options.rounds, **results})


def _row(of: dict[str, Any]) -> list[str]:
    return [shown(_milliseconds(of[str(n)]), 1) for n in TOLD]


def _milliseconds(of: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name == "n" else 1e3 * value for name, value in of.items()}


if __name__ == "__main__":
    main()
