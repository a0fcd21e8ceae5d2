"""No step waits for the device: nothing in it asks for a value on the host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from engine.components import names
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.feed import Feed
from engine.models.catalog import config as model_config
from engine.optimizers import Updates, build
from engine.selecting import begin_epoch
from engine.state import State
from engine.step import Stepper

CPU = torch.device("cpu")
WAITS = {
    "aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::equal",
    "aten::unique_dim", "aten::_unique2", "aten::is_nonzero", "aten::repeat_interleave.Tensor",
}  # fmt: skip


class Watch(TorchDispatchMode):
    """Raises where a GPU would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name in (
            "aten::index",
            "aten::index_put",
            "aten::index_put_",
            "aten::_index_put_impl_",
        ) and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        assert name not in WAITS, name
        assert not by_mask, name
        return func(*args, **(kwargs or {}))


def stepped(trial: Trial, steps: int = 2) -> None:
    """Two steps, the second and its update being watched; what the CPU alone knows is left out."""
    data = load(trial.data, trial.seed, CPU)
    torch.manual_seed(0)
    network = model_config(trial.model).build(data.info, data.words)
    others = 0 if data.unlabelled is None else len(data.unlabelled)
    state = State(len(data.train) + others)
    stepper = Stepper(network, trial.slots, trial.seed, Workers(), trial.precision, state)
    stepper.ascents.table = None  # the rows that are looked up are asked for on a CPU alone
    feed = Feed(trial, data, Workers(), state, empty=False)
    updates = Updates(trial, build(trial.optimizer, network.parameters(), CPU), network, stepper)
    begin_epoch(stepper.of, data.train, trial.slots, 0)
    for number, places_B in zip(range(steps), feed.epoch(0), strict=False):
        taken = feed.take(places_B, number)
        with Watch():
            updates.begin(2.0)
            stepper.gradients(
                taken.batch, number, taken.labelled, taken.share, examples=taken.examples,
                aims=taken.aims, epoch=5.0, places=taken.places, update=updates.between,
            )  # fmt: skip
            updates.take()


@pytest.fixture(autouse=True)
def _no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CPU does without an operation of its own."""
    for name in ("tolist", "cpu", "numpy"):
        plain = getattr(Tensor, name)

        def call(x: Tensor, *given: Any, plain: Any = plain, name: str = name) -> Any:
            watched = any(isinstance(mode, Watch) for mode in _get_current_dispatch_mode_stack())
            asker = sys._getframe(1).f_globals["__name__"]
            # Random numbers are made in NumPy on a CPU and on the device elsewhere.
            assert not watched or asker == "engine.perturb.random", name
            return plain(x, *given)

        monkeypatch.setattr(Tensor, name, call)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
@pytest.mark.parametrize("method", names("methods"))
def test_a_step_of_images(make_lively: Callable[..., Trial], method: str, precision: str) -> None:
    trial = make_lively(method, epochs=6, optimizer="adamw", precision=precision)
    if trial.init is not None:  # pseudo-labels come before the steps
        trial = trial.model_copy(update={"init": None})
    stepped(trial)


@pytest.mark.parametrize(
    "method",
    [
        {"name": "dropattack", "targets": ["embedding", "lstm.ih.w"], "steps": 2},
        {"name": "dropattack", "input_as": "activations"},
        {"name": "adaptive", "n": 15},
        {"name": "trades_awp", "steps": 2},
        "free_at",
        "freelb",
        "vat",
    ],
)
def test_a_step_of_texts(make_trial: Callable[..., Trial], method: Any) -> None:
    stepped(make_trial(True, method=method))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.__setitem__(x > 0, torch.ones(())),
    ],
)
def test_waiting_would_be_seen(wait: Callable[[Tensor], Any]) -> None:
    with pytest.raises(AssertionError, match=r"aten|tolist"), Watch():
        wait(torch.ones(3))
