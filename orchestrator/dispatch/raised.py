"""What a rank of a gang raised, read out of Ray's error around it.

Ray makes a class for it whose text holds the rank's traceback, and whose own traceback is that of the process
which asked (Ray 2.60 keeps no other).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from engine.errors import first_line

BEGIN = "Traceback (most recent call last):"

BEGIN_OF_RAY = re.compile(r"(ray\.exceptions\.RayTaskError: )?\S*ray::\S+ \(pid=\d+, ")
"""What Ray writes in place of ``BEGIN``, once an exception of the chain."""

FRAME = re.compile(r'  File "(.+)", line (\d+), in ')


@dataclass(frozen=True)
class Raised:
    """What a rank raised, as its own process would tell it.

    Attributes:
        kind: name of its type. message: its first line. trace: its traceback.
        frames: file and line of each frame of its traceback, that which raised it last.
    """

    kind: str
    message: str
    trace: str
    frames: list[tuple[str, int]]


def raised(error: BaseException) -> Raised | None:
    """What a rank raised, of Ray's error around it; None for any other error."""
    lines = list[str]()
    for line in str(error).splitlines():
        if BEGIN_OF_RAY.match(line):
            lines.append(BEGIN)
        elif lines and not (lines[-1] == BEGIN and set(line) <= {" ", "^", "~"}):  # marks of Ray's own frames
            lines.append(line)
    if not lines:
        return None
    last = lines[len(lines) - lines[::-1].index(BEGIN) :]
    stack = list(takewhile(lambda line: line.startswith(" "), last))
    frames = [(found[1], int(found[2])) for found in map(FRAME.match, stack) if found]
    trace, cause = "\n".join(lines), cause_of(error)
    if type(cause).__module__ != "ray.exceptions":
        return Raised(type(cause).__name__, first_line(cause), trace, frames)
    # one that does not travel between processes is known by its words alone
    name, _, message = "".join(last[len(stack) :][:1]).partition(": ")
    kind = name.rpartition(".")[2]
    return Raised(kind, message.strip()[:300] or kind, trace, frames)


def cause_of(error: BaseException) -> BaseException:
    """What a rank raised: Ray's copy has neither its number nor its file's name; any other error itself."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error
