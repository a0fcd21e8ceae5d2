"""Progress as people read it: a block of fixed height on a terminal, one line elsewhere.

Both are drawn from a snapshot (:meth:`orchestrator.dispatch.progress.Progress.snapshot`), so that another
shell shows what the driver's terminal shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from orchestrator.dispatch.progress import BEST, Progress

FAILURES = 2
"""Classes of failures that the block shows."""

HEIGHT = 3 + BEST + FAILURES
"""Lines of the block, whatever the number of trials."""

STYLES = {"running": "cyan", "done": "green", "failed": "red", "diverged": "yellow", "pruned": "dim"}
ALWAYS = ("waiting", "running", "done")
WIDE = ("waiting", "running", "done", "failed", "diverged", "pruned", "elsewhere")
NARROW = ("failed", "running", "done", "waiting", "diverged", "pruned", "elsewhere")
"""Order of the states; on a narrow terminal that first which must not be cut off."""

NOTES = {"running": "", "draining": "draining: trials checkpoint and stop"}


class View:
    """A snapshot as a block of :data:`HEIGHT` lines, cut to the width that there is.

    The sweep with a bar, the trials by state, the pace; the best cells with their 95 % intervals; failures by
    class, each with what the first one said.
    """

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self.s = snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        lines = [self._head(width), self._states(width), self._pace()]
        lines += pad([self._place(i, one) for i, one in enumerate(top_of(self.s))], BEST)
        lines += pad(self._failures(), FAILURES)
        for text in lines:
            text.no_wrap, text.overflow = True, "ellipsis"
            text.truncate(width, overflow="ellipsis")
            yield text

    def _head(self, width: int) -> Text:
        s = self.s
        counts = f"{s['done']}/{s['trials']} trials"
        note = NOTES.get(s["state"], s["state"])
        room = width - len(s["sweep"]) - len(counts) - (len(note) + 2 if note else 0) - 4
        length = min(40, room)
        text = Text(s["sweep"], style="bold")
        if length >= 8:
            full = round(length * min(1.0, s["done"] / max(1, s["trials"])))
            text.append("  ").append("━" * full, "green").append("─" * (length - full), "bright_black")
        text.append("  ").append(counts, "bold")
        return text.append(f"  {note}" if note else "", "yellow")

    def _states(self, width: int) -> Text:
        shown = [(k, n) for k, n in states_of(self.s).items() if n or k in ALWAYS]
        shown.sort(key=lambda state: (NARROW if width < 60 else WIDE).index(state[0]))
        text = Text()
        for i, (state, count) in enumerate(shown):
            text.append("  " if i else "").append(
                f"{count} {state}", STYLES.get(state, "") if count else "dim"
            )
        return text

    def _pace(self) -> Text:
        s, parts = self.s, []
        if s.get("rate") is not None:
            parts.append(pace(s["rate"]))
        parts.append(f"elapsed {duration(s['elapsed_seconds'])}")
        if s["state"] in ("running", "draining"):
            parts.append(f"ETA {duration(s['eta_seconds'])}")
            used = (s.get("resources") or {}).items()
            parts += [f"{kind} {busy:g}/{total:g}" for kind, (busy, total) in used]
        if s["evaluations"]:
            parts.append("evals " + evaluations_text(s["evaluations"]).replace(" evaluations", ""))
        return Text("  ".join(parts))

    def _place(self, i: int, one: Mapping[str, Any]) -> Text:
        text = Text("best  " if i == 0 else "      ", style="dim")
        text.append(f"{self.s.get('metric', '')} " if i == 0 else " " * (len(self.s.get("metric", "")) + 1))
        return text.append(f"{cell_text(one)}  ", "bold" if i == 0 else "").append(words(one["labels"]))

    def _failures(self) -> list[Text]:
        kinds = Counter(self.s.get("failures") or {}).most_common()
        whole = kinds if len(kinds) <= FAILURES else kinds[: FAILURES - 1]
        rest = ", ".join(f"{count} {kind}" for kind, count in kinds[len(whole) :])
        return [self._failure(*one) for one in whole] + ([Text(rest, style="red")] if rest else [])

    def _failure(self, kind: str, count: int) -> Text:
        said = (self.s.get("reasons") or {}).get(kind, {})
        text = Text(f"{count} {kind}", style="red")
        if said.get("reason"):
            text.append(f": {said['reason']}", "default")
        return text.append(f"  ({said['key'][:12]})" if said.get("key") else "", "dim")


def live(progress: Progress, console: Any) -> Live:
    """The live block on a terminal, drawn four times a second by a thread of its own."""
    return Live(
        console=console, refresh_per_second=4, transient=True,
        get_renderable=lambda: View(progress.snapshot()),
    )  # fmt: skip


def line(s: Mapping[str, Any]) -> str:
    """A snapshot as one line of text."""
    states = states_of(s)
    text = f"{s['done']}/{s['trials']} trials  {s['running']} running  {s['failed']} failed"
    for state in ("diverged", "pruned", "elsewhere"):
        text += f"  {states[state]} {state}" if states.get(state) else ""
    if s["evaluations"]:
        text += f"  {evaluations_text(s['evaluations'])}"
    if s.get("rate") is not None:
        text += f"  {pace(s['rate'])}"
    text += f"  elapsed {duration(s['elapsed_seconds'])}  ETA {duration(s['eta_seconds'])}"
    for one in top_of(s)[:1]:
        text += f"  best {s.get('metric', '')} {cell_text(one)} {words(one['labels'])}"
    return text


def states_of(s: Mapping[str, Any]) -> dict[str, int]:
    """Trials by state; fewer are told apart in what earlier versions wrote."""
    if "states" in s:
        return dict(s["states"])
    waiting = max(0, s["trials"] - s["done"] - s["running"] - s["failed"])
    return {"waiting": waiting, "running": s["running"], "done": s["done"], "failed": s["failed"]}


def top_of(s: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best cells; one of them in what the first versions wrote, which did not say what was planned."""
    if "top" in s:
        return [{"planned": one["seeds"], **one} for one in s["top"]]
    if not s.get("best"):
        return []
    best = {"planned": s["best"]["seeds"], "interval": None, **s["best"]}
    (name,) = best.keys() - {"labels", "seeds", "planned", "interval"}
    return [{"mean": best.pop(name), **best}]


def cell_text(one: Mapping[str, Any]) -> str:
    """A cell's mean, half its 95 % interval, and of how many seeds; of how many planned where some lack.

    >>> cell_text({"mean": 0.91234, "seeds": 3, "planned": 3, "interval": [0.90234, 0.92234]})
    '0.9123 ± 0.0100 (n=3)'
    >>> cell_text({"mean": 0.91234, "seeds": 1, "planned": 5, "interval": None})
    '0.9123 (n=1/5)'
    """
    half = f" ± {(one['interval'][1] - one['interval'][0]) / 2:.4f}" if one.get("interval") else ""
    of = f"/{one['planned']}" if one["seeds"] < one["planned"] else ""
    return f"{one['mean']:.4f}{half} (n={one['seeds']}{of})"


def pace(rate: float) -> str:
    """Jobs in a minute, or in an hour where that is less than one.

    >>> pace(12.34), pace(0.25)
    ('12.3/min', '15/h')
    """
    return f"{rate:.3g}/min" if rate >= 1 else f"{60 * rate:.3g}/h"


def pad(lines: list[Text], count: int) -> list[Text]:
    """So many lines, empty ones where there are fewer."""
    return lines[:count] + [Text() for _ in range(count - len(lines))]


def words(labels: Mapping[str, Any]) -> str:
    """Labels as ``epsilon=3 p=0.5``: the last part of each name, the whole where two would be alike."""
    short = Counter(name.rpartition(".")[2] for name in labels)
    parts = []
    for name, value in labels.items():
        last = name.rpartition(".")[2]
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts.append(shown if name == "point" else f"{last if short[last] == 1 else name}={shown}")
    return " ".join(parts) or "base trial"


def duration(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``, or ``-`` where it is not known."""
    if seconds is None:
        return "-"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def evaluations_text(counts: Mapping[str, int]) -> str:
    """Counts of evaluations in a few words.

    >>> evaluations_text({"evaluations": 6, "done": 4, "failed": 1, "impossible": 0})
    '4/6 evaluations (1 failed)'
    """
    bad = [f"{counts[state]} {state}" for state in ("failed", "impossible") if counts[state]]
    return f"{counts['done']}/{counts['evaluations']} evaluations" + (f" ({', '.join(bad)})" if bad else "")
