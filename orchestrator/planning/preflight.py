"""The cheap checks before anything starts: data, names, resources."""

from __future__ import annotations

from collections.abc import Iterable

from engine.data import store
from engine.data.base import DataConfig
from engine.errors import DataMissing, InputError
from engine.files import data_root
from orchestrator.planning.cells import Cell, Grid
from orchestrator.planning.expand import expand_one, probes
from orchestrator.sweepfile.sweep import Sweep


def cells_of(sweep: Sweep, grid: Grid) -> list[Cell]:
    """The cells of a grid; for a search, which has none yet, those at the ends of its space."""
    if not sweep.search:
        return list(grid.cells.values())
    return [expand_one(sweep, probe)[1] for probe in probes(sweep)]


def data_of(cells: Iterable[Cell]) -> list[DataConfig]:
    """The distinct data sets that cells train on, whatever their training sizes."""
    return list({c.trial.data.model_copy(update={"train_size": None}): None for c in cells})


def missing_data(cells: Iterable[Cell]) -> list[str]:
    """One line for each data set whose files are not on this machine."""
    lines = []
    for data in data_of(cells):
        missing = store.missing(data, data_root())
        if missing:
            lines.append(f"trial.data: {data.name!r} is not on this machine: {'; '.join(missing)}")
    return lines


def check_data(cells: Iterable[Cell]) -> None:
    """Read every data set once, so that a corrupt file is found before any worker starts.

    What is read is kept converted on this node, where the trials find it.

    Raises:
        DataMissing, InputError: files are not there, corrupt, or not the published ones.
    """
    cells = list(cells)
    lines = missing_data(cells)
    if lines:
        raise DataMissing("trial.data", "missing files", lines[0])
    for data in data_of(cells):
        store.open_data(data, data_root())


def check_resources(cpus: float, gpus: float, workers: int, available: dict[str, float]) -> None:
    """Refuse a trial that no machine at hand could ever run.

    Raises:
        InputError: more CPUs or GPUs are asked for than there are.
    """
    for name, each in (("cpus", cpus), ("gpus", gpus)):
        held = available.get("CPU" if name == "cpus" else "GPU", 0.0)
        if each * workers > held:
            legal = f"at most {held:g} over all workers, which is what Ray has here"
            raise InputError(f"resources.{name}", each * workers, legal)
