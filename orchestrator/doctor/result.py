"""What a check finds, in words that name the node and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.errors import first_line

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Result:
    """What one check found on one node.

    Attributes:
        check: its name. status: ``fail`` is what trials would fail by, ``warn`` what may cost time.
        found: what is there. remedy: what to do about it; empty where all is well.
        node: name and address of the node, ``driver`` for the process that was called.

    >>> print(Result("disk", "fail", "0.1 GB free in /tmp", "free some", "n1 (10.0.0.1)"))
    fail: disk: n1 (10.0.0.1): 0.1 GB free in /tmp; free some
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
    node: str = "driver"

    def __str__(self) -> str:
        told = f"{self.status}: {self.check}: {self.node}: {self.found}"
        return f"{told}; {self.remedy}" if self.remedy else told


def tried(check: str, act: Callable[[], Result], remedy: str) -> Result:
    """What a check finds; a failure of the system or of an import is a finding too.

    Args:
        check: its name. act: the check. remedy: against a failure of it.
    """
    try:
        return act()
    except (OSError, ImportError, ValueError) as error:  # pyarrow's and our own errors are among them
        return Result(check, "fail", first_line(error), remedy)


def size(count: float) -> str:
    """A number of bytes for people.

    >>> size(512), size(3_400_000), size(2e12)
    ('512 B', '3.4 MB', '2.0 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
