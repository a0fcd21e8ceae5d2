"""The canonical form: what each slot declares to do nothing does nothing, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from engine.components import names
from engine.config import Trial
from engine.identity import canonical, trial_key
from engine.methods.base import Composition
from engine.models.base import ModelInfo
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots
from engine.step import Stepper
from engine.train import train

INFO = ModelInfo({}, {}, ("fc.weight", "fc.bias"), {"fc.w": "fc.weight"})
WEIGHT = Ascent(targets=("fc.weight",), epsilon=1.0, p=0.5)
INPUT = InputAscent(targets=("input",), epsilon=1.0, p=0.5)
Make = Callable[..., Trial]


def dropattack(*targets: str, **settings: Any) -> dict[str, Any]:
    return {"name": "dropattack", "targets": list(targets), **settings}


@pytest.mark.parametrize("silent", [{"targets": ()}, {"epsilon": 0.0}, {"p": 0.0}])
@pytest.mark.parametrize("slot", [WEIGHT, INPUT])
def test_a_slot_that_perturbs_nothing_is_dropped(slot: Ascent, silent: dict[str, Any]) -> None:
    assert slot.model_copy(update={**silent, "steps": 3}).collapsed() is None
    assert slot.collapsed() == slot


@pytest.mark.parametrize(
    ("idle", "simple"),
    [
        ({"gradient": "current"}, {}),
        ({"learn_from": "last"}, {}),
        ({"update": "accumulate"}, {}),
        ({"p": 1.0, "mask_scale": "inverse_p"}, {"p": 1.0}),
        ({"norm_over": "joint"}, {}),
        ({"targets": ("b", "a", "b")}, {"targets": ("a", "b")}),
        ({"steps": 2, "gradient": "current"}, {"steps": 2, "gradient": "current"}),
        ({"steps": 2, "learn_from": "last"}, {"steps": 2, "learn_from": "last"}),
        ({"steps": 2, "update": "accumulate"}, {"steps": 2, "update": "accumulate"}),
        ({"mask_scale": "inverse_p"}, {"mask_scale": "inverse_p"}),
        ({"targets": ("a", "b"), "norm_over": "joint"}, {"targets": ("a", "b"), "norm_over": "joint"}),
    ],
)
def test_the_simplest_form(idle: dict[str, Any], simple: dict[str, Any]) -> None:
    assert WEIGHT.model_copy(update=idle).collapsed() == WEIGHT.model_copy(update=simple)


def test_empty_slots_are_standard_training_whatever_the_clean_weight() -> None:
    assert Slots(input=INPUT.model_copy(update={"p": 0.0}), clean=2.0).collapsed() == Slots()
    kept = Slots(input=INPUT, weight=WEIGHT.model_copy(update={"epsilon": 0.0}), clean=2.0).collapsed()
    assert kept == Slots(input=INPUT, clean=2.0)


def test_collapse_is_idempotent() -> None:
    slots = Slots(input=INPUT.model_copy(update={"p": 1.0, "mask_scale": "inverse_p"}), weight=WEIGHT)
    assert slots.collapsed().collapsed() == slots.collapsed()


def test_passes() -> None:
    assert Slots().passes == 1
    assert Slots(input=INPUT.model_copy(update={"steps": 3}), weight=WEIGHT).passes == 5


# Two ways to write one training run, of which the second is the simpler.
SAME: list[tuple[Any, Any]] = [
    (dropattack("input", "conv1.w", epsilon=0), "standard"),
    (dropattack("input", "conv1.w", p=0, steps=3, clean_weight=2), "standard"),
    (dropattack("input", p={"input": 0}), "standard"),
    (dropattack("conv1.w", epsilon={"weight": 0}), "standard"),
    ({"name": "fgm", "epsilon": 0}, "standard"),
    ({"name": "pgd", "epsilon": 0}, "standard"),
    (dropattack("input", "conv1.w", p={"weight": 0}), dropattack("input")),
    (dropattack("input", "conv1.w", epsilon={"input": 0}, steps=2), dropattack("conv1.w", steps=2)),
    (dropattack("input", "conv1.w", update="accumulate"), dropattack("input", "conv1.w")),
    (dropattack("input", "conv1.w", norm_over="joint"), dropattack("input", "conv1.w")),
    (dropattack("conv1.w", norm_over="sample"), dropattack("conv1.w")),
    (dropattack("conv1.weight", "conv1.w", "conv1.?eight"), dropattack("conv1.w")),
    (dropattack("input", "conv1.w", p=1, mask_scale="inverse_p"), dropattack("input", "conv1.w", p=1)),
    (dropattack("input", p=1, epsilon=0.5), {"name": "fgm", "epsilon": 0.5}),
    ({"input": {"targets": ["input"], "epsilon": 0.5}}, {"name": "fgm", "epsilon": 0.5}),
    ({"weight": {"targets": ["fc1.w"], "epsilon": 1, "p": 0}, "clean": 0}, "standard"),
    ({"input": {"targets": ["input"], "epsilon": 1, "learn_from": "last", "gradient": "current"}}, "fgm"),
]


def as_written(trial: Trial) -> Slots:
    return trial.method.slots(trial.model_info)


@pytest.mark.parametrize(("long", "short"), SAME)
def test_both_forms_have_one_key_and_train_to_equal_weights(
    make_trial: Make,
    run: Any,
    same: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    long: Any,
    short: Any,
) -> None:
    a, b = make_trial(method=long), make_trial(method=short)
    assert trial_key(a) == trial_key(b)
    assert canonical(a) == canonical(b)
    (result_a, weights_a), (result_b, weights_b) = run(a, tmp_path / "a"), run(b, tmp_path / "b")
    assert same(weights_a, weights_b)
    assert result_a.history == result_b.history


UNUSED = [case for case in SAME if "clean" not in str(case[0])]


@pytest.mark.parametrize(("long", "short"), UNUSED)
def test_the_long_form_carried_out_as_written_gives_the_same_direction(
    make_trial: Make, make_network: Any, long: Any, short: Any
) -> None:
    """Without the collapse too: a silent slot then adds whole clean gradients, which are taken off here."""
    from engine.distributed import Workers

    trial = make_trial(method=long)
    written, reduced = as_written(trial), make_trial(method=short).slots
    silent = sum(
        slot is not None and bool(slot.targets) and slot.collapsed() is None
        for slot in (written.input, written.weight)
    )
    used = {n: s for n in ("input", "weight") if (s := getattr(written, n)) is not None and s.targets}
    found = []
    for slots in (Slots(**used, clean=written.clean), reduced):
        network, batch = make_network({"name": "lenet5_8x8"})
        network.float()
        batch = type(batch)((batch.views[0].float(),), batch.labels, batch.index)
        Stepper(network, slots, 0, Workers()).gradients(batch, 0, 6)
        found.append({n: w.grad for n, w in network.named_parameters()})
    network.zero_grad()
    Stepper(network, Slots(), 0, Workers()).gradients(batch, 0, 6)
    for name, w in network.named_parameters():
        expected = found[1][name] + silent * w.grad
        assert (found[0][name] - expected).norm() <= 1e-5 * expected.norm(), name


# With no input attack left these still perturb weights, replay batches, start at random or have a loss of
# their own.
OTHERWISE = {"at_awp", "trades_awp", "mart", "mart_awp", "rst_awp", "free_at", "freelb"}


@pytest.mark.parametrize("name", [name for name in names("methods") if name not in OTHERWISE])
def test_every_radius_and_probability_of_0_is_standard(make_trial: Make, name: str) -> None:
    from engine.components import find

    fields = find("methods", name, "x").model_fields  # type: ignore[attr-defined]
    for setting in {"epsilon", "p"} & set(fields):
        silent = make_trial(method={"name": name, setting: 0})
        assert silent.slots == Slots()
        assert trial_key(silent) == trial_key(make_trial())
        assert trial_key(make_trial(method=name)) != trial_key(make_trial())
        assert train(silent).history == train(make_trial()).history


STARTED = INPUT.model_copy(
    update={"steps": 2, "start": 0.5, "learn_from": "every", "update": "project", "step_size": 0.1}
)


@pytest.mark.parametrize(
    "silent",
    [
        {"epsilon": 0.0},
        {"p": 0.0},
        {"p": 0.0, "update": "accumulate", "step_size": None},
        {"epsilon": 0.0, "gradient": "current", "norm_over": "sample", "mask_scale": "inverse_p"},
        {"epsilon": 0.0, "update": "replace", "step_size": None},
        {"epsilon": 0.0, "update": "accumulate", "step_size": None},
    ],
)
def test_a_random_start_is_kept_without_an_ascent(make_network: Any, silent: dict[str, Any]) -> None:
    """The canonical form's gradient is that of the form as written, carried out without the collapse."""
    from engine.distributed import Workers

    written = STARTED.model_copy(update=silent)
    collapsed = written.collapsed()
    assert collapsed is not None
    assert collapsed.collapsed() == collapsed
    if silent != {"epsilon": 0.0, "update": "accumulate", "step_size": None}:
        assert collapsed == STARTED.model_copy(update={"epsilon": 0.0}).collapsed()
    found = []
    for slots in (Slots(input=written), Slots(input=collapsed), Slots()):
        network, batch = make_network({"name": "lenet5_8x8"})
        network.float()
        batch = type(batch)((batch.views[0].float(),), batch.labels, batch.index)
        Stepper(network, slots, 0, Workers()).gradients(batch, 0, 6)
        found.append(network.get_parameter("conv1.weight").grad)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], rtol=1e-3)


def test_freelb_without_a_radius_trains_from_its_random_start(make_trial: Make) -> None:
    start = make_trial(method={"name": "freelb", "epsilon": 0})
    still = make_trial(method={"name": "freelb", "epsilon": 0, "init": 0})
    assert still.slots == Slots()
    assert trial_key(still) == trial_key(make_trial()) != trial_key(start)
    assert trial_key(make_trial(method={"name": "freelb", "epsilon": 0, "step_size": 3})) == trial_key(start)
    assert train(start).history != train(make_trial()).history


def test_what_differs_has_another_key(make_trial: Make) -> None:
    methods: list[Any] = [
        "standard",
        "fgm",
        "pgd",
        dropattack("input"),
        dropattack("conv1.w"),
        dropattack("input", "conv1.w"),
        dropattack("input", steps=2),
        dropattack("input", steps=2, update="accumulate"),
        dropattack("input", mask_scale="inverse_p"),
        dropattack("input", clean_weight=2),
        dropattack("input", clamp=[0, 1]),
        dropattack("input", norm_over="sample"),
        dropattack("input", p=0.4),
        dropattack("conv1.w", "conv2.w"),
        dropattack("conv1.w", "conv2.w", norm_over="joint"),
    ]
    assert len({trial_key(make_trial(method=method)) for method in methods}) == len(methods)


def test_step_size_belongs_to_project() -> None:
    for bad in ({"update": "project"}, {"step_size": 0.1}):
        with pytest.raises(ValidationError, match="step_size is given exactly when update is 'project'"):
            Ascent.model_validate({"targets": ("a",), "epsilon": 1, **bad})


def test_a_composition_resolves_its_targets() -> None:
    method = Composition.model_validate({"weight": {"targets": ["fc.*", "fc.w"], "epsilon": 1}, "clean": 0.5})
    slots = method.slots(INFO)
    assert slots.weight is not None
    assert slots.weight.targets == ("fc.bias", "fc.weight")
    assert slots.clean == 0.5


def test_one_step_inside_the_ball_is_replace() -> None:
    pgd = Ascent(targets=("w",), epsilon=1, update="project", step_size=0.3, gradient="current")
    assert pgd.collapsed() == Ascent(targets=("w",), epsilon=0.3)
    on_the_ball = pgd.model_copy(update={"step_size": 1.0})
    collapsed = on_the_ball.collapsed()
    assert collapsed is not None
    assert collapsed.update == "project", "equal up to rounding only"
