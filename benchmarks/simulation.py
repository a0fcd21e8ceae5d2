"""10,000 trials of a grid queue on 500 simulated slots: what the driver costs, beside the cost of a TPE ask.

A trial takes 30 simulated minutes in 10 epochs, each of which it reports. Planned, claimed, scheduled,
recorded and compacted is in earnest, in a store in the temporary folder; only training is made up, and there
are no Ray actors. Progress and the events of ``--json`` are told of everything. Every run is in a process of
its own.

The theoretical minimum is 10,000 x 30 / 500 = 600 minutes. "At 1,000x" is read as: what takes 600 minutes
is to be driven in 36 s. Two figures follow from it.

- busy: real seconds of the driver (plan, claims, suggestions, reports, ends), as part of 36 s.
- delay: how much longer than 600 minutes the simulated sweep takes when the driver is a server of its own
  that is busy for 1,000 simulated seconds in every real one, and whatever happens meanwhile waits for it.

A third run leaves out the rows, which are not the driver's to write, so that the processor time of the whole
process can be taken: it tells less than the clock of what else the machine does.

- processor: seconds of it, as part of 36 s, with the reports' JSON and a second plan in it.

The first two leave out what workers do on their machines (their rows, apart below) and the compaction after
the last trial, which is given too. At 1x the same work is a thousandth of the figures here. ASHA's run is the
same grid with trials ended early; its pruned rows are written by the driver, and are in its figures.

    python -m benchmarks.simulation
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict

TARGET = 0.1
MEMORY = 2**30
SPEED = 1000.0
EPOCHS, SEEDS = 10, 10
TOLD = (100, 1000, 10_000)

RUNS = ("grid", "asha")
KEYS = ("busy", "delay", "driver", "plan", "workers", "compact", "memory")


def measure(what: str, trials: int, slots: int) -> dict[str, Any]:
    """One simulation in this process."""
    from benchmarks.ledger_scale import sweep_of
    from orchestrator.dispatch.events import Events
    from orchestrator.simulation.simulate import simulate

    sweep = sweep_of(trials // SEEDS, SEEDS, EPOCHS).model_copy(update={"scheduler": _rule(what)})
    began = time.perf_counter()
    with open(os.devnull, "w") as sink:
        found = simulate(sweep, slots, speed=SPEED, observers=[Events(sink)])
    elapsed = time.perf_counter() - began
    if sum(found.statuses.values()) != trials or found.statuses["waiting"] or found.statuses["failed"]:
        raise RuntimeError(f"{found.statuses} is not what was expected")
    if what == "grid" and abs(found.minimum - 1800 * -(-trials // slots)) > 1e-6:
        raise RuntimeError(f"a minimum of {found.minimum} s is not what was expected")
    return {
        "busy": found.overhead(SPEED), "delay": found.delay, "driver": found.driver["run"],
        "plan": found.driver["plan"], "workers": found.workers, "compact": found.driver["compact"],
        "memory": found.memory, "minimum": found.minimum, "seconds": found.seconds, "elapsed": elapsed,
        "utilisation": found.utilisation, "statuses": dict(found.statuses), "load": os.getloadavg()[0],
    }  # fmt: skip


def _rule(what: str) -> Any:
    from orchestrator.sweepfile.schedulers import Asha

    return Asha(name="asha") if what == "asha" else None


def processor(trials: int, slots: int) -> dict[str, float]:
    """The grid without rows: seconds of the processor, relative to the shortest schedule."""
    from unittest.mock import Mock, patch

    from benchmarks.ledger_scale import sweep_of
    from orchestrator.dispatch import simulate as dispatcher
    from orchestrator.dispatch.events import Events
    from orchestrator.planning.plan import plan
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store
    from orchestrator.simulation.curves import Synthetic
    from orchestrator.simulation.simulate import simulate

    sweep = sweep_of(trials // SEEDS, SEEDS, EPOCHS)
    same = Synthetic().of(plan(sweep, Ledger(Store("memory://nothing"))).todo[0])
    rows = patch.multiple(dispatcher, Ledger=Mock(), _row=lambda *about: None)
    with open(os.devnull, "w") as sink, rows:
        simulate(sweep_of(10, 1), slots)  # imports
        began = time.process_time()
        found = simulate(sweep, slots, Mock(of=lambda job: same), observers=[Events(sink)])
        spent = time.process_time() - began
    return {"processor": spent, "busy": spent * SPEED / found.minimum, "load": os.getloadavg()[0]}


def asks(rounds: int) -> dict[str, Any]:
    """Seconds of a TPE ask, by the number of cells that were told."""
    from benchmarks.ask_cost import asks as asked

    return {str(n): asked({"name": "tpe"}, n, rounds) for n in TOLD}


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=10_000)
    arguments.add_argument("--slots", type=int, default=500)
    arguments.add_argument("--repeats", type=int, default=3, help="processes a run")
    arguments.add_argument("--rounds", type=int, default=10, help="asks of each kind")
    arguments.add_argument(
        "--measure", choices=(*RUNS, "processor"), help="what to measure in this process, and print"
    )
    options = arguments.parse_args()
    if options.measure:
        size = options.trials, options.slots
        print(
            json.dumps(
                processor(*size) if options.measure == "processor" else measure(options.measure, *size)
            )
        )
        return
    facts = machine(["ray", "optuna", "pyarrow", "numpy"])
    runs = {what: [_in_a_process(what, options) for _ in range(options.repeats)] for what in RUNS}
    found = {what: {key: summary([run[key] for run in many]) for key in KEYS} for what, many in runs.items()}
    alone = [_in_a_process("processor", options) for _ in range(options.repeats)]
    part = summary([run["busy"] for run in alone])
    asked = asks(options.rounds)
    trials = options.trials
    rows = [_line(what, of, runs[what][0], trials) for what, of in found.items()]
    columns = ["run", "ended", "least, min", "busy at 1,000x, %", "delay at 1,000x, %", "driver, ms a trial"]
    table(f"{trials:,} trials on {options.slots} simulated slots", columns, rows)
    rest = [[what, shown(of["workers"], 1), shown(of["compact"], 1), f"{of['memory']['max'] / 2**20:.0f}"]
            for what, of in found.items()]  # fmt: skip
    table("Apart from that", ["run", "workers' rows, s", "compaction, s", "driver's memory, MiB"], rest)
    each = {n: {k: v if k == "n" else 1e3 * v for k, v in of.items()} for n, of in asked.items()}
    table(
        "A TPE ask, 8 cells under way",
        [f"{int(n):,} told, ms" for n in asked],
        [[shown(each[n], 1) for n in each]],
    )
    print(
        f"processor {100 * part['median']:.1f} % of the minimum at 1,000x: {verdict(part['median'], TARGET)}"
    )
    print(f"busy {verdict(found['grid']['busy']['median'], TARGET)}; delay "
          f"{verdict(found['grid']['delay']['median'], TARGET)}; memory, GiB "
          f"{verdict(found['grid']['memory']['max'] / MEMORY, 1)}")  # fmt: skip
    results = {
        "trials": trials,
        "slots": options.slots,
        "target": TARGET,
        "summary": found,
        "runs": runs,
        "processor": part,
        "alone": alone,
    }
    finish(options.out, "simulation", facts, {**results, "tpe_ask": asked})


def _line(what: str, of: dict[str, Any], run: dict[str, Any], trials: int) -> list[str]:
    percent = {key: {k: v if k == "n" else 100 * v for k, v in of[key].items()} for key in ("busy", "delay")}
    each = {k: v if k == "n" else 1e3 * v / trials for k, v in of["driver"].items()}
    ended = ", ".join(f"{count:,} {status}" for status, count in run["statuses"].items() if count)
    least = f"{run['minimum'] / 60:.0f}"
    return [what, ended, least, shown(percent["busy"], 1), shown(percent["delay"], 1), shown(each)]


def _in_a_process(what: str, options: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.simulation", "--measure", what]
    command += ["--trials", str(options.trials), "--slots", str(options.slots)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
