"""Cost of a DropAttack step relative to a standard step on the same model.

A step is what the training loop does for one batch: take the batch, clear the gradients, one clean pass
and for DropAttack K more for the input and K for a weight, update with Adam. DropAttack makes 1 + 2K
forward and backward passes, so a factor of 1 + 2K is what passes alone cost; the rest is masks, norms,
saving and restoring weights.

Each round times every variant once, in an order that rotates, on blocks of steps long enough for the
clock, and divides by the standard step of the same round. Shown are the median of these ratios over the
rounds and their quartiles. Data and clock are those of ``benchmarks/steps.py``; the embedding matrix is
attacked, so two sizes of vocabulary are measured. The device is a GPU when there is one.

    python -m benchmarks.step_cost
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict
from benchmarks.steps import Case, Step, image, side_by_side, text
from engine.distributed import default_device
from engine.methods.dropattack import Config as DropAttack
from engine.methods.standard import Config as Standard

BLOCK_SECONDS = 0.1
STEPS_K = (1, 2, 3, 5)
CASES = (
    image("lenet5_8x8", (1, 8, 8), 128),
    image("lenet5", (1, 28, 28), 128),
    text("lstm", 5000),
    text("lstm", 30000),
)


def measure(case: Case, rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds of every variant and their ratios to the standard step, over the rounds."""
    variants = {"standard": Step(case, Standard(name="standard"), device)}
    for k in STEPS_K:
        method = DropAttack(name="dropattack", targets=case.targets, steps=k)
        variants[f"K={k}"] = Step(case, method, device)
    taken = side_by_side(variants, rounds, device, BLOCK_SECONDS)
    found: dict[str, Any] = {"standard_ms": summary([1e3 * s for s in taken["standard"]])}
    for k in STEPS_K:
        pairs = zip(taken[f"K={k}"], taken["standard"], strict=True)
        ratios = [s / standard for s, standard in pairs]
        limit = 3.1 if k == 1 else 1 + 2 * k + 0.2
        found[f"K={k}"] = {"ratio": summary(ratios), "passes": 1 + 2 * k, "target": limit}
    return found


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=15, help="rounds over all variants")
    options = arguments.parse_args()
    device = default_device()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu, 1 thread"
    facts = machine(["torch", "numpy"], name)
    cases = {case.label: measure(case, options.rounds, device) for case in CASES}
    rows = []
    for label, found in cases.items():
        for k in STEPS_K:
            of = found[f"K={k}"]
            rows.append(
                [f"{label}, K = {k}", shown(found["standard_ms"]), shown(of["ratio"]), str(of["passes"]),
                 verdict(of["ratio"]["median"], of["target"])]
            )  # fmt: skip
    columns = ["model", "standard step, ms", "DropAttack / standard", "passes", "target"]
    table(f"Cost of a step, {options.rounds} rounds", columns, rows)
    where = "step_cost" if device.type == "cpu" else "step_cost_cuda"
    finish(options.out, where, facts, {"rounds": options.rounds, "cases": cases})


if __name__ == "__main__":
    main()
