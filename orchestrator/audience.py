"""Who is told of a run as it goes: the terminal, and everybody who listens to events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.heralds import Herald

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Audience:
    """The terminal and the heralds of one run.

    Args:
        console: shown on; None shows nothing. heralds: told of warnings, too.
    """

    def __init__(self, console: Console | None, heralds: Sequence[Herald] = ()) -> None:
        self.console, self.heralds = console, heralds
        self._begun, self._early = False, list[str]()

    @property
    def terminal(self) -> Console | None:
        """The console, where it is a terminal."""
        return self.console if self.console is not None and self.console.is_terminal else None

    def say(self, text: RenderableType) -> None:
        """Something for the terminal alone."""
        if self.console is not None:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that the user should know, wherever the run is followed."""
        self.say(text)
        self._tell(text)

    def warn(self, text: str) -> None:
        """Something that the user should see to, wherever the run is followed."""
        self._tell(text)
        if self.console is not None:
            text = text if text.startswith("warning") else f"warning: {text}"
            self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def begin(self) -> None:
        """The heralds know of the run; they hear what was told before."""
        self._begun = True
        for text in self._early:
            self._tell(text)
        self._early.clear()

    def _tell(self, text: str) -> None:
        if not self._begun:
            self._early.append(text)
            return
        for herald in self.heralds:
            herald.warning(text)
