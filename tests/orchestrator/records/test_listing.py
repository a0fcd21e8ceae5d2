from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import InputError
from orchestrator.records.compaction import compact
from orchestrator.records.ledger import Ledger
from orchestrator.records.listing import latest, one
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.records.stores import real_evaluation

Make = Callable[..., Row]


@pytest.fixture(params=["local", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}"))


def test_the_latest_first_wherever_they_stand(ledger: Ledger, make_row: Make) -> None:
    rows = [make_row("c", i, status="failed" if i % 2 else "completed") for i in range(6)]
    for row in (rows[0], rows[3], rows[4]):
        ledger.write(row)
    compact(ledger)
    for row in (rows[1], rows[2], rows[5]):
        ledger.write(row)
    assert [row.seed for row in latest(ledger)] == [5, 4, 3, 2, 1, 0]
    assert [row.seed for row in latest(ledger, limit=4)] == [5, 4, 3, 2]
    assert [row.seed for row in latest(ledger, statuses={"failed"}, limit=2)] == [5, 3]
    assert [row.seed for row in latest(ledger, keys={"c-0", "c-2"})] == [2, 0]
    assert latest(ledger, statuses={"pruned"}) == []
    ledger.write(make_row("d", status="pruned", rule="aa"))
    assert [row.cell for row in latest(ledger, statuses={"pruned"})] == ["d"]


def test_one_by_the_beginning_of_its_key(ledger: Ledger, make_row: Make) -> None:
    row, other = make_row(key="abc1"), make_row(key="abd2")
    ledger.write(row)
    ledger.write(other)
    first = real_evaluation(row, key="e1", label="clean", finished="2026-01-01")
    compact(ledger)
    ledger.evaluations.write(first)
    compact(ledger)
    second = real_evaluation(row, key="e2", label="clean", finished="2026-01-02")
    ledger.evaluations.write(second)
    ledger.evaluations.write(real_evaluation(other, key="f1"))
    found = one(ledger, "ABC")
    assert isinstance(found, Row)
    assert found.evaluations == {"clean": first, "clean e2": second}
    assert one(ledger, "f") == real_evaluation(other, key="f1")
    for prefix, said in (("ab", "2 begin so: abc1, abd2"), ("", "ls shows them"), ("x", "ls shows them")):
        with pytest.raises(InputError, match=said) as raised:
            one(ledger, prefix)
        assert "\n" not in str(raised.value)
