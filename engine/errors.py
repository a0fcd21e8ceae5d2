"""What the engine says when its input is wrong: one line, no traceback needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user wrote cannot be used.

    Attributes:
        name: dotted name of the setting, relative to the trial (``method.epsilon``), or a file.
        value: what was given.
        legal: what is legal, and what to do.

    >>> str(InputError("method.epsilon", -1, "a number >= 0"))
    'method.epsilon: -1 is not legal: a number >= 0'
    """

    def __init__(self, name: str, value: object, legal: str) -> None:
        super().__init__(f"{name}: {value} is not legal: {legal}")
        self.name, self.value, self.legal = name, value, legal

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        return type(self), (self.name, self.value, self.legal)  # travels between processes


@contextmanager
def named(place: str) -> Iterator[None]:
    """Errors inside the block are named as settings of ``place``.

    >>> with named("attacks.pgd"):
    ...     raise InputError("evaluation.epsilon", -1, "a number >= 0")
    Traceback (most recent call last):
    engine.errors.InputError: attacks.pgd.epsilon: -1 is not legal: a number >= 0
    """
    try:
        yield
    except InputError as error:
        inner = error.name.removeprefix("evaluation").removeprefix(".")
        raise type(error)(f"{place}.{inner}".rstrip("."), error.value, error.legal) from None


class DataMissing(InputError):
    """The files of a data set are not on this machine."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line of at most 300 characters.

    >>> first_line(OSError("a\\nb")), first_line(ValueError())
    ('a', 'ValueError')
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__


def did_you_mean(word: str, known: list[str]) -> str:
    """``one of a, b, c``, led by the nearest spelling where one is near.

    >>> did_you_mean("dropatack", ["dropattack", "fgm"])
    "did you mean 'dropattack'? known: dropattack, fgm"
    """
    near = get_close_matches(word, known, n=1)
    lead = f"did you mean {near[0]!r}? " if near else ""
    return f"{lead}known: {', '.join(sorted(known))}"
