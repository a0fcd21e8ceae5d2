"""What only a GPU shows; all of it is skipped without one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.components import names
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers, group
from engine.feed import Feed
from engine.models.catalog import config as model_config
from engine.models.norm import synchronise
from engine.optimizers import Updates, build
from engine.placing import placed
from engine.selecting import begin_epoch
from engine.state import State
from engine.step import Stepper
from engine.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
METHODS = names("methods")
PRECISIONS = ["float32", "bf16", "fp16"]
Lively = Callable[..., Trial]
TEXT_METHODS: list[Any] = [
    {"name": "dropattack", "targets": ["embedding", "lstm.ih.w"], "steps": 2},
    {"name": "dropattack", "input_as": "activations"},
    {"name": "adaptive", "n": 15},
    {"name": "trades_awp", "steps": 2},
    "free_at",
    "freelb",
    "vat",
]


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Convolutions and products without TF32, so that both devices round alike."""
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held
    torch.cuda.set_sync_debug_mode("default")


def gpu() -> Workers:
    return Workers(device=torch.device("cuda", 0))


def stepped(trial: Trial, workers: Workers, steps: int, watched: bool = False) -> tuple[nn.Module, float]:
    """The network after some steps, and its summed loss in the last; where watched, nothing may wait."""
    device = workers.device
    data = load(trial.data, trial.seed, device)
    torch.manual_seed(0)
    network = model_config(trial.model).build(data.info, data.words)
    placed(network, data.info, device, trial.memory_format)
    others = 0 if data.unlabelled is None else len(data.unlabelled)
    state = State(len(data.train) + others)
    stepper = Stepper(network, trial.slots, trial.seed, workers, trial.precision, state)
    feed = Feed(trial, data, workers, state, empty=False)
    updates = Updates(trial, build(trial.optimizer, network.parameters(), device), network, stepper)
    begin_epoch(stepper.of, data.train, trial.slots, 0)
    loss = torch.zeros(())
    for number, places_B in zip(range(steps), feed.epoch(0), strict=False):
        if watched and number:  # the first step loads kernels and fills caches
            torch.cuda.set_sync_debug_mode("error")
        taken = feed.take(places_B, number)
        updates.begin(5.0)
        loss = stepper.gradients(
            taken.batch, number, taken.labelled, taken.share, examples=taken.examples,
            aims=taken.aims, epoch=5.0, places=taken.places, update=updates.between,
        ).loss  # fmt: skip
        updates.take()
    torch.cuda.set_sync_debug_mode("default")
    return network, float(loss)


def without_parent(trial: Trial) -> Trial:
    return trial.model_copy(update={"init": None})


@pytest.mark.parametrize("model", [None, "normed"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_that_of_a_cpu(make_lively: Lively, method: str, model: str | None) -> None:
    changes = {} if model is None else {"model": {"name": model, "dropout": 0.2}}
    if method == "dropattack" and model:
        pytest.skip("its targets are LeNet's")
    trial = without_parent(make_lively(method, epochs=6, **changes))
    (on_gpu, gpu_loss), (on_cpu, cpu_loss) = stepped(trial, gpu(), 1), stepped(trial, Workers(), 1)
    assert gpu_loss == pytest.approx(cpu_loss, rel=1e-3)
    for name, w in on_cpu.named_parameters():
        found = on_gpu.get_parameter(name).cpu()
        assert (found - w).norm() <= 1e-3 * w.norm() + 1e-4, name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_images_waits(make_lively: Lively, method: str, precision: str) -> None:
    trial = without_parent(make_lively(method, epochs=6, optimizer="adamw", precision=precision))
    network, _ = stepped(trial, gpu(), 3, watched=True)
    assert all(w.dtype == torch.float32 and bool(w.isfinite().all()) for w in network.parameters())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", TEXT_METHODS)
def test_no_step_of_texts_waits(make_trial: Callable[..., Trial], method: Any, precision: str) -> None:
    network, _ = stepped(make_trial(True, method=method, precision=precision), gpu(), 3, watched=True)
    assert all(bool(w.isfinite().all()) for w in network.parameters())


def test_waiting_would_be_seen() -> None:
    x = torch.ones(3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("text", [False, True])
def test_training_goes_through(make_trial: Callable[..., Trial], precision: str, text: bool) -> None:
    method = "pgd" if text else {"name": "at_awp", "epsilon": 0.05, "steps": 2, "step_size": 0.03}
    attacks = {"fgsm": {"name": "fgsm", "epsilon": 0.05, **({"clamp": None} if text else {})}}
    trial = make_trial(text, method=method, precision=precision, attacks={} if text else attacks)
    result = train(trial, workers=gpu())
    assert result.status == "completed"
    assert result.history[-1]["train.loss"] < 1.05 * result.history[0]["train.loss"]


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_trial_goes_on_from_its_checkpoint(
    make_lively: Lively, run: Any, tmp_path: Path, stop: int
) -> None:
    trial = make_lively("adaptive", precision="fp16", epochs=3)
    told = 0

    def report(event: Any) -> Any:
        nonlocal told
        told += 1
        return "stop" if told == stop else "continue"

    whole, expected = run(trial, tmp_path / "whole", workers=gpu())
    run(trial, tmp_path / "parts", report, workers=gpu())
    resumed, found = run(trial, tmp_path / "parts", workers=gpu())
    assert len(resumed.history) == len(whole.history)
    assert all(torch.allclose(found[n], w, atol=1e-4) for n, w in expected.items()), "kernels may round anew"


@pytest.fixture
def nccl() -> Iterator[Workers]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    with group(0, 1, f"tcp://127.0.0.1:{port}", torch.device("cuda", 0)) as workers:
        yield workers


def test_batch_normalisation_becomes_torchs_synchronised_one(nccl: Workers) -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).cuda()
    x_BCHW = torch.randn(5, 1, 8, 8, device="cuda")
    state = {name: t.clone() for name, t in plain.state_dict().items()}
    expected = plain(x_BCHW)
    moved = {name: t.clone() for name, t in plain.state_dict().items()}
    plain.load_state_dict(state)
    weight = plain[1].weight
    synchronise(plain, nccl.device)
    assert isinstance(plain[1], nn.SyncBatchNorm)
    assert plain[1].weight is weight
    assert torch.allclose(plain(x_BCHW), expected, atol=1e-5)
    assert all(torch.allclose(t, moved[name], atol=1e-6) for name, t in plain.state_dict().items())


@pytest.mark.filterwarnings("ignore:.broadcast_buffers:FutureWarning")
@pytest.mark.parametrize("norm", ["batch", "mean"])
@pytest.mark.parametrize("method", ["standard", "trades_awp", "mart", "vadd", "free_at"])
def test_two_forwards_before_a_backward_pass_through_the_wrapper(
    nccl: Workers, make_lively: Lively, monkeypatch: pytest.MonkeyPatch, method: str, norm: str
) -> None:
    """The failure that a CPU does not show: the wrapper's copy of buffers invalidates a saved graph."""
    monkeypatch.setattr(Workers, "wrap", lambda self, network: _wrapped(network, self.device))
    trial = make_lively(method, epochs=6, model={"name": "normed", "norm": norm, "dropout": 0.2})
    network, loss = stepped(trial, nccl, 2)
    assert loss == loss
    assert all(bool(w.isfinite().all()) for w in network.parameters())


def _wrapped(network: nn.Module, device: torch.device) -> nn.Module:
    """As :meth:`Workers.wrap` does for several workers."""
    from torch.nn.parallel import DistributedDataParallel

    from engine.distributed import Joint

    synchronise(network, device)
    return DistributedDataParallel(Joint(network), device_ids=[device.index or 0], broadcast_buffers=False)
