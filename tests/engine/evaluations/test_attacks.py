"""What must hold of robust accuracy on a trained network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import f1_score
from torch import Tensor, nn

from engine import evaluate as module
from engine.components import load_plugin
from engine.data.base import DataInfo
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluate import evaluate
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.base import Findings, Subject
from engine.evaluations.nested import evaluation
from engine.evaluations.robust import attacked, compared
from engine.models.base import ModelInfo
from engine.perturb.targets import logits_of

Find = Callable[..., Findings]
MODEL = ModelInfo({}, {}, (), {})


def config(name: str, **settings: Any) -> AttackConfig:
    made = evaluation({"name": name, **settings})
    assert isinstance(made, AttackConfig)
    return made


@pytest.mark.parametrize("name", ["pgd", "fgsm", "cw", "spsa", "autoattack"])
def test_radius_0_is_the_clean_evaluation(subject: Subject, find: Find, name: str) -> None:
    clean = evaluate(subject.network, subject.data.test, subject.workers)
    found = find(subject, name, epsilon=0)
    assert found.metrics["accuracy"] == found.metrics["clean_accuracy"] == clean.accuracy
    assert found.metrics["loss"] == pytest.approx(clean.loss, rel=1e-6)
    assert found.correct["robust"] == found.correct["clean"] == clean.bits()


def test_stronger_attacks_find_more(subject: Subject, find: Find) -> None:
    setting = {"epsilon": 0.1, "step_size": 0.025}
    accuracies = [find(subject, "pgd", steps=n, **setting).metrics["accuracy"] for n in (1, 5, 20)]
    assert accuracies[0] > accuracies[1] >= accuracies[2]
    one, two, four = (find(subject, "pgd", steps=2, restarts=n, **setting) for n in (1, 2, 4))
    assert one.metrics["accuracy"] >= two.metrics["accuracy"] >= four.metrics["accuracy"]
    assert one.metrics["accuracy"] > four.metrics["accuracy"]
    kept = [np.unpackbits(np.frombuffer(f.correct["robust"], np.uint8)) for f in (one, two, four)]
    assert (kept[1] <= kept[0]).all()
    assert (kept[2] <= kept[1]).all()
    assert find(subject, "pgd", steps=2, seed=1, **setting).correct != one.correct


@pytest.mark.parametrize("name", ["pgd", "cw", "spsa", "fgsm"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_lower_accuracy(subject: Subject, find: Find, name: str, norm: str) -> None:
    more = {
        "spsa": {"steps": 8, "samples": 16, "lr": 0.03},
        "pgd": {"step_size": 0.1},
        "cw": {"step_size": 0.1},
    }
    epsilon = 0.1 if norm == "linf" else 0.5
    found = find(subject, name, norm=norm, epsilon=epsilon, **more.get(name, {})).metrics
    assert found["accuracy"] < found["clean_accuracy"] - 0.2
    assert found["loss"] > 0.6


@pytest.mark.parametrize("name", ["pgd", "spsa"])
@pytest.mark.parametrize("text", [False, True])
def test_batches_change_nothing_but_rounding(
    subject: Subject, text_subject: Subject, monkeypatch: pytest.MonkeyPatch, text: bool, name: str
) -> None:
    used = text_subject if text else subject
    few = {"samples": 3} if name == "spsa" else {"restarts": 2, "step_size": 0.05}
    made = config(name, epsilon=0.2, norm="l2" if text else "linf", steps=3, **few)
    whole = attacked(used.network, used.data.test, Workers(), made)
    monkeypatch.setattr(module, "BATCH", 7)
    parts = attacked(used.network, used.data.test, Workers(), made)
    assert torch.equal(parts.correct_N, whole.correct_N)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


class Half(Workers):
    """One of two workers, whose sums stay its own."""

    def total(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("name", ["pgd", "autoattack"])
def test_two_workers_find_what_one_finds(subject: Subject, name: str) -> None:
    more: dict[str, Any] = {"steps": 2, "step_size": 0.05}
    if name == "autoattack":
        pytest.importorskip("pyautoattack")
        more = {"attacks": ["square"], "queries": 20, "batch_size": 5, "examples": 24}
    made = config(name, epsilon=0.1, **more)
    examples, network = subject.data.test, subject.network
    whole = attacked(network, examples, Workers(), made)
    parts = [attacked(network, examples, Half(rank, 2), made) for rank in (0, 1)]
    assert torch.equal(parts[0].correct_N | parts[1].correct_N, whole.correct_N)
    assert not (parts[0].correct_N & parts[1].correct_N).any()
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-5)


def test_a_worker_without_examples(subject: Subject) -> None:
    made = config("pgd", steps=1, examples=1)
    for rank in (0, 1):
        assert len(attacked(subject.network, subject.data.test, Half(rank, 2), made).correct_N) == 1


def test_the_first_examples(subject: Subject, text_subject: Subject, find: Find) -> None:
    for used in (subject, text_subject):
        whole = find(used, "fgsm", epsilon=0.05)
        first = find(used, "fgsm", epsilon=0.05, examples=10)
        assert first.examples == 10
        bits = [np.unpackbits(np.frombuffer(f.correct["robust"], np.uint8))[:10] for f in (whole, first)]
        assert bits[0].tolist() == bits[1].tolist()
        assert find(used, "clean", examples=10).examples == 10


def test_only_the_input_is_differentiated(subject: Subject) -> None:
    asked: list[bool] = []
    network = subject.network
    handles = [w.register_hook(lambda g: asked.append(True)) for w in network.parameters()]
    attacked(network, subject.data.test, Workers(), config("pgd", steps=2))
    assert not asked
    assert all(w.grad is None and w.requires_grad for w in network.parameters())
    logits_of(network, network, subject.data.test.batch(torch.arange(3))).sum().backward()
    assert asked
    for handle in handles:
        handle.remove()


def test_validation_attacks_in_eval_mode_and_gives_the_modes_back(subject: Subject) -> None:
    network = subject.network
    network.train()
    network.get_submodule("conv1").training = False
    seen: set[bool] = set()
    handle = network.register_forward_pre_hook(lambda m, x: seen.add(m.training))
    made = config("pgd", steps=2, epsilon=0.1, step_size=0.05)
    found = attacked(network, subject.data.val, Workers(), made)
    handle.remove()
    assert seen == {False}
    assert network.training
    assert not network.get_submodule("conv1").training
    network.eval()
    assert found.metrics("val") == attacked(network, subject.data.val, Workers(), made).metrics("val")


def test_macro_f1_is_scikit_learns(subject: Subject, find: Find) -> None:
    network, test = subject.network, subject.data.test
    with torch.no_grad():
        whole = test.batch(torch.arange(len(test)))
        guess_N = logits_of(network, network, whole).argmax(1)
    found = find(subject, "clean")
    assert found.metrics["macro_f1"] == pytest.approx(
        f1_score(test.labels, guess_N, average="macro"), abs=1e-12
    )
    clean = evaluate(network, test, Workers())
    assert (found.metrics["accuracy"], found.metrics["loss"]) == (clean.accuracy, clean.loss)
    few = find(subject, "clean", examples=6)
    expected = f1_score(test.labels[:6], guess_N[:6], average="macro")  # not every class occurs
    assert few.metrics["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_the_curve_is_the_attack_at_each_radius(subject: Subject, find: Find) -> None:
    inner = {"name": "pgd", "epsilon": 0.1, "step_size": 0.04, "steps": 3}
    found = find(subject, "robust_curve", epsilons=[0, 0.05, 0.2], attack=inner, seed=4)
    assert list(found.metrics) == ["accuracy@0", "accuracy@0.05", "accuracy@0.2"]
    for epsilon, row in zip((0.05, 0.2), found.tables["curve"][1:], strict=True):
        alone = find(subject, "pgd", epsilon=epsilon, step_size=0.4 * epsilon, steps=3, seed=4)
        assert row["epsilon"] == epsilon
        assert row["accuracy"] == alone.metrics["accuracy"] == found.metrics[f"accuracy@{epsilon}"]
        assert found.correct[f"robust@{epsilon}"] == alone.correct["robust"]
    assert found.metrics["accuracy@0"] == find(subject, "clean").metrics["accuracy"]


def test_the_gap_is_train_minus_test(subject: Subject, find: Find) -> None:
    inner = {"name": "fgsm", "epsilon": 0.1}
    found = find(subject, "gap", attack=inner).metrics
    train, test = (find(subject, split=split, **inner).metrics for split in ("train", "test"))
    assert found["gap"] == train["accuracy"] - test["accuracy"] != 0
    assert found["clean_gap"] == train["clean_accuracy"] - test["clean_accuracy"]


def test_an_attack_inside_is_part_of_the_key(tmp_path: Path) -> None:
    curve = {"name": "robust_curve", "epsilons": [0.1]}
    forms = [
        evaluation({**curve, "attack": a}).canonical() for a in ("pgd", "fgsm", {"name": "pgd", "steps": 3})
    ]
    assert forms[0] == evaluation(curve).canonical()
    assert forms[0] != forms[1] != forms[2] != forms[0]
    file = tmp_path / "mine.py"
    source = (
        "from typing import Literal\nfrom engine.evaluations import fgsm\n\nclass Config(fgsm.Config):\n    "
    )
    file.write_text(source + 'name: Literal["mine"]\n')
    load_plugin(file)
    before = evaluation({**curve, "attack": "mine"}).canonical()
    file.write_text(source + 'name: Literal["mine"]\n    # changed\n')
    load_plugin(file)
    assert evaluation({**curve, "attack": "mine"}).canonical() != before


def test_an_image_without_a_range_is_not_clamped(subject: Subject) -> None:
    made = config("fgsm", epsilon=0.3)
    free = compared(subject.network, subject.data.test, Workers(), made, None)[1]
    held = compared(subject.network, subject.data.test, Workers(), made, (0.0, 1.0))[1]
    assert free.loss > held.loss


def test_autoattack_is_the_package_on_other_ranges_too(subject: Subject) -> None:
    """Pixels in [-1, 1] and twice the radius: the same problem, so the same examples fall."""
    pyautoattack = pytest.importorskip("pyautoattack")
    from engine.perturb.ensemble import autoattack

    batch, network = subject.data.test.batch(torch.arange(20)), subject.network
    assert batch.labels is not None
    x, y = batch.views[0], batch.labels
    setting: dict[str, Any] = {
        "norm": "linf", "parts": ["apgd-ce", "square"], "targets": 9, "queries": 30, "seed": 1
    }  # fmt: skip
    tracer = sys.gettrace()
    r = autoattack(network, x, y, epsilon=0.08, clamp=(0.0, 1.0), **setting)
    wide = autoattack(
        lambda u: network((u + 1) / 2), 2 * x - 1, y, epsilon=0.16, clamp=(-1.0, 1.0), **setting
    )
    assert sys.gettrace() is tracer
    assert r.abs().max() <= 0.08 + 1e-6
    assert wide.abs().max() <= 0.16 + 1e-6
    fallen = [network(x + d).argmax(1) != y for d in (r, wide / 2)]
    assert torch.equal(fallen[0], fallen[1])
    with torch.random.fork_rng():
        suite = pyautoattack.AutoAttack(network, eps=0.08, attacks=["apgd-ce"], version="custom", seed=0)
        theirs = suite.run_standard_evaluation(x, y)[0]
    assert fallen[0].sum() >= (network(theirs).argmax(1) != y).sum() > 0


def test_the_standard_ensemble_is_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers of restarts, classes and queries, against what the package sets for that version."""
    pyautoattack = pytest.importorskip("pyautoattack")
    from engine.perturb import ensemble

    made: list[Any] = []

    class Spy(pyautoattack.AutoAttack):  # type: ignore[misc, name-defined]
        def run_standard_evaluation(self, x: Tensor, y: Tensor, **rest: Any) -> Any:
            made.append(self)
            return x, y

    monkeypatch.setattr(pyautoattack, "AutoAttack", Spy)
    default: Any = config("autoattack")
    x = torch.rand(2, 1, 2, 2)
    ensemble.autoattack(
        nn.Flatten(), x, torch.zeros(2), norm="linf", epsilon=0.1, clamp=(0.0, 1.0),
        parts=default.attacks, targets=default.targets, queries=default.queries, seed=0,
    )  # fmt: skip
    standard = pyautoattack.AutoAttack.__base__(nn.Flatten(), eps=0.1, seed=0)
    assert made[0].attacks_to_run == standard.attacks_to_run
    for part in ("apgd", "apgd_targeted", "fab", "square"):
        ours, theirs = vars(getattr(made[0], part)), vars(getattr(standard, part))
        for name, value in theirs.items():
            if isinstance(value, (int, float, str)) and name not in ("seed", "device"):
                assert ours[name] == value, (part, name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "pgd", "epsilon": -0.1}, "epsilon"),
        ({"name": "pgd", "steps": 0}, "steps"),
        ({"name": "pgd", "step_size": 0.0}, "step_size"),
        ({"name": "pgd", "restarts": 3, "start": "zero"}, "1 from a zero start"),
        ({"name": "pgd", "norm": "l1"}, "norm"),
        ({"name": "pgd", "examples": 0}, "examples"),
        ({"name": "cw", "loss": "dlr"}, "loss"),
        ({"name": "spsa", "samples": 0}, "samples"),
        ({"name": "autoattack", "attacks": ["pgd"]}, "attacks"),
        ({"name": "robust_curve", "epsilons": []}, "epsilons"),
        ({"name": "robust_curve", "epsilons": [0.2, 0.1]}, "increasing"),
        ({"name": "robust_curve", "epsilons": [0.1, 0.1]}, "no two alike"),
        ({"name": "robust_curve", "epsilons": [-0.1]}, "epsilons"),
        ({"name": "gap", "attack": "clean"}, "an attack"),
        ({"name": "gap", "attack": {"name": "pgd", "seed": 3}}, "left out"),
        ({"name": "gap", "attack": {"name": "pgd", "split": "val"}}, "left out"),
        ({"name": "gap", "attack": 3}, "a name, or a mapping"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        evaluation(settings)
    assert message in str(error.value)


def test_what_an_evaluation_refuses(subject: Subject, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'pgd'"):
        evaluation("pdg")
    with pytest.raises(InputError, match=r"evaluation\.split"):
        find(subject, "gap", split="train")
    curve = evaluation({"name": "robust_curve", "epsilons": [0.1], "attack": {"name": "pgd", "epsilon": 0}})
    with pytest.raises(InputError, match=r"evaluation\.attack\.epsilon"):
        curve.run(subject)
    monkeypatch.setitem(sys.modules, "pyautoattack", None)  # as if not installed
    with pytest.raises(InputError, match=r"pip install 'perturb-sweeps\[autoattack\]'"):
        find(subject, "autoattack", examples=2)


def image(classes: int) -> DataInfo:
    return DataInfo("image", classes, shape=(1, 8, 8))


def test_what_autoattack_refuses() -> None:
    standard = config("autoattack")
    standard.check(image(10), MODEL)
    with pytest.raises(InputError, match="it needs pixels"):
        standard.check(DataInfo("text", 2), MODEL)
    with pytest.raises(InputError, match=r"for 2 classes: apgd-t needs 10; .*\[apgd-ce, fab, square\]$"):
        standard.check(image(2), MODEL)
    with pytest.raises(InputError, match="or set targets: 4"):
        standard.check(image(5), MODEL)
    config("autoattack", targets=4).check(image(5), MODEL)
    config("autoattack", attacks=["apgd-ce", "fab", "square"]).check(image(2), MODEL)
    with pytest.raises(InputError, match="apgd-dlr needs 3"):
        config("autoattack", attacks=["apgd-dlr"]).check(image(2), MODEL)
    around = evaluation({"name": "gap", "attack": "autoattack"})
    with pytest.raises(InputError, match="apgd-t"):
        around.check(image(3), MODEL)
