"""What the terminal shows, and what everybody else hears."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from orchestrator.audience import Audience


class Heard:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def told(terminal: bool = False) -> tuple[Audience, StringIO, Heard]:
    out, herald = StringIO(), Heard()
    heralds: Any = [herald]
    return Audience(Console(file=out, width=40, force_terminal=terminal), heralds), out, herald


def test_what_is_said_is_shown_alone() -> None:
    audience, out, herald = told()
    audience.say("[sweep] " + 10 * "long ")
    assert out.getvalue() == "[sweep] " + 10 * "long " + "\n", "neither marked up nor wrapped"
    assert herald.warnings == []


def test_notes_and_warnings_are_heard_too() -> None:
    audience, out, herald = told()
    audience.note("noted")
    audience.warn("the disk is full")
    assert herald.warnings == [], "the run has not begun"
    audience.begin()
    audience.warn("warning: once")
    assert out.getvalue().splitlines() == ["noted", "warning: the disk is full", "warning: once"]
    assert herald.warnings == ["noted", "the disk is full", "warning: once"]


def test_without_a_console_the_heralds_hear() -> None:
    herald = Heard()
    heralds: Any = [herald]
    audience = Audience(None, heralds)
    audience.begin()
    audience.say("nobody")
    audience.warn("somebody")
    assert (herald.warnings, audience.terminal) == (["somebody"], None)


def test_a_terminal_is_known() -> None:
    assert told(terminal=True)[0].terminal is not None
    assert told()[0].terminal is None
