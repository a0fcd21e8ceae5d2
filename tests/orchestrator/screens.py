"""A terminal made up for tests: what is on it, where a console wrote it."""

from __future__ import annotations

import re
import threading
from io import StringIO

from rich.console import Console

_PARTS = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*[A-Za-z])|[\n\r]|[^\x1b\n\r]+|\x1b")


class Screen(StringIO):
    """Understands what the live block needs: colours, lines that are erased, a cursor that goes up and hides.

    Attributes:
        lines: all that was written and not erased, also what has scrolled off.
        cursor: whether the cursor is seen. up: the most lines that it went up from the last one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.cursor, self.up = [""], True, 0
        self.row = self.column = 0
        self.whole = threading.Lock()

    def write(self, text: str) -> int:
        """As a terminal does."""
        with self.whole:
            for part in _PARTS.finditer(text):
                self._obey(part.group(), part.group(1))
            return super().write(text)

    @property
    def text(self) -> str:
        """The lines in one, never in the middle of what is written."""
        with self.whole:
            return "\n".join(self.lines)

    def _obey(self, part: str, order: str | None) -> None:
        if order is None and part not in ("\n", "\r"):
            assert part != "\x1b", "an order that is not known here"
            line = self.lines[self.row].ljust(self.column)
            end = self.column + len(part)
            self.lines[self.row] = line[: self.column] + part + line[end:]
            self.column = end
        elif part in ("\n", "\r"):
            self.row, self.column = self.row + (part == "\n"), 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif order in ("?25l", "?25h"):
            self.cursor = order == "?25h"
        elif order == "2K":
            self.lines[self.row] = ""
        elif order is not None and order.endswith("A"):
            self.row -= int(order[:-1] or 1)
            self.up = max(self.up, len(self.lines) - 1 - self.row)
        else:
            assert order is not None
            assert order.endswith("m"), repr(part)

    def console(self, width: int = 100, height: int = 24) -> Console:
        """A console on it, whatever terminal the tests run in."""
        return Console(file=self, force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"})
