from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import evaluate as module
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluate import Evaluation, evaluate
from engine.models.catalog import config as model_config

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Logits that are known: the class is 1 where the mean pixel is above 0.3, else 0."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        bright_B = (x_BCHW.flatten(1).mean(1) > 0.3).float()
        logits_BC = torch.full((len(x_BCHW), 10), -50.0)
        logits_BC[:, 0], logits_BC[:, 1] = 1 - bright_B, bright_B
        return logits_BC


def test_loss_accuracy_and_bits(make_trial: Callable[..., Trial]) -> None:
    examples = load(make_trial().data, 0, CPU).test
    whole = examples.batch(torch.arange(len(examples)))
    assert whole.labels is not None
    right_N = (whole.views[0].flatten(1).mean(1) > 0.3).long() == whole.labels
    found = evaluate(Brightness(), examples, Workers())
    assert torch.equal(found.correct_N, right_N)
    assert found.accuracy == pytest.approx(right_N.double().mean().item(), abs=1e-12)
    assert 0 < found.accuracy < 1
    loss = nn.functional.cross_entropy(Brightness()(whole.views[0]).double(), whole.labels)
    assert found.loss == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("text", [False, True])
def test_the_size_of_a_batch_changes_nothing_but_rounding(
    make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch, text: bool
) -> None:
    trial = make_trial(text=text)
    splits = load(trial.data, 0, CPU)
    network = model_config(trial.model).build(splits.info, splits.words)
    whole = evaluate(network, splits.test, Workers())
    monkeypatch.setattr(module, "BATCH", 5)
    parts = evaluate(network, splits.test, Workers())
    assert torch.equal(parts.correct_N, whole.correct_N)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_texts_are_put_back_into_their_order(make_trial: Callable[..., Trial]) -> None:
    splits = load(make_trial(text=True).data, 0, CPU)

    class Long(nn.Module):
        def forward(self, x_BT: Tensor, lengths_B: Tensor) -> Tensor:
            return torch.stack([5.0 - lengths_B, lengths_B - 5.0], dim=1)

    assert splits.test.lengths is not None
    expected = (splits.test.lengths > 5).long() == splits.test.labels
    assert torch.equal(evaluate(Long(), splits.test, Workers()).correct_N, expected)
    assert expected.any()
    assert not expected.all()


@pytest.mark.parametrize("training", [True, False])
def test_in_eval_mode_without_gradients_and_back(make_trial: Callable[..., Trial], training: bool) -> None:
    network = Brightness()
    network.train(training)
    seen: list[tuple[bool, bool]] = []
    network.register_forward_pre_hook(lambda m, x: seen.append((m.training, torch.is_grad_enabled())))
    evaluate(network, load(make_trial().data, 0, CPU).val, Workers())
    assert set(seen) == {(False, False)}
    assert network.training is training


def test_bits() -> None:
    correct = torch.tensor([True, False, False, True, True, False, True, False, True])
    bits = Evaluation(0.0, 5 / 9, correct).bits()
    assert len(bits) == 2
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=9)
    assert unpacked.tolist() == correct.int().tolist()


def test_metric_names() -> None:
    assert Evaluation(0.5, 0.75, torch.ones(4)).metrics("test") == {"test.loss": 0.5, "test.accuracy": 0.75}
