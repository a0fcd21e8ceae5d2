"""The cheap checks before anything starts: data, names, resources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from engine.advice import advice
from engine.data import store
from engine.data.base import DataConfig
from engine.errors import DataMissing, InputError
from engine.files import data_root
from orchestrator.planning.cells import Cell, Grid
from orchestrator.planning.expand import expand_one, probes
from orchestrator.sweepfile.parts import Resources
from orchestrator.sweepfile.sweep import Sweep


def cells_of(sweep: Sweep, grid: Grid) -> list[Cell]:
    """The cells of a grid; for a search, which has none yet, those at the ends of its space."""
    if not sweep.search:
        return list(grid.cells.values())
    return [expand_one(sweep, probe)[1] for probe in probes(sweep)]


def data_of(cells: Iterable[Cell]) -> list[DataConfig]:
    """The distinct data sets that cells train on, whatever examples of them they choose."""
    return list({c.trial.data.whole(): None for c in cells})


def missing_data(cells: Iterable[Cell]) -> list[str]:
    """One line for each data set whose files are not on this machine."""
    lines = []
    for data in data_of(cells):
        missing = store.missing(data, data_root())
        if missing:
            lines.append(f"trial.data: {data.name!r} is not on this machine: {'; '.join(missing)}")
    return lines


def advised(cells: Iterable[Cell]) -> list[str]:
    """What cells ask for without effect, each line once."""
    lines = Counter(line for cell in cells for line in advice(cell.trial))
    return [f"{line} ({count} cells)" if count > 1 else line for line, count in lines.items()]


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


def check_resources(want: Resources, nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse a trial that the nodes at hand could never run.

    Args:
        want: of each worker, and how many workers. nodes: what each living node has (``CPU``, ``GPU``).

    Raises:
        InputError: no room for all workers, each of which must fit on one node.
    """
    for name, needs in (("cpus", {"CPU": want.cpus}), ("gpus", {"CPU": want.cpus, "GPU": want.most_gpus})):
        if _fits(nodes, needs) < want.workers:
            kind = "CPU" if name == "cpus" else "GPU"
            most = max((node.get(kind, 0.0) for node in nodes), default=0.0)
            each = f"{getattr(want, name):g} for each of {want.workers} workers"
            raise InputError(
                f"resources.{name}", each, f"what {len(nodes)} nodes of at most {most:g} can hold"
            )


def has_room(want: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether these nodes could run a trial; arguments as of :func:`check_resources`.

    >>> has_room(Resources(cpus=2), [{"CPU": 0.0}, {"CPU": 2.0}]), has_room(Resources(cpus=2), [{"CPU": 1.0}])
    (True, False)
    """
    return _fits(nodes, {"CPU": want.cpus, "GPU": want.most_gpus}) >= want.workers


def _fits(nodes: Sequence[Mapping[str, float]], needs: Mapping[str, float]) -> float:
    """How many workers that need this the nodes hold."""

    def here(node: Mapping[str, float]) -> float:
        return min((node.get(kind, 0.0) // need for kind, need in needs.items() if need), default=0.0)

    return sum(map(here, nodes))
