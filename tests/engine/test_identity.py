from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import Trial
from engine.data.store import arrow_path
from engine.errors import InputError
from engine.identity import EvaluationKeys, Seeds, canonical, cell_key, data_hash, digest, trial_key

BASE: dict[str, Any] = {"data": "digits", "model": "lenet5_8x8"}
WEIGHTS = ["conv1.w", "conv2.w", "fc1.b"]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def trial(method: Any, **others: Any) -> Trial:
    return Trial.model_validate({**BASE, "method": method, **others})


def dropattack(**others: Any) -> dict[str, Any]:
    return {"name": "dropattack", "targets": ["input", "conv1.w"], **others}


positive = st.sampled_from([0.01, 0.1, 1.0, 3.0, 9.0])
probability = st.sampled_from([0.1, 0.3, 0.5, 1.0])
point = st.fixed_dictionaries(
    {
        "epsilon_input": positive,
        "epsilon_weight": positive,
        "p_input": probability,
        "p_weight": probability,
        "steps": st.integers(1, 3),
        "targets": st.lists(st.sampled_from(WEIGHTS), min_size=1, unique=True).map(sorted).map(tuple),
        "lr": st.sampled_from([1e-3, 1e-2]),
        "epochs": st.integers(1, 3),
        "batch_size": st.sampled_from([32, 128]),
        "seed": st.integers(0, 3),
        "select": st.sampled_from(["val.accuracy", "val.loss"]),
        "train_size": st.sampled_from([None, 100, 200]),
    }
)


def of_point(chosen: dict[str, Any]) -> Trial:
    return trial(
        dropattack(
            targets=["input", *chosen["targets"]],
            epsilon={"input": chosen["epsilon_input"], "weight": chosen["epsilon_weight"]},
            p={"input": chosen["p_input"], "weight": chosen["p_weight"]},
            steps=chosen["steps"],
        ),
        data={"name": "digits", "train_size": chosen["train_size"]},
        optimizer={"name": "adam", "lr": chosen["lr"]},
        **{name: chosen[name] for name in ("epochs", "batch_size", "seed", "select")},
    )


@quick
@given(point, point)
def test_two_trials_share_a_key_exactly_when_they_are_the_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (trial_key(of_point(a)) == trial_key(of_point(b))) == (a == b)
    seedless = [{name: value for name, value in one.items() if name != "seed"} for one in (a, b)]
    assert (cell_key(of_point(a)) == cell_key(of_point(b))) == (seedless[0] == seedless[1])


@quick
@given(
    point,
    st.sampled_from(sorted(["epsilon_input", "p_weight", "steps", "lr", "epochs", "batch_size"])),
    st.data(),
)
def test_one_different_setting_is_another_cell(
    chosen: dict[str, Any], name: str, data: st.DataObject
) -> None:
    other = {**chosen, name: data.draw(point)[name]}
    assert (cell_key(of_point(chosen)) == cell_key(of_point(other))) == (chosen[name] == other[name])


@quick
@given(point, st.sampled_from(["p", "epsilon"]))
def test_an_attack_that_does_nothing_is_standard_training(chosen: dict[str, Any], silent: str) -> None:
    idle = {**chosen, f"{silent}_input": 0, f"{silent}_weight": 0}
    standard = of_point(chosen).model_dump() | {"method": {"name": "standard"}}
    assert trial_key(of_point(idle)) == trial_key(Trial.model_validate(standard))


@quick
@given(point)
def test_a_silent_group_is_as_if_it_were_not_named(chosen: dict[str, Any]) -> None:
    silent = of_point({**chosen, "p_weight": 0})
    settings_ = silent.model_dump()
    settings_["method"] |= {"targets": ["input"]}
    assert trial_key(silent) == trial_key(Trial.model_validate(settings_))


@quick
@given(point, st.randoms(use_true_random=False))
def test_the_order_of_settings_changes_no_key(chosen: dict[str, Any], order: Any) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        names = list(value)
        order.shuffle(names)
        return {name: shuffled(value[name]) for name in names}

    one = of_point(chosen)
    assert trial_key(Trial.model_validate(shuffled(one.model_dump()))) == trial_key(one)


def test_equal_by_meaning() -> None:
    groups: list[list[Any]] = [
        [dropattack(epsilon=5), dropattack(epsilon={"input": 5, "weight": 5.0}), dropattack()],
        [dropattack(targets=["input", "conv1.weight"]), dropattack(targets=["conv1.w", "input", "input"])],
        [dropattack(update="accumulate"), dropattack(update="replace")],  # K = 1 takes no second step
        [dropattack(p=1, mask_scale="inverse_p"), dropattack(p=1)],
        [dropattack(targets=["input"], norm_over="joint"), dropattack(targets=["input"])],
        ["fgm", {"name": "fgm"}, dropattack(targets=["input"], epsilon=1, p=1)],
        ["standard", dropattack(p=0, clean_weight=2), {"name": "pgd", "epsilon": 0}, {}, {"clean": 3}],
    ]
    keys = [{trial_key(trial(method)) for method in group} for group in groups]
    assert [len(found) for found in keys] == [1] * len(groups)
    assert keys[0] == keys[1] == keys[2]
    different = set().union(keys[0], keys[3], keys[4], keys[5], keys[6])
    assert len(different) == 5


def test_different_by_meaning() -> None:
    trials = [
        trial("standard"),
        trial("standard", optimizer={"name": "adamw"}),
        trial("standard", optimizer={"name": "sgd"}),
        trial("standard", optimizer={"name": "adam", "weight_decay": 0.01}),
        trial("standard", select="val.loss"),
        trial(dropattack(update="accumulate", steps=2)),
        trial(dropattack(steps=2)),
        trial(dropattack(clean_weight=2)),
        trial(dropattack(mask_scale="inverse_p")),
        trial(dropattack(norm_over="joint", targets=["conv1.w", "conv2.w"])),
        trial(dropattack(targets=["conv1.w", "conv2.w"])),
        trial(dropattack(targets=["input"], norm_over="sample")),
        trial("fgm"),
        trial("pgd"),
    ]
    assert len({cell_key(one) for one in trials}) == len(trials)


def test_a_child_has_its_parents_key() -> None:
    children = [
        trial("fgm", init={"from": {"method": "standard"}}, seed=3),
        trial("fgm", init={"from": {"method": "standard", "epochs": 3}}, seed=3),
        trial("fgm", init={"from": {"method": "standard"}, "checkpoint": "last"}, seed=3),
        trial("fgm", seed=3),
    ]
    assert canonical(children[0])["init"]["key"] == trial_key(trial("standard", seed=3))
    assert len({trial_key(one) for one in children}) == 4
    same = trial("fgm", init={"from": {"method": dropattack(p=0)}}, seed=3)
    assert trial_key(same) == trial_key(children[0])
    assert cell_key(children[0]) == cell_key(children[0].model_copy(update={"seed": 4}))


def test_the_whole_training_set_by_its_size() -> None:
    sizes = [
        data_hash(trial("standard", data={"name": "digits", "train_size": n})) for n in (None, 1437, 100)
    ]
    assert sizes[0] == sizes[1] != sizes[2]


PINNED = {
    "digits": ("23ebc28a0445b8e5", "31d0580391a868e3b0c60e5a"),
    "mnist": ("cd485874dc0f0fc5", "c607ccb4b0099a02279de48d"),
    "fashion_mnist": ("8daab882086fed72", "f36ea6bf6a801862d98376fb"),
    "imdb": ("b9cf7c4161bb1244", "e8981fe44e641ecdb5b8ccde"),
}


@pytest.mark.parametrize("name", PINNED)
def test_settings_added_later_leave_the_data_of_old_keys_as_they_were(name: str) -> None:
    model = {"digits": "lenet5_8x8", "imdb": "lstm"}.get(name, "lenet5")
    one = trial("standard", data=name, model=model)
    assert (data_hash(one)[:16], arrow_path(one.data).stem[-24:]) == PINNED[name]


def test_labels_enter_the_key_and_not_the_conversion() -> None:
    def data(**chosen: Any) -> Trial:
        return trial("standard", data={"name": "digits", **chosen})

    plain = data()
    changed = [
        data(labelled=100), data(labelled=200), data(labelled=100, unlabelled="all"),
        data(labelled=100, train_size=500), data(zca=True),
    ]  # fmt: skip
    assert len({data_hash(one) for one in (plain, *changed)}) == 6
    assert data_hash(data(unlabelled="all", train_size=1437)) == data_hash(plain)
    paths = [arrow_path(one.data) for one in changed]
    assert set(paths[:4]) == {arrow_path(plain.data)}
    assert paths[4] != paths[0]


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"labelled": 1438}, "data.labelled: 1438 is not legal: at most 1437, the training examples"),
        ({"labelled": 101, "train_size": 100}, "data.labelled: 101 is not legal: at most 100"),
    ],
)
def test_more_labels_than_examples_are_refused(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        trial("standard", data={"name": "digits", **chosen})


def test_held_out_images_are_counted(tmp_path: Path) -> None:
    held = trial("standard", data={"name": "mnist", "validation": 5000}, model="lenet5").data
    assert tuple(held.info().sizes.values()) == (55_000, 5_000, 10_000)
    plain = trial("standard", data={"name": "mnist", "validation": 10_000}, model="lenet5")
    assert data_hash(plain)[:16] == PINNED["mnist"][0]
    assert arrow_path(held) != arrow_path(plain.data)


def test_an_extra_file_is_keyed_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data(path: Path, **chosen: Any) -> Trial:
        return trial("standard", data={"name": "digits", "extra": str(path), **chosen})

    for name, content in (("a.npz", b"1"), ("b.npz", b"1"), ("c.npz", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (data(tmp_path / name) for name in ("a.npz", "b.npz", "c.npz"))
    assert data_hash(a) == data_hash(b) != data_hash(c)
    assert data_hash(data(tmp_path / "a.npz", extra_labels=True)) != data_hash(a)
    assert str(tmp_path) not in str(canonical(a))
    assert arrow_path(a.data) == arrow_path(trial("standard").data)
    monkeypatch.setenv("PERTURB_DATA", str(tmp_path))
    assert data_hash(data(Path("a.npz"))) == data_hash(a)
    with pytest.raises(InputError, match=r"data.extra: \S+gone.npz is not legal: a file on this machine"):
        data_hash(data(tmp_path / "gone.npz"))


def test_a_key_holds_no_seed_of_a_cell_and_no_defaults() -> None:
    form = canonical(trial("standard", seed=3))
    assert (form["seed"], form["method"], form["optimizer"]) == (3, {}, {"name": "adam"})
    assert len(trial_key(trial("standard"))) == 64


CHAIN = {"from": {"method": "fgm", "init": {"from": {"method": "standard", "init": None}}}}
PARENTS = [None, {"from": {"method": "standard"}}, {"from": {"epochs": 3}, "checkpoint": "last"}, CHAIN]


@quick
@given(point, st.sampled_from(PARENTS), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_keys_of_seeds_are_those_of_their_trials(
    chosen: dict[str, Any], init: dict[str, Any] | None, seeds: list[int]
) -> None:
    """The form that is made once and the seed put into its text, against each trial's own."""
    first = Trial.model_validate(of_point(chosen).model_dump() | {"init": init})
    made = Seeds(first)
    assert made.cell == cell_key(first)
    assert made.data_hash == data_hash(first)
    for seed in seeds:
        other = Trial.model_validate(first.model_dump() | {"seed": seed})
        assert made.key(seed) == trial_key(other)
        assert made.canonical(seed) == canonical(other)
        assert digest(made.canonical(seed)) == made.key(seed)
        assert made.settings(seed) == other.model_dump(mode="json")
        assert list(made.settings(seed)) == list(other.model_dump(mode="json"))
        parent = other.parent()
        assert (made.parent is None) == (parent is None)
        if made.parent is not None and parent is not None:
            assert made.parent.key(seed) == trial_key(parent)


@pytest.mark.parametrize("others", [{}, {"steps_per_epoch": 3}, {"watch_test": True}, {"schedule": "cosine"}])
def test_what_stands_after_the_seed_in_the_form(others: dict[str, Any]) -> None:
    """Names that sort before, beside and after ``seed``, with what has no such name."""
    one = trial("standard", seed=5, **others)
    assert Seeds(one).key(7) == trial_key(trial("standard", seed=7, **others))


def test_the_key_of_an_evaluation_is_the_digest_of_its_form() -> None:
    from engine.evaluations.pgd import Config
    from engine.identity import evaluation_key

    one, evaluation = trial("standard"), Config(name="pgd", steps=3)
    keys = EvaluationKeys(evaluation)
    form = {"trial": trial_key(one), "evaluation": evaluation.canonical()}
    assert keys.canonical(trial_key(one)) == form
    assert keys.key(trial_key(one)) == evaluation_key(one, evaluation) == digest(form)
