"""A table of texts with a title and a note, the same on the page, in the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Line:
    """One row: texts for people, the same numbers as measured, and how it is marked."""

    shown: Sequence[str]
    exact: Sequence[str]
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        name: of its file. title: for people. note: how it is to be read.
        columns: of what is shown. exact: of the CSV.
        lines: rows; a ``mark`` is ``good``, ``bad``, ``open`` or empty.
        narrow: places of the columns that a terminal shows, those that it sets under each other together;
            the last is coloured by the mark.
    """

    name: str
    title: str
    note: str
    columns: Sequence[str]
    exact: Sequence[str]
    lines: Sequence[Line]
    narrow: Sequence[Sequence[int]]

    def csv(self) -> str:
        """The numbers as measured."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.exact)
        writer.writerows(line.exact for line in self.lines)
        return buffer.getvalue()

    def table(self) -> Table:
        """For the terminal."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        styles = {"good": "bold green", "bad": "red", "open": "yellow"}
        shown = Table(title=self.title, caption=self.note, box=box.SIMPLE_HEAD)
        for i, places in enumerate(self.narrow):
            side: Literal["left", "right"] = "right" if i else "left"
            header = "\n".join(self.columns[place] for place in places)
            shown.add_column(header, justify=side, overflow="fold", no_wrap=bool(i))
        for line in self.lines:
            *texts, last = ["\n".join(line.shown[place] for place in places) for places in self.narrow]
            shown.add_row(*texts, Text(last, style=styles.get(line.mark, "")))
        return shown
