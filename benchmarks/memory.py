"""Peak memory of DropAttack-K over that of standard training plus the saved copies of its targets.

Each method makes three steps; the last one is measured. On a CPU torch's profiler records what every
allocation and release of a tensor brings (``profile_memory``); the peak is the greatest running sum over the
step, above the parameters, the optimiser's state and the data, which are added. On a GPU it is
``torch.cuda.max_memory_allocated`` of the step. A weight that is attacked is saved while it is perturbed;
an attacked pixel tensor is its own perturbation. The embedding matrix is saved in the rows that the batch
looks up on a CPU, whole on a GPU; whole is what is allowed for in both.

    python -m benchmarks.memory
"""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import finish, machine, parser, table, verdict
from benchmarks.steps import Case, Step, image, text
from engine.distributed import default_device
from engine.methods.base import Preset
from engine.methods.dropattack import Config as DropAttack
from engine.methods.standard import Config as Standard
from engine.models.base import INPUT

TARGET = 1.3
STEPS_K = (1, 3)
CASES = (
    image("lenet5", (1, 28, 28), 128),
    image("mnist_cnn", (1, 28, 28), 64),
    image("preact_resnet18", (3, 32, 32), 8, weight="conv1.weight"),
    text("lstm", 5000),
    text("lstm", 30000),
)


def peak(case: Case, method: Preset, device: torch.device) -> tuple[int, int]:
    """Bytes at the peak of a step, and in the perturbed targets."""
    step = Step(case, method, device)
    for number in range(2):
        step(number)
    found = _on_gpu(step) if device.type == "cuda" else _on_cpu(step)
    return found, sum(_bytes(step, name) for name in step.stepper.ascents.targets)


def _on_gpu(step: Step) -> int:
    torch.cuda.reset_peak_memory_stats(step.device)
    step(2)
    return int(torch.cuda.max_memory_allocated(step.device))


def _on_cpu(step: Step) -> int:
    step.optimizer.zero_grad(set_to_none=True)  # what the last step leaves is not released in this one
    state = [t for held in step.optimizer.state.values() for t in held.values()]
    held = sum(t.nbytes for t in [*step.network.parameters(), *step.network.buffers(), *state])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step(2)
    assert recorded.profiler is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = highest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return held + highest


def _bytes(step: Step, name: str) -> int:
    if name == INPUT:
        return int(step.data.batch(step.order[0]).views[0].nbytes)
    return int(step.network.get_parameter(name).nbytes)


def measure(case: Case, device: torch.device) -> dict[str, Any]:
    """Peaks of all variants, in MiB."""
    mib = 2**20
    standard, _ = peak(case, Standard(name="standard"), device)
    found: dict[str, Any] = {"standard": standard / mib}
    for k in STEPS_K:
        method = DropAttack(name="dropattack", targets=case.targets, steps=k)
        bytes_, saved = peak(case, method, device)
        found[f"K={k}"] = {
            "peak": bytes_ / mib, "targets": saved / mib, "ratio": bytes_ / (standard + saved)
        }  # fmt: skip
    return found


def main() -> None:
    """Measure, show, write."""
    options = parser(__doc__).parse_args()
    device = default_device()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu, 1 thread"
    facts, rows = machine(["torch"], name), []
    cases = {case.label: measure(case, device) for case in CASES}
    for label, found in cases.items():
        for k in STEPS_K:
            of = found[f"K={k}"]
            rows.append(
                [f"{label}, K = {k}", f"{found['standard']:.2f}", f"{of['targets']:.2f}", f"{of['peak']:.2f}",
                 f"{of['ratio']:.2f}", verdict(of["ratio"], TARGET)]
            )  # fmt: skip
    columns = ["model", "standard, MiB", "targets, MiB", "DropAttack, MiB", "ratio", "target"]
    table("Peak memory of a step", columns, rows)
    where = "memory" if device.type == "cpu" else "memory_cuda"
    finish(options.out, where, facts, {"target": TARGET, "cases": cases})


if __name__ == "__main__":
    main()
