"""Attacks against two other implementations, on LeNet-5: MNIST where its files are, else the 8 x 8 digits.

The others count an example as robust when the network is right at the one adversarial example that they
return; here the clean point counts too, which is added to theirs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.nested import evaluation
from engine.evaluations.robust import attacked
from engine.evaluations.run import restored
from engine.train import train

CPU = torch.device("cpu")
POINT = 0.005
DIGITS = ({"name": "digits"}, "lenet5_8x8", "train", 8, {"linf": 0.06, "l2": 0.3}, 40)
MNIST = ({"name": "mnist", "train_size": 4000}, "lenet5", "test", 3, {"linf": 0.1, "l2": 1.0}, 20)


@dataclass(frozen=True)
class Case:
    """A trained network, and examples of which some stay right within the radius and some do not."""

    network: nn.Module
    examples: Any
    x: Tensor
    y: Tensor
    right: Tensor
    epsilon: dict[str, float]
    steps: int
    known: dict[AttackConfig, float] = field(default_factory=dict)

    def ours(self, name: str, norm: str, **settings: Any) -> float:
        made = evaluation(
            {"name": name, "norm": norm, "epsilon": self.epsilon[norm], "examples": len(self.y), **settings}
        )
        assert isinstance(made, AttackConfig)
        if made not in self.known:
            self.known[made] = attacked(self.network, self.examples, Workers(), made).accuracy
        return self.known[made]

    def theirs(self, x_adv: Tensor) -> float:
        """Robust accuracy on their adversarial examples."""
        with torch.no_grad():
            return float((self.right & (self.network(x_adv).argmax(1) == self.y)).double().mean())


@pytest.fixture(scope="module")
def case(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = os.environ.get("PERTURB_DATA")
    data, model, split, epochs, epsilon, steps = MNIST if root and (Path(root) / "mnist").is_dir() else DIGITS
    folder = tmp_path_factory.mktemp("agreement")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        trial = Trial.model_validate(
            {"data": data, "model": model, "method": "standard", "epochs": epochs, "batch_size": 64,
             "optimizer": {"name": "adam", "lr": 3e-3}}
        )  # fmt: skip
        train(trial, folder=folder, keep="best")
        splits = load(trial.data, trial.seed, CPU)
        network = restored(trial, splits, folder / "best.pt", CPU).eval()
    examples = getattr(splits, split)
    batch = examples.batch(torch.arange(min(1000, len(examples))))
    x, y = batch.views[0].contiguous(), batch.labels
    with torch.no_grad():
        right = network(x).argmax(1) == y
    assert right.double().mean() > 0.85
    return Case(network, examples, x, y, right, epsilon, steps)


def margins(logits_BC: Tensor, y_B: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, by masking the own class out."""
    own_BC = nn.functional.one_hot(y_B, logits_BC.shape[1]).bool()
    return logits_BC.masked_fill(own_BC, -1e9).max(1).values - logits_BC[own_BC]


def foolbox_examples(case: Case, kind: str, norm: str, steps: int, step_size: float, start: bool) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*scipy.ndimage", category=DeprecationWarning)
        import eagerpy
        import foolbox
        from foolbox.attacks import (
            L2FastGradientAttack,
            L2ProjectedGradientDescentAttack,
            LinfFastGradientAttack,
            LinfProjectedGradientDescentAttack,
        )
    fast, slow = {
        "linf": (LinfFastGradientAttack, LinfProjectedGradientDescentAttack),
        "l2": (L2FastGradientAttack, L2ProjectedGradientDescentAttack),
    }[norm]
    projected = {"steps": steps, "abs_stepsize": step_size, "random_start": start}
    attack = fast() if kind == "fgsm" else slow(**projected)
    if kind == "cw":
        attack.get_loss_fn = lambda model, y: lambda x: eagerpy.astensor(margins(model(x).raw, y.raw).sum())
    model = foolbox.PyTorchModel(case.network, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    _, found, _ = attack(model, case.x, case.y, epsilons=[case.epsilon[norm]])
    return found[0]


def art_examples(case: Case, kind: str, norm: str, steps: int, step_size: float, start: bool) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the many frameworks that it looks for
        from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    class Margin(nn.Module):
        reduction = "mean"

        def forward(self, logits_BC: Tensor, y: Tensor) -> Tensor:
            return margins(logits_BC, y.argmax(1) if y.dim() == 2 else y).sum()

    loss = Margin() if kind == "cw" else nn.CrossEntropyLoss(reduction="sum")
    model = PyTorchClassifier(
        case.network, loss, input_shape=tuple(case.x.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    shared = {"norm": np.inf if norm == "linf" else 2, "eps": case.epsilon[norm], "batch_size": 500}
    if kind == "fgsm":
        attack = FastGradientMethod(model, **shared)
    else:
        attack = ProjectedGradientDescentPyTorch(
            model, eps_step=step_size, max_iter=steps, num_random_init=int(start), verbose=False, **shared
        )
    torch.manual_seed(0)
    np.random.seed(0)
    return torch.from_numpy(attack.generate(case.x.numpy(), case.y.numpy()))


OTHERS: dict[str, Callable[..., Tensor]] = {"foolbox": foolbox_examples, "art": art_examples}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "pgd from zero", "cw"])
def test_robust_accuracy_agrees(case: Case, other: str, norm: str, kind: str) -> None:
    kind, _, zero = kind.partition(" ")
    steps, step_size = case.steps, case.epsilon[norm] / case.steps * 4
    settings: dict[str, Any] = {}
    if kind != "fgsm":
        settings = {"steps": steps, "step_size": step_size, "start": "zero" if zero else "uniform"}
    generators = torch.get_rng_state(), np.random.get_state()
    x_adv = OTHERS[other](case, kind, norm, steps, step_size, not zero)
    torch.set_rng_state(generators[0])
    np.random.set_state(generators[1])
    case.network.zero_grad(set_to_none=True)
    case.network.eval()
    moved = x_adv - case.x
    size = moved.abs().max() if norm == "linf" else moved.flatten(1).norm(dim=1).max()
    assert size <= case.epsilon[norm] * (1 + 1e-5)
    theirs, ours = case.theirs(x_adv), case.ours(kind, norm, **settings)
    assert abs(ours - theirs) <= POINT
    assert 0.1 < ours < float(case.right.double().mean()) - 0.1  # a radius at which the attack matters
