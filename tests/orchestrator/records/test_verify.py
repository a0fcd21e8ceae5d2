from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.records.compaction import compact
from orchestrator.records.damage import Damage
from orchestrator.records.ledger import Evaluations, Ledger
from orchestrator.records.store import Store
from orchestrator.records.verify import Verified, verify
from tests.orchestrator.records.stores import real_evaluation, real_row


@pytest.fixture(params=["local", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    found = Ledger(Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}"))
    for seed in range(3):
        row = real_row(seed)
        found.write(row)
        found.evaluations.write(real_evaluation(row))
    return found


def damage_of(ledger: Ledger, compacted: bool) -> tuple[Verified, Damage]:
    """What is found, loose or in segments, and the one damage that is."""
    if compacted:
        compact(ledger)
    found = verify(ledger)
    (damage,) = found.damaged
    return found, damage


def test_a_sound_ledger(ledger: Ledger) -> None:
    assert verify(ledger) == Verified(3, 3, 6)
    compact(ledger)
    assert verify(ledger) == Verified(3, 3, 2)
    ledger.write(real_row(3, status="pruned", rule="aa"))
    ledger.write(real_row(4, status="failed"))
    assert verify(ledger) == Verified(5, 3, 4)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"canonical": {}}, "its key is not the SHA-256"),
        ({"key": "0" * 64}, "its key is not the SHA-256"),
        ({"cell": "c"}, "its cell is not"),
        ({"contract": 2}, "another engine contract"),
        ({"data_hash": "other"}, "its data are not"),
    ],
)
def test_a_row_that_contradicts_its_key(
    ledger: Ledger, changes: dict[str, object], problem: str, compacted: bool
) -> None:
    wrong = real_row(7, **changes)
    ledger.write(wrong)
    found, damage = damage_of(ledger, compacted)
    assert problem in damage.problem
    assert (found.trials, damage.lost) == (3, 1)
    assert wrong.key not in Ledger(ledger.store).index()
    assert verify(Ledger(ledger.store)).damaged == []


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"contract": 2}, "another engine contract than its trial"),
        ({"data_hash": "other"}, "those of its trial"),
    ],
)
def test_an_evaluation_that_contradicts_its_trial(
    ledger: Ledger, changes: dict[str, Any], problem: str, compacted: bool
) -> None:
    """Loose or in a segment, as its trial is; one whose trial is not there is taken at its word."""
    trial = real_row(7, contract=1)
    ledger.write(trial)
    wrong = replace(real_evaluation(trial), **({"contract": 1, "data_hash": trial.data_hash} | changes))
    ledger.evaluations.write(wrong)
    ledger.evaluations.write(replace(real_evaluation(real_row(8)), contract=5))
    found, damage = damage_of(ledger, compacted)
    assert problem in damage.problem
    assert (found.evaluations, damage.lost) == (4, 1)
    assert wrong.key not in Ledger(ledger.store).evaluations.index()


def test_a_file_with_anothers_name(ledger: Ledger) -> None:
    ledger.store.put(f"ledger/trials/completed/{'a' * 64}.parquet", Ledger.to_parquet(real_row(9)))
    ledger.store.put(f"ledger/trials/failed/{real_row(8).key}.parquet", Ledger.to_parquet(real_row(8)))
    found = verify(ledger)
    assert [damage.file.split("/")[2] for damage in found.damaged] == ["failed", "completed"]
    assert all("its name is not that of its row, completed" in damage.problem for damage in found.damaged)


def test_a_page_that_no_reader_asked_for(ledger: Ledger) -> None:
    compact(ledger)
    (name,) = ledger.segments.names()
    content = bytearray(ledger.store.get(f"ledger/trials/segments/{name}") or b"")
    content[len(content) // 4] ^= 1
    ledger.store.put(f"ledger/trials/segments/{name}", bytes(content))
    (damage,) = verify(Ledger(ledger.store)).damaged
    assert damage.file.endswith(name)


def test_evaluations_of_plugins_from_before_their_form_named_them(ledger: Ledger) -> None:
    row = replace(real_evaluation(real_row(0)), key="f" * 64, name="mine")
    ledger.evaluations.write(row)
    found = verify(ledger)
    assert (found.unchecked, found.damaged) == (1, [])
    other = replace(real_evaluation(real_row(0)), trial="e" * 64)
    ledger.store.put(f"ledger/evaluations/completed/{other.key}.parquet", Evaluations.to_parquet(other))
    assert "another trial" in verify(ledger).damaged[0].problem
