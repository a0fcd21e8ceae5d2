"""Cost of each method's step, held against the sum of its own passes.

The passes of one step are counted by kind while the engine makes it, and each kind is measured as a bare
loop on the same model and batches (``benchmarks/passes.py``); so is standard training without the engine,
whose cost beyond its one pass is added for the batch and the update. The sum is the least that the step
can cost; what the engine adds are perturbations, masks, norms, saved weights and its own calls. Shown are
the sum, the step, step / sum (target: at most 1.05), and the step over that of the method it is compared
with (``standard``, or the same method without weight perturbation).

Bare loops, step and the compared step are timed in rounds, in an order that rotates; ratios are taken
within a round; medians and quartiles over the rounds. One row is no step: ``adaptive refresh`` scores all
examples at the start of an epoch, one F + I each in batches of 512.

    python -m benchmarks.method_cost --model lenet5 --batch 128
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict
from benchmarks.passes import EVAL, STEP, bare_loops, counted
from benchmarks.steps import SIZE, Case, Step, image, side_by_side, text
from engine.components import find
from engine.methods.base import Preset
from engine.selecting import BATCH, begin_epoch

TARGET = 1.05
ONE = f"F+I{EVAL}"
CASES = {
    "lenet5_8x8": image("lenet5_8x8", (1, 8, 8), 128),
    "lenet5": image("lenet5", (1, 28, 28), 128),
    "stdcnn": image("stdcnn", (1, 28, 28), 128),
    "mnist_cnn": image("mnist_cnn", (1, 28, 28), 64),
    "preact_resnet18": image("preact_resnet18", (3, 32, 32), 8, weight="conv1.weight"),
    "lstm": text("lstm", 5000),
}
METHODS: dict[str, tuple[dict[str, Any], str, str]] = {
    "standard": ({}, "standard", "1"),
    "fgm": ({}, "standard", "2"),
    "fgsm": ({}, "standard", "2 F+B, F+I"),
    "pgd": ({"steps": 3}, "standard", "2 F+B, 2 F+I"),
    "free_at": ({"replays": 3}, "standard", "3"),
    "freelb K=2": ({"steps": 2}, "standard", "2"),
    "freelb K=3": ({"steps": 3}, "standard", "3"),
    "vat": ({}, "standard", "2 F+B, F+I"),
    "dropattack K=1": ({"steps": 1}, "standard", "3"),
    "dropattack K=3": ({"steps": 3}, "standard", "7"),
    "at": ({}, "standard", "F+B, 10 F+I"),
    "at_awp": ({}, "at", "1.10"),
    "trades": ({}, "standard", "2 F+B, 10 F+I, F"),
    "trades_awp": ({}, "trades", "1.16 to 1.19"),
    "sadd": ({}, "standard", "3"),
    "vadd": ({}, "standard", "3"),
}
"""Settings, the method it is compared with, and what their ratio is said to be (or the passes)."""


def preset(label: str, case: Case) -> Preset:
    """A method by its row's name."""
    settings, _, _ = METHODS[label]
    name = label.split()[0]
    targets = {"targets": case.targets} if name == "dropattack" else {}
    found = find("methods", name, "method.name")
    method = found.model_validate({"name": name, **settings, **targets})  # type: ignore[attr-defined]
    assert isinstance(method, Preset)
    return method


def measure(
    label: str, case: Case, options: Namespace, loops: Mapping[str, Callable[[int], None]]
) -> dict[str, Any]:
    """One method: its passes, their predicted sum, its step, and both ratios."""
    _, compared, said = METHODS[label]
    step = Step(case, preset(label, case), options.device)
    with counted(step.stepper.of.passes) as kinds:
        step(0)
    updates = getattr(step.stepper.slots.input, "replays", 1)
    variants = {kind: loops[kind] for kind in {*kinds, "F+B", STEP}} | {"method": step}
    if compared != label:
        variants["compared"] = Step(case, preset(compared, case), options.device)
    taken = side_by_side(variants, options.rounds, options.device, options.block)
    over = taken.get("compared", taken["method"])
    ratios = [a / b for a, b in zip(taken["method"], over, strict=True)]
    found = compare(kinds, taken, updates)
    return found | {"compared with": compared, "ratio": summary(ratios), "said": said}


def compare(kinds: Counter[str], taken: Mapping[str, list[float]], updates: int) -> dict[str, Any]:
    """A step, ``taken["method"]``, against the sum of its passes and of its updates, round by round."""
    sums = []
    for i in range(len(taken["method"])):
        rest = taken[STEP][i] - taken["F+B"][i] if updates else 0.0
        sums.append(updates * rest + sum(n * taken[kind][i] for kind, n in kinds.items()))
    return {
        "passes": dict(kinds),
        "pass_ms": {kind: 1e3 * median(values) for kind, values in taken.items() if kind != "compared"},
        "sum_ms": summary([1e3 * s for s in sums]),
        "step_ms": summary([1e3 * s for s in taken["method"]]),
        "step / sum": summary([a / b for a, b in zip(taken["method"], sums, strict=True)]),
    }


def refresh(case: Case, options: Namespace) -> dict[str, Any]:
    """Adaptive adversarial training's scores of a whole epoch, over a bare F + I of every batch."""
    large = replace(case, batch=BATCH)
    settings = {"name": "adaptive", "n": 100, "perturbations": "refreshed"}
    method = find("methods", "adaptive", "method.name").model_validate(settings)  # type: ignore[attr-defined]
    step, loops = Step(large, method, options.device), bare_loops(large, options.device)
    of, slots = step.stepper.of, step.stepper.slots

    def score(number: int) -> None:
        begin_epoch(of, step.data, slots, number)

    with counted(of.passes) as kinds:
        score(0)
    assert kinds == {ONE: SIZE // BATCH}, "one F + I an example"
    variants = {ONE: loops[ONE], "method": score}
    taken = side_by_side(variants, options.rounds, options.device, options.block)
    return compare(kinds, taken, updates=0) | {"compared with": f"{SIZE} examples", "said": ""}


def row(label: str, found: dict[str, Any]) -> list[str]:
    """One method's line of the table."""
    kinds = ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in found["passes"].items())
    ratio = shown(found["ratio"]) if "ratio" in found else ""
    return [
        label, kinds, f"{found['sum_ms']['median']:.2f}", f"{found['step_ms']['median']:.2f}",
        shown(found["step / sum"], 3), verdict(found["step / sum"]["median"], TARGET),
        f"{ratio} {found['compared with']}", found["said"],
    ]  # fmt: skip


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", choices=CASES, action="append", help="default: all of them")
    arguments.add_argument("--batch", type=int, help=f"a divisor of {SIZE}; default: the model's own")
    arguments.add_argument("--method", choices=METHODS, action="append", help="default: all of them")
    arguments.add_argument("--rounds", type=int, default=15, help="rounds over the loops of a method")
    arguments.add_argument("--block", type=float, default=0.05, help="seconds of each loop in a round")
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = arguments.parse_args()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if options.device.type == "cuda" else "cpu, 1 thread"
    facts = machine(["torch", "numpy"], name)
    results: dict[str, Any] = {}
    for model in options.model or CASES:
        case = CASES[model] if options.batch is None else replace(CASES[model], batch=options.batch)
        loops = bare_loops(case, options.device)
        found = {m: measure(m, case, options, loops) for m in options.method or METHODS}
        if options.method is None and case.info.kind == "image" and case.batch > 8:
            found["adaptive refresh"] = refresh(case, options)
        results[case.label] = {"batch": case.batch, "methods": found}
        columns = [
            "method",
            "passes",
            "sum, ms",
            "step, ms",
            "step / sum",
            "target",
            "step / compared",
            "said",
        ]
        title = f"{case.label}, batch {case.batch}, {options.rounds} rounds"
        table(title, columns, [row(m, f) for m, f in found.items()])
    where = "_".join(["method_cost", *(options.model or []), *(["cuda"] if name[:3] != "cpu" else [])])
    finish(options.out, where, facts, {"rounds": options.rounds, "target": TARGET, "models": results})


if __name__ == "__main__":
    main()
