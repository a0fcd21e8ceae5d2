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
        for herald in self.heralds:
            herald.warning(text)

    def warn(self, text: str) -> None:
        """Something that the user should see to, wherever the run is followed."""
        for herald in self.heralds:
            herald.warning(text)
        if self.console is not None:
            text = text if text.startswith("warning") else f"warning: {text}"
            self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
