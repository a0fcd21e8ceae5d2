"""All of the ledger read and checked against its own checksums and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from engine.components import names
from engine.identity import digest
from orchestrator.records.columns import BROKEN, Unreadable
from orchestrator.records.damage import Damage
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.places import PRUNED, Place
from orchestrator.records.row import Row
from orchestrator.records.segments import Damaged, Gone
from orchestrator.records.table import Table

Made = tuple[int, str]
"""Of which engine contract and data a row is."""

AT_ONCE = 256
"""Loose files, or rows of a segment, that are held at once."""


@dataclass(frozen=True)
class Verified:
    """What a ledger holds that is as it was written.

    Attributes:
        trials, evaluations: rows of each. files: that they stand in.
        damaged: files that were set aside. unchecked: evaluations by plugins that are not loaded, whose
            keys an earlier version wrote without their part of the canonical form.
    """

    trials: int = 0
    evaluations: int = 0
    files: int = 0
    unchecked: int = 0
    damaged: list[Damage] = field(default_factory=list)


def verify(ledger: Ledger) -> Verified:
    """Read every row of a ledger; what is not as it was written is set aside.

    Checked are the checksums of files and pages, that a row's key is the SHA-256 of its canonical form, its
    seed and cell those of the form, that an evaluation is of its trial's engine contract and data, and that
    names of files say what is in them.
    """
    counts, made = [], dict[str, Made]()
    for table in (ledger, ledger.evaluations):
        before = len(table.damaged)
        check = _Check(table, made)
        check.loose()
        check.segments()
        counts.append((check, table.damaged[before:]))
    (trials, lost), (evaluations, also_lost) = counts
    return Verified(
        trials.rows, evaluations.rows, trials.files + evaluations.files, evaluations.unchecked,
        [*lost, *also_lost],
    )  # fmt: skip


class _Check:
    """One table's.

    Args:
        table: trials, then evaluations. made: of each sound trial, filled by the first check.
    """

    def __init__(self, table: Table[Any], made: dict[str, Made]) -> None:
        self.table, self.made = table, made
        self.rows = self.files = self.unchecked = 0

    def loose(self) -> None:
        found = self.table.loose()
        for at in range(0, len(found), AT_ONCE):
            some = found[at : at + AT_ONCE]
            for (key, place), content in zip(some, self.table.contents(p for _, p in some), strict=True):
                if content is not None:
                    self._file(key, place, content)

    def segments(self) -> None:
        seen: set[str] = set()
        while left := [name for name in self.table.segments.names() if name not in seen]:
            for name in left:
                seen.add(name)
                try:
                    self._segment(name)
                except (Gone, Damaged) as error:
                    self.table.note(error)

    def _file(self, key: str, place: Place, content: bytes) -> None:
        try:
            row = self.table.from_parquet(content)
            problem = _misnamed(key, place, row) or self._problem(row)
        except Unreadable as error:
            problem = str(error)
        if problem:
            self.table.put_aside(place, content, problem)
            return
        self.rows += 1
        self.files += 1

    def _segment(self, name: str) -> None:
        table = self.table.segments.whole(name)
        bad = self._bad(table)
        if bad:
            first, problem = next(iter(bad.items()))
            key = table.column("key")[first].as_py()
            content = self.table.store.get(f"{self.table.segments.folder}/{name}")
            told = f"{problem} (trial {key[:12]}{f' and {len(bad) - 1} more' if len(bad) > 1 else ''})"
            if content is not None:
                found = self.table.segments.salvage(name, content, told, self._good)
                raise Damaged(found)
            return
        self.rows += table.num_rows
        self.files += 1

    def _bad(self, table: pa.Table) -> dict[int, str]:
        """Problems of rows by their number."""
        found: dict[int, str] = {}
        for at in range(0, table.num_rows, AT_ONCE):
            for number, row in enumerate(self._built(table.slice(at, AT_ONCE)), at):
                problem = row if isinstance(row, str) else self._problem(row)
                if problem:
                    found[number] = problem
        return found

    def _built(self, table: pa.Table) -> Sequence[Any]:
        """Rows; in place of one that cannot be built, why."""
        try:
            return self.table.columns.rows(table)
        except BROKEN as error:
            if table.num_rows == 1:
                return [str(error)]
            return [row for number in range(table.num_rows) for row in self._built(table.slice(number, 1))]

    def _good(self, table: pa.Table) -> pa.Table:
        bad = self._bad(table)
        return table.take([number for number in range(table.num_rows) if number not in bad])

    def _problem(self, row: Row | EvaluationRow) -> str:
        found = _mistaken(row)
        if isinstance(row, Row):
            if not found:
                self.made[row.key] = row.contract, row.data_hash
            return found
        if found and row.name not in names("evaluations"):
            self.unchecked += 1
            found = ""
        return found or _another(row, self.made.get(row.trial))


def _mistaken(row: Row | EvaluationRow) -> str:
    """How a row's key contradicts its canonical form; empty where it does not."""
    form = row.canonical
    try:
        key = digest(form)
    except ValueError:  # NaN
        key = ""
    if key != row.key:
        return "its key is not the SHA-256 of its canonical form"
    if isinstance(row, EvaluationRow):
        return "" if form.get("trial") == row.trial else "it is of another trial than its canonical form"
    if form.get("seed") != row.seed:
        return "its seed is not that of its canonical form"
    if form.get("contract", row.contract) != row.contract:
        return "it was computed by another engine contract than its canonical form's"
    if row.data_hash and digest(form.get("data", {})) != row.data_hash:
        return "its data are not those of its canonical form"
    cell = digest({name: value for name, value in form.items() if name != "seed"})
    return "" if "init" in form or cell == row.cell else "its cell is not that of its canonical form"


def _another(row: EvaluationRow, made: Made | None) -> str:
    """How an evaluation contradicts its trial's row, where both say; empty where it does not."""
    contract, data_hash = made or (0, "")
    if row.contract and contract and row.contract != contract:
        return "it was computed by another engine contract than its trial"
    if row.data_hash and data_hash and row.data_hash != data_hash:
        return "its data are not those of its trial"
    return ""


def _misnamed(key: str, place: Place, row: Row | EvaluationRow) -> str:
    """How a file's name contradicts its row; empty where it does not."""
    rule = getattr(row, "rule", "") if row.status == PRUNED else ""
    if (key, place.status, place.rule) == (row.key, row.status, rule):
        return ""
    return f"its name is not that of its row, {row.status} {row.key[:12]}"
