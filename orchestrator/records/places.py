"""Where the ledger holds the rows of a key, and which of several counts.

A loose row is a file ``<status>/<key>.parquet``; ``pruned/<key>.<rule>.parquet`` names the early stopping,
and what may be written again under one status carries a digest of its content, ``failed/<key>.<digest>``,
so that no two contents ever share a name and a compactor deletes none that it has not read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable
from typing import NamedTuple

SUFFIX = ".parquet"
PRUNED = "pruned"
_TAGGED = re.compile(r"(?P<key>.+)\.(?P<tag>[0-9a-f]{12})")


class Place(NamedTuple):
    """One row of a key.

    Attributes:
        status, rule: of the row. finished: of the row; empty for a loose one, whose file holds it.
        file: its name in the folder of the table. row: its number in a segment; -1 for a loose one.
    """

    status: str
    rule: str
    finished: str
    file: str
    row: int = -1

    @property
    def loose(self) -> bool:
        """Whether it is a file of its own."""
        return self.row < 0


def loose_name(status: str, key: str, rule: str = "", content: bytes | None = None) -> str:
    """Name of a loose row; ``content`` where several rows of the status may follow each other."""
    tag = rule if status == PRUNED else hashlib.sha256(content).hexdigest()[:12] if content else ""
    return f"{status}/{key}.{tag}{SUFFIX}" if tag else f"{status}/{key}{SUFFIX}"


def parsed(status: str, name: str) -> tuple[str, Place] | None:
    """Key and place of a loose row from its name; None for a file that is none.

    >>> parsed("pruned", "ab.0f1e.parquet")
    ('ab', Place(status='pruned', rule='0f1e', finished='', file='pruned/ab.0f1e.parquet', row=-1))
    """
    if not name.endswith(SUFFIX):
        return None
    stem, rule = name.removesuffix(SUFFIX), ""
    if status == PRUNED:
        key, _, rule = stem.rpartition(".") if "." in stem else (stem, "", "")
    else:
        tagged = _TAGGED.fullmatch(stem)
        key = tagged["key"] if tagged else stem
    return key, Place(status, rule, "", f"{status}/{name}")


def candidates(places: Iterable[Place], done: Container[str], rule: str | None) -> list[Place]:
    """The rows of a key among which the latest counts; none where the key counts as absent.

    Those with a status that is done, else those pruned under ``rule`` (None: under any), else the others.
    """
    ranks: dict[int, list[Place]] = {}
    for place in places:
        if place.status in done:
            ranks.setdefault(2, []).append(place)
        elif place.status != PRUNED:
            ranks.setdefault(0, []).append(place)
        elif rule is None or place.rule == rule:
            ranks.setdefault(1, []).append(place)
    return ranks[max(ranks)] if ranks else []
