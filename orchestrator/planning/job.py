"""What travels between the driver and the workers: a job out, an outcome back. Plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.config import Keep
from orchestrator.records.failures import FailureClass


@dataclass(frozen=True)
class Job:
    """One trial to train, or one evaluation of a trial's checkpoint.

    Attributes:
        key, cell, seed: as in the ledger's row.
        trial: the trial's settings, as ``Trial.model_validate`` takes them.
        canonical, data_hash: as in the ledger's row, made by the driver.
        labels: its point's labels, for people to read.
        keep: which checkpoint stays.
        parent: key of the trial whose weights it starts from or evaluates, or None.
        checkpoint: which checkpoint of the parent: ``best``, ``last``, ``best.NAME``.
        evaluation: settings of the evaluation; None for a trial to train.
        attempt: how often it has been started, this time included.
        population: of a member of one, what tells it from others, as in the canonical form; else None.
        settings: of a member, those that vary, as it begins with them, by dotted name.
        lineage: of a member, as in the ledger's row, so far; made by its worker.
    """

    key: str
    cell: str
    seed: int
    trial: dict[str, Any]
    canonical: dict[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    keep: Keep = "none"
    parent: str | None = None
    checkpoint: str = "best"
    evaluation: dict[str, Any] | None = None
    attempt: int = 1
    population: dict[str, str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the evaluation is called; empty for a trial."""
        return str(self.evaluation["label"]) if self.evaluation else ""


@dataclass(frozen=True)
class Surroundings:
    """What all jobs of a sweep share, and no key depends on.

    Attributes:
        store: location of the store. sweep: name of the sweep.
        plugins: name and content of the user's files.
        git_commit: of the driver's working tree. cpus: for each worker of a trial.
        workers: ranks of a trial. micro: examples in one pass of a worker at most, 0 for all.
        gpu: whether its workers have a GPU. minutes: that a job may take at one go; 0 for any.
        rule: digest of the scheduler's settings; empty without one. watched: the metric that it compares
            trials by after every epoch. pauses: whether it makes trials wait, so that each epoch ends with
            a checkpoint. every: epochs between two rounds of a population; 0 for none.
        data_root: the data folder as the driver was told, where a worker has no ``PERTURB_DATA``.
        files: converted data in Ray's object store, for the nodes of a cluster.
        stop: name of the file in the store that asks the trials of this driver alone to stop.
    """

    store: str
    sweep: str
    plugins: tuple[tuple[str, bytes], ...] = ()
    git_commit: str = ""
    cpus: float = 1.0
    workers: int = 1
    micro: int = 0
    gpu: bool = False
    minutes: float = 0.0
    rule: str = ""
    watched: str = ""
    pauses: bool = False
    every: int = 0
    data_root: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)
    stop: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        key: of the job. status: as in the ledger; ``stopped`` leaves a checkpoint and no row; ``again`` is
            a failure after which the job is started once more.
        failure: class of a failure. message: its last line.
        best, last: final metrics; of an evaluation both are its metrics as ``label.measure``.
        seconds: the job took, all phases.
        place: type and place of an exception, by which failures are told to be alike. trace: its traceback.
        node: id of the node that it ran on; empty where it is not known.
        free: lost through no fault of its own: its node went away, or it was preempted.
        memory: most bytes of its device's memory that a worker held; capacity: bytes that the device has.
    """

    key: str
    status: Literal["completed", "diverged", "failed", "pruned", "stopped", "again"]
    failure: FailureClass | None = None
    message: str = ""
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    place: str = ""
    trace: str = ""
    node: str = ""
    free: bool = False
    memory: int = 0
    capacity: int = 0


def stop_flag(sweep: str) -> str:
    """Name of the file in the store whose presence asks a sweep's trials to stop."""
    return f"sweeps/{sweep}/stop"


def cancel_flag(sweep: str, key: str) -> str:
    """Name of the file in the store whose presence asks a trial of a sweep to end."""
    return f"sweeps/{sweep}/cancel/{key}"
