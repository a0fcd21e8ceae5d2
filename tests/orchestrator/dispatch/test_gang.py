"""What the ranks of a gang raise, and what is told of it: gangs of real actors, outside of Tune."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from rich.console import Console

from engine.errors import DataMissing
from engine.report import Event, Signal
from engine.result import Result
from orchestrator.dispatch import gang
from orchestrator.dispatch.deaths import GangLost
from orchestrator.dispatch.gang import Rank, train_with_gang
from orchestrator.dispatch.raised import raised
from orchestrator.dispatch.worker import failed_outcome, failure_class, run_job, trace_of
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.planning.plan import plan
from orchestrator.planning.policy import Policy
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Failures
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import PLUGINS, TRIAL, scripted, sweep_of

pytestmark = pytest.mark.usefixtures("ray_session")

JOB = Job("k" * 64, "c", 0, {})

PIECES = ["ray::", "pid=", "\x1b", "get_objects"]
"""Of Ray's text: of no interest to people."""


class OfTwo(Exception):
    """Made of two values and pickled as of one: it leaves its process and does not arrive."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class Locked(Exception):
    """It does not leave its process."""

    def __init__(self) -> None:
        super().__init__("a lock")
        self.lock = threading.Lock()


class Raising:
    """An actor that raises."""

    def one(self) -> None:
        raise RuntimeError("the model broke\non purpose")

    def other(self) -> None:
        raise RuntimeError("the model broke\non purpose")

    def chained(self) -> None:
        try:
            self.one()
        except RuntimeError as error:
            text = 'seen:\n  File "elsewhere.py", line 3, in look'
            raise ValueError(text) from error

    def two(self) -> None:
        raise OfTwo(1, 2)

    def locked(self) -> None:
        raise Locked

    def missing(self) -> None:
        raise DataMissing("data.name", "digits", "one that is here")

    def memory(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def disk(self) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    def gpu(self) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")


def line_of(method: str) -> int:
    """Of the last ``raise`` in a method of ``Raising``."""
    code: CodeType = getattr(Raising, method).__code__
    lines = Path(__file__).read_text().splitlines()
    return max(n for _, _, n in code.co_lines() if n and lines[n - 1].lstrip().startswith("raise"))


@pytest.fixture(scope="module")
def said() -> Iterator[Callable[[str], Exception]]:
    """What a call of a method of ``Raising`` raises here."""
    import ray

    actor: Any = ray.remote(Raising).options(num_cpus=0).remote()

    def call(method: str) -> Exception:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            ray.get(getattr(actor, method).remote())
        return caught.value

    yield call
    ray.kill(actor)


def told(error: Exception) -> Outcome:
    return failed_outcome(JOB, failure_class(error), error, 0.0)


def test_errors_of_one_type_from_two_places_are_not_alike(said: Callable[[str], Exception]) -> None:
    one, other = told(said("one")), told(said("other"))
    assert one.message == other.message == "the model broke"
    assert one.place == f"RuntimeError test_gang.py:{line_of('one')}"
    assert other.place == f"RuntimeError test_gang.py:{line_of('other')}"
    policy = Policy(Failures(same_error=2))
    verdicts = [policy.judge(replace(JOB, key=str(i)), outcome) for i, outcome in enumerate([one, other])]
    assert [verdict.stop for verdict in verdicts] == ["", ""]
    assert policy.judge(replace(JOB, key="2"), told(said("one"))).stop == (
        "2 trials failed alike: the model broke"
    )


def test_the_traceback_of_a_rank_reads_as_its_own(said: Callable[[str], Exception]) -> None:
    trace = told(said("one")).trace
    first, second, third, *others = trace.splitlines()
    assert first == "Traceback (most recent call last):"
    assert (second, third) == (
        f'  File "{__file__}", line {line_of("one")}, in one',
        '    raise RuntimeError("the model broke\\non purpose")',
    )
    assert others[-2:] == ["RuntimeError: the model broke", "on purpose"]
    assert trace.endswith("\n")
    assert not [piece for piece in PIECES if piece in trace]


def test_of_a_chain_the_last_is_told_and_all_of_it_shown(said: Callable[[str], Exception]) -> None:
    outcome = told(said("chained"))
    assert outcome.place == f"ValueError test_gang.py:{line_of('chained')}", "not what its message looks like"
    assert outcome.trace.count("Traceback (most recent call last):") == 2
    assert f"line {line_of('one')}, in one" in outcome.trace
    assert not [piece for piece in PIECES if piece in outcome.trace]


@pytest.mark.parametrize(
    ("method", "kind", "message"), [("two", "OfTwo", "1 and 2"), ("locked", "Locked", "a lock")]
)
def test_an_error_that_does_not_travel_is_told_by_its_words(
    said: Callable[[str], Exception], method: str, kind: str, message: str
) -> None:
    outcome = told(said(method))
    assert (outcome.failure, outcome.message) == ("error", message)
    assert outcome.place == f"{kind} test_gang.py:{line_of(method)}"
    assert outcome.trace.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("method", "failure", "message"),
    [
        ("missing", "data", "data.name: digits is not legal: one that is here"),
        ("memory", "out of memory", "CUDA out of memory"),
        ("disk", "node", "[Errno 28] No space left on device: '/somewhere'"),
        ("gpu", "node", "CUDA error: uncorrectable ECC error encountered"),
    ],
)
def test_the_class_of_a_rank_s_error(
    said: Callable[[str], Exception], method: str, failure: str, message: str
) -> None:
    outcome = told(said(method))
    assert (outcome.failure, outcome.message) == (failure, message)


def test_an_error_of_this_process_is_told_from_here() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as caught:
        error, line = caught, caught.__traceback__.tb_lineno  # type: ignore[union-attr]
    assert raised(error) is None
    outcome = told(error)
    assert (outcome.message, outcome.place) == ("a", f"ValueError test_gang.py:{line}")
    assert outcome.trace == trace_of(error)
    assert outcome.trace.endswith("ValueError: a\nb\n")


def around(store: Store, workers: int = 2) -> Surroundings:
    plugins = tuple((name, (PLUGINS / name).read_bytes()) for name in ("scripted.py",))
    return Surroundings(store.location, "s", plugins=plugins, workers=workers)


def quietly(event: Event) -> Signal:
    return "continue"


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process in a placement group for two workers, as a trial's is."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    group = placement_group([{"CPU": 1}] * 2)
    ray.get(group.ready())
    module = import_module("ray.util.placement_group")  # by attribute it is the function
    monkeypatch.setattr(module, "get_current_placement_group", lambda: group)
    yield
    for name in [name for name in gang._gangs if name[0] == group.id.hex()]:
        for rank in gang._gangs.pop(name):
            ray.kill(rank)
    remove_placement_group(group)


def of_both(sweep: Sweep, folder: Path) -> tuple[list[Outcome], list[Row], str]:
    """The last job of a sweep by a gang and by this process alone: outcomes, rows, and the gang's log."""
    outcomes, rows = [], []
    for name, workers, train in (("gang", 2, train_with_gang), ("alone", 1, None)):
        store = Store(folder / name)
        job = plan(sweep, Ledger(store)).jobs[-1]
        outcomes.append(run_job(job, around(store, workers), quietly, train))
        rows += Ledger(store).read([job.key])
    return outcomes, rows, (folder / f"gang/logs/{job.key}.log").read_text()


ORPHAN = sweep_of(
    trial=TRIAL | {"init": {"from": {"method": "standard"}}}, axes={"method.epsilon": [1]}, reports=[]
)


@pytest.mark.slow
@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize(
    ("sweep", "failure", "message"),
    [
        (scripted(["report:0.1", "rank:0", "raise:a mistake"]), "error", "a mistake"),
        (scripted(["report:0.1", "rank:1", "raise:a mistake"]), "error", "a mistake"),
        (scripted(["rank:1", "oom"]), "out of memory", "CUDA out of memory"),
        (ORPHAN, "data", "train the parent first"),
    ],
    ids=["rank 0", "rank 1", "memory", "data"],
)
def test_a_rank_s_error_is_told_as_that_of_a_trial_alone(
    tmp_path: Path, sweep: Sweep, failure: str, message: str
) -> None:
    (found, alone), rows, log = of_both(sweep, tmp_path)
    assert (found.status, found.failure) == ("failed", failure)
    assert message in found.message
    assert (found.failure, found.place) == (alone.failure, alone.place)
    assert found.message == alone.message.replace("/alone/", "/gang/")
    assert [row.failure for row in rows] == [failure] * 2
    assert rows[0].error == found.trace
    assert rows[0].error.splitlines()[-1] == rows[1].error.splitlines()[-1].replace("/alone/", "/gang/")
    assert found.trace.rstrip() in log
    assert not [piece for piece in PIECES if piece in found.trace + log]


@pytest.mark.slow
@pytest.mark.usefixtures("placed")
def test_a_gang_that_diverges_has_not_failed(tmp_path: Path) -> None:
    (found, alone), rows, _ = of_both(scripted(["report:0.4", "nan"]), tmp_path)
    assert found.status == alone.status == "diverged"
    assert [(row.failure, row.error) for row in rows] == [(None, "loss not finite in epoch 2")] * 2


class Torn(Rank):
    """Rank 0 hears from the group that rank 1 has left; only then rank 1 says why."""

    def train(self, job: Job) -> Result:
        if self.rank == 0:
            dist.all_reduce(torch.zeros(1))
        self.group.__exit__(None, None, None)
        time.sleep(1)  # rank 0's complaint is there first
        raise RuntimeError("a mistake")


class Dying(Rank):
    """Rank 1 dies of what it has raised; rank 0 hears from the group that it is gone."""

    def train(self, job: Job) -> Result:
        if self.rank == 0:
            dist.all_reduce(torch.zeros(1))
        threading.Timer(0.5, os._exit, [1]).start()
        raise RuntimeError("a mistake")


class Dead(Rank):
    """Rank 1 dies, having said nothing; rank 0 hears from the group that it is gone."""

    def train(self, job: Job) -> Result:
        if self.rank == 0:
            dist.all_reduce(torch.zeros(1))
        os._exit(1)


@pytest.mark.slow
@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize("kind", [Torn, Dying])
def test_the_reason_is_told_and_not_the_complaint_of_a_collective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Rank]
) -> None:
    if kind is Dying:
        monkeypatch.setattr(gang, "POLL_SECONDS", 30.0)  # both have ended when this process looks
    monkeypatch.setattr(gang, "Rank", kind)
    store = Store(tmp_path)
    (job,) = plan(scripted(["report:0.5"]), Ledger(store)).jobs
    outcome = run_job(job, around(store), quietly, train_with_gang)
    assert (outcome.failure, outcome.message) == ("error", "a mistake")
    assert outcome.place.startswith("RuntimeError test_gang.py:")
    (row,) = Ledger(store).read([job.key])
    assert row.error.endswith("RuntimeError: a mistake\n")


@pytest.mark.slow
@pytest.mark.usefixtures("placed")
def test_a_death_is_no_error_whatever_a_collective_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gang, "Rank", Dead)
    store = Store(tmp_path)
    (job,) = plan(scripted(["report:0.5"]), Ledger(store)).jobs
    with pytest.raises(GangLost) as caught:
        run_job(job, around(store), quietly, train_with_gang)
    assert caught.value.death.failure == "lost"
    assert Ledger(store).index() == {}


@pytest.mark.slow
def test_a_code_error_of_a_rank_ends_the_sweep_with_its_traceback_once(tmp_path: Path) -> None:
    out = StringIO()
    sweep = scripted(
        ["report:0.1", "rank:1", "raise:a mistake in the code", "sleep:1"],
        seeds=9, resources={"workers": 2},
    )  # fmt: skip
    ended = run(sweep, Options(str(tmp_path), cpus=2, track=False), Console(file=out, width=200))
    assert ended.counts["failed"] <= 4, "three are enough, and one more may have begun"
    assert (ended.exit_code, ended.state) == (1, "failed")
    assert ended.stopped == "3 trials failed alike: a mistake in the code"
    assert out.getvalue().count("Traceback (most recent call last)") == 1
    assert "in do_raise\n" in out.getvalue()
    assert not [piece for piece in PIECES if piece in out.getvalue()]
    ledger = Ledger(Store(tmp_path))
    for row in ledger.read(ledger.index()):
        assert (row.status, row.failure, row.attempts) == ("failed", "error", 1)
        *_, place, line, message = row.error.splitlines()
        assert (line.strip(), message) == ("raise RuntimeError(word)", "RuntimeError: a mistake in the code")
        assert "scripted.py" in place


@pytest.mark.slow
def test_a_rank_that_runs_out_of_memory_does_not_wait_for_more_cores_than_there_are(tmp_path: Path) -> None:
    sweep = scripted(["rank:1", "oom"], ["report:0.5"], resources={"workers": 2})
    ended = run(sweep, Options(str(tmp_path), cpus=2, track=False))
    assert (ended.exit_code, ended.failures) == (1, {"out of memory": 1})
    assert ended.counts["done"] == 1
