"""Trains the trials of a JSON file in one process group, as ``torchrun`` would start it; run by a test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine.components import load_plugin
from engine.config import Trial
from engine.distributed import Workers, from_environment
from engine.models.norm import MeanOnlyBatchNorm2d, synchronise
from engine.passes import Passes
from engine.report import Event, Signal
from engine.train import train


def main(cases: Path, out: Path) -> None:
    torch.set_num_threads(1)
    for plugin in ("toy_text.py", "normed.py"):
        load_plugin(Path(__file__).parent / plugin)
    with from_environment() as workers:
        for name, case in json.loads(cases.read_text()).items():
            one(name, case, out, workers)
        norms(out, workers)


def norms(out: Path, workers: Workers) -> None:
    """What batch normalisation makes of this worker's share of batches of 5, 4 and 1 examples."""
    found = {}
    for name, layer in NORMS.items():
        network = nn.Sequential(layer())
        synchronise(network, workers.device)
        found[name] = normalised(network, [workers.share(x_BCHW) for x_BCHW in norm_batches()])
    torch.save(found, out / f"norms_{workers.rank}.pt")


def norm_batches() -> list[Tensor]:
    """The last one is too small for two workers."""
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(size, 3, 4, 4, generator=generator) + 1 for size in (5, 4, 1)]


def normalised(network: nn.Module, batches: list[Tensor]) -> dict[str, list[Tensor]]:
    """Outputs and input gradients of each batch; then all buffers and the parameters' gradients."""
    outputs, gradients = [], []
    for x_BCHW in batches:
        x_BCHW.requires_grad_()
        y_BCHW = network(x_BCHW)
        y_BCHW.pow(3).sum().backward()
        outputs.append(y_BCHW.detach())
        assert x_BCHW.grad is not None
        gradients.append(x_BCHW.grad)
    learnt = [w.grad for w in network.parameters() if w.grad is not None]
    return {"y": outputs, "dx": gradients, "dw": learnt, "buffers": list(network.buffers())}


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(3),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
    "untracked": lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
    "mean": lambda: MeanOnlyBatchNorm2d(3),
}


@contextmanager
def watched() -> Iterator[list[str]]:
    """What happens in turn: F a forward of DistributedDataParallel, L a pass that is learnt from, B a
    backward pass to the weights; X a forward whose wrapper broadcasts buffers."""
    calls: list[str] = []

    def noted(what: Callable[..., Any], sign: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(sign(*arguments))
            return what(*arguments, **named)

        return call

    forward, backward, learn = DistributedDataParallel.forward, Tensor.backward, Passes.learn
    wrapper: Any = DistributedDataParallel
    wrapper.forward = noted(forward, lambda self, *_: "X" if self.broadcast_buffers else "F")
    Tensor.backward = noted(backward, lambda *_: "B")  # type: ignore[method-assign]
    Passes.learn = noted(learn, lambda *_: "L")  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        wrapper.forward, Tensor.backward, Passes.learn = forward, backward, learn  # type: ignore[method-assign]


def one(name: str, case: dict[str, Any], out: Path, workers: Workers) -> None:
    """Train; where the case has a ``stop``, stop at that event first and go on from the checkpoint."""
    trial, folder = Trial.model_validate(case["trial"]), out / name
    options: Any = {"workers": workers, "keep": "last", "micro": case.get("micro", 0)}
    if "parent" in case:
        options["parent"] = Path(case["parent"])
    told = 0

    def report(event: Event) -> Signal:
        nonlocal told
        told += 1
        return "stop" if told == case.get("stop") else "continue"

    with watched() as calls:
        result = train(trial, report, folder, **options)
        if "stop" in case:
            assert result.status == "stopped"
            result = train(trial, folder=folder, **options)
    if workers.rank == 0:
        bits = {which: list(found) for which, found in result.correct.items()}
        text = json.dumps({**asdict(result), "correct": bits, "told": told, "calls": "".join(calls)})
        (folder / "result.json").write_text(text)
    else:
        assert told == 0, "rank 0 reports"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
