"""Stores that misbehave, files that are damaged, and rows whose keys are those of real trials."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq

from engine.config import Trial
from engine.identity import EvaluationKeys, Seeds, data_hash
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.conftest import build_row
from tests.orchestrator.sweeps import TRIAL


class Crash(BaseException):
    """The process dies here."""


class FaultyStore(Store):
    """A store that raises in place of a change.

    Attributes:
        left: changes until it raises ``error``; None never.
    """

    left: int | None = None
    error: BaseException = Crash()

    def put(self, name: str, content: bytes) -> None:
        self._count()
        super().put(name, content)

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)

    def _count(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise self.error
            self.left -= 1


def flipped(content: bytes, place: int, bit: int = 2) -> bytes:
    """A file with one bit the other way."""
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def page_of(content: bytes, group: int, column: str) -> int:
    """Where the last byte of a column's data is in a Parquet file.

    The data come behind the dictionary, if there is one, and behind a header of their own, which no checksum
    covers and which takes most of a small page.
    """
    found = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(group)
    chunks = [found.column(i) for i in range(found.num_columns)]
    (chunk,) = [chunk for chunk in chunks if chunk.path_in_schema == column]
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    return int(begin + chunk.total_compressed_size - 1)


def real_row(seed: int = 0, **changes: Any) -> Row:
    """A row whose key, cell, seed and canonical form agree; ``changes`` replace any field."""
    seeds = Seeds(trial := Trial.model_validate(TRIAL))
    about = {"key": seeds.key(seed), "seed": seed, "trial": seeds.settings(seed)}
    about |= {"canonical": seeds.canonical(seed), "data_hash": data_hash(trial)}
    return build_row(**{"cell": seeds.cell, **about, **changes})


def real_evaluation(row: Row, **changes: Any) -> EvaluationRow:
    """An evaluation of a trial, whose key agrees with its canonical form."""
    from engine.evaluations.clean import Config

    keys = EvaluationKeys(Config(name="clean"))
    fields: dict[str, Any] = {
        "key": keys.key(row.key), "trial": row.key, "cell": row.cell, "seed": row.seed, "checkpoint": "best",
        "name": "clean", "label": "clean", "status": "completed", "canonical": keys.canonical(row.key),
        "metrics": {"accuracy": 0.5}, "contract": row.contract, "data_hash": row.data_hash,
        "finished": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return EvaluationRow(**(fields | changes))
