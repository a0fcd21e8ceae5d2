from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.perturb.modes import attackable
from engine.step import Stepper
from engine.train import train


class Recurrent(nn.Module):
    """Everything whose answer depends on the mode: batch norm, dropout, dropout between recurrent layers."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.rnn = cell(3, 4, num_layers=2, dropout=0.5, batch_first=True)  # type: ignore[call-arg]

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.norm(x_BTD.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.rnn(self.drop(h_BTD))[0]
        return out


def mixed(network: nn.Module) -> list[bool]:
    """Modes as a fine-tuning user would have set them: not all alike."""
    for i, module in enumerate(network.modules()):
        module.training = i % 2 == 0
    return [module.training for module in network.modules()]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_eval_computes_what_eval_mode_computes_with_recurrent_layers_in_train_mode(
    cell: type[nn.RNNBase],
) -> None:
    network, x_BTD = Recurrent(cell), torch.randn(2, 5, 3)
    network(x_BTD)  # running statistics that differ from a batch's
    network.eval()
    expected = network(x_BTD)
    network.train()
    statistics = network.norm.running_mean.clone()  # type: ignore[operator, union-attr]
    with attackable(network, "eval"):
        assert network.rnn.training
        assert not network.norm.training
        assert torch.equal(network(x_BTD), expected)
    assert torch.equal(network.norm.running_mean, statistics)  # type: ignore[arg-type]
    assert network.rnn.dropout == 0.5


def test_train_leaves_dropout_between_recurrent_layers_on() -> None:
    network, x_BTD = Recurrent(nn.LSTM).eval(), torch.randn(2, 5, 3)
    with attackable(network, "train"):
        assert all(module.training for module in network.modules())
        assert network.rnn.dropout == 0.5
        assert not torch.equal(network(x_BTD), network(x_BTD))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("fails", [False, True])
def test_every_module_gets_its_own_mode_back(mode: Literal["train", "eval"], fails: bool) -> None:
    network = Recurrent(nn.GRU)
    before = mixed(network)
    try:
        with attackable(network, mode):
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert [module.training for module in network.modules()] == before
    assert network.rnn.dropout == 0.5


def test_an_attack_in_eval_mode_runs_recurrent_layers_in_train_mode(
    make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in evaluation alike: cuDNN would refuse their backward pass in eval mode."""
    modes: list[tuple[bool, bool]] = []
    plain = torch.autograd.grad
    model = {"name": "bilstm", "embedding_dim": 4, "hidden": 3, "dropout": 0.5}
    networks: list[nn.Module] = []

    def grad(*given: Any, **named: Any) -> Any:
        (rnn,) = (m for m in networks[0].modules() if isinstance(m, nn.RNNBase))
        modes.append((rnn.training, networks[0].get_submodule("dropout").training))
        return plain(*given, **named)

    class Seen(Stepper):
        def __init__(self, network: nn.Module, *given: Any) -> None:
            networks.append(network)
            super().__init__(network, *given)

    monkeypatch.setattr("engine.train.Stepper", Seen)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    method = {"name": "trades", "epsilon": 0.1, "steps": 2, "step_size": 0.1, "mode": "eval"}
    train(make_trial(True, method=method, model=model, epochs=1, attacks={"fgsm": {"name": "fgsm"}}))
    assert len(modes) > 2
    assert set(modes) == {(True, False)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuDNN's recurrent layers need a GPU")
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_recurrent_layers_can_be_attacked_in_eval_mode_on_a_gpu(cell: type[nn.RNNBase]) -> None:
    network = Recurrent(cell).cuda().eval()
    x_BTD = torch.randn(2, 5, 3, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="cudnn RNN backward"):
        torch.autograd.grad(network(x_BTD).sum(), x_BTD)
    with attackable(network, "eval"):
        (g,) = torch.autograd.grad(network(x_BTD).sum(), x_BTD)
    with torch.backends.cudnn.flags(enabled=False):
        (expected,) = torch.autograd.grad(network(x_BTD).sum(), x_BTD)
    assert torch.allclose(g, expected, atol=1e-5)
