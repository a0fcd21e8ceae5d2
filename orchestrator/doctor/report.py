"""What an examination found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.doctor.result import Result, Status

COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


def view(results: Sequence[Result]) -> RenderableType:
    """A line for each check and what came of it, equal findings of nodes folded; then what to do."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("check", "", "where", "found"):
        table.add_column(column, overflow="fold")
    told = ""
    for group in folded(results):
        first = group[0]
        shown = Text(first.status, style=COLOURS[first.status])
        table.add_row("" if first.check == told else first.check, shown, where(group), found(group))
        told = first.check
    return Group(table, *(Text(line) for line in troubles(results)), Text(verdict(results)))


def folded(results: Sequence[Result]) -> list[list[Result]]:
    """Findings in groups of one check and status, the driver apart from the nodes."""
    groups: dict[tuple[str, bool, Status], list[Result]] = {}
    checks = list(dict.fromkeys(result.check for result in results))
    for status in ("ok", "warn", "fail"):
        for result in results:
            if result.status == status:
                groups.setdefault((result.check, result.node == "driver", result.status), []).append(result)
    return [
        groups[check, driver, status]
        for check in checks
        for driver in (True, False)
        for status in COLOURS
        if (check, driver, status) in groups
    ]


def where(group: Sequence[Result]) -> str:
    """One node by its name, several by their number."""
    nodes = list(dict.fromkeys(result.node for result in group))
    return nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"


def found(group: Sequence[Result]) -> str:
    """What all found, or what the first did where they differ."""
    texts = list(dict.fromkeys(result.found for result in group))
    return texts[0] if len(texts) == 1 else f"{texts[0]} (the first of {len(group)})"


def troubles(results: Sequence[Result]) -> list[str]:
    """One line for each finding that is not well, failures last; nodes that found the same share one."""
    lines: dict[tuple[str, str, str, Status], list[str]] = {}
    for status in ("warn", "fail"):
        for r in results:
            if r.status == status:
                lines.setdefault((r.check, r.found, r.remedy, r.status), []).append(r.node)
    return [
        str(Result(check, status, text, remedy, ", ".join(nodes)))
        for (check, text, remedy, status), nodes in lines.items()
    ]


def verdict(results: Sequence[Result]) -> str:
    """The last line: how many of what."""
    count = {status: sum(r.status == status for r in results) for status in COLOURS}
    nodes = len({result.node for result in results} - {"driver"})
    of = f"on the driver and {nodes} {'node' if nodes == 1 else 'nodes'}"
    return f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failures {of}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The findings as plain values, all of them."""
    return [asdict(result) for result in results]


def exit_code(results: Sequence[Result]) -> int:
    """1 when something failed, else 0."""
    return int(any(result.status == "fail" for result in results))
