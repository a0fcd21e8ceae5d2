"""The IMDB cells of DropAttack's tables, as sweeps: planning them needs no data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.expand import expand
from orchestrator.planning.published import cells_of_published
from orchestrator.sweepfile.sweep import Sweep, load

FOLDER = Path(__file__).parents[2] / "sweeps" / "dropattack"
PRINTED = {"table2": 11, "table3": 16, "table4": 5, "table5": 15, "table10": 49}


@pytest.fixture(scope="module")
def tables() -> dict[str, Sweep]:
    return {path.stem: load(path) for path in FOLDER.glob("*.yaml")}


def test_96_printed_and_78_distinct(tables: dict[str, Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERTURB_DATA", raising=False)
    grids = {name: expand(sweep) for name, sweep in tables.items()}
    assert {name: len(grid.points) for name, grid in grids.items()} == PRINTED
    assert sum(PRINTED.values()) == 96
    assert len({cell for grid in grids.values() for cell in grid.cells}) == 78
    assert len(grids["table10"].cells) == 43
    clean = {point.cell for point in grids["table10"].points if point.labels["method.p"] == 0}
    assert len(clean) == 1
    assert all(clean & set(grids[name].cells) for name in ("table2", "table3", "table5"))


def test_every_printed_cell_has_its_value(tables: dict[str, Sweep]) -> None:
    values: dict[str, list[float]] = {}
    for sweep in tables.values():
        grid = expand(sweep)
        cells = cells_of_published(sweep, grid.points)
        assert len(sweep.published) == len(grid.points)
        for cell, one in zip(cells, sweep.published, strict=True):
            assert 0.6 < one.value < 0.91
            assert one.source.startswith("DropAttack, Table ")
            values.setdefault(cell, []).append(one.value)
    apart = [max(found) - min(found) for found in values.values()]
    assert max(apart) == pytest.approx(0.0016), "the paper's own disagreement on one cell"
    assert sum(gap > 0 for gap in apart) == 4


def test_the_base_is_the_same_so_that_cells_meet(tables: dict[str, Sweep]) -> None:
    def base(sweep: Sweep) -> dict[str, Any]:
        return {name: value for name, value in sweep.trial.items() if name != "method"}

    (first, *others) = map(base, tables.values())
    assert all(other == first for other in others)
    assert {one.margin for sweep in tables.values() for one in sweep.published} == {0.01}


def test_a_plan_of_all_trains_each_shared_cell_once(tables: dict[str, Sweep], tmp_path: Path) -> None:
    from orchestrator.planning.plan import plan
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.row import Row
    from orchestrator.records.store import Store

    ledger, trained = Ledger(Store(tmp_path)), 0
    for name in PRINTED:
        sweep = tables[name].model_copy(update={"replicates": (0,)})
        todo = plan(sweep, ledger).todo
        trained += len(todo)
        for job in todo:
            ledger.write(Row(job.key, job.cell, job.seed, "completed", job.trial, {}))
    assert trained == 78
