"""What is shown while a sweep runs: lines where the output is a file, a block on a terminal."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.dispatch import pulse
from orchestrator.dispatch.live import HEIGHT, live
from orchestrator.dispatch.progress import Progress
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.failures import FailureClass
from orchestrator.sweepfile.parts import Metric
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.screens import Screen
from tests.orchestrator.sweeps import scripted

ROWS = 24
"""Of a terminal as it is opened."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain line at each beat, of which there is one a second."""
    monkeypatch.setattr(pulse, "PLAIN_SECONDS", 0)


def waiting(go: Path) -> Sweep:
    """Two trials, of which the second ends when something stands in the file."""
    go.touch()
    return scripted(["report:0.5"], [f"on:{go}", "memory:0", "report:0.75"])  # ``on`` waits for a node's id


@contextmanager
def going(go: Path, seen: Callable[[], object]) -> Iterator[None]:
    """Let the trial that waits end once something was seen, or in vain, which the assertions then tell."""

    def wait() -> None:
        ends = time.monotonic() + 60
        while not seen() and time.monotonic() < ends:
            time.sleep(0.02)
        go.write_text("-")

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def begins(count: int) -> re.Pattern[str]:
    """Such a line of progress."""
    return re.compile(rf"^{count}/2 trials  {2 - count} running  0 failed.*  elapsed .*", re.MULTILINE)


def test_a_file_gets_lines(tmp_path: Path) -> None:
    out, go = StringIO(), tmp_path / "go"
    console = Console(file=out, width=100, _environ={})
    with going(go, lambda: len(begins(1).findall(out.getvalue())) >= 3):
        ended = run(waiting(go), Options(str(tmp_path / "store"), local=True, track=False), console)
    text = out.getvalue()
    assert ended.exit_code == 0
    assert len(begins(1).findall(text)) >= 3, "while the second trial ran"
    assert all("best val.accuracy 0.5000" in line for line in begins(1).findall(text))
    (last,) = begins(2).findall(text)
    assert "best val.accuracy 0.7500" in last
    assert "waiting" not in text, "no block"
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_terminal_has_a_block_while_it_runs(tmp_path: Path) -> None:
    screen, go, progress = Screen(), tmp_path / "go", tmp_path / "store/sweeps/scripted/progress.json"
    shown, written = list[str](), set[int]()

    def seen() -> bool:
        """The second trial runs, and what would print lines has had a whole beat since it wrote at first."""
        shown.append(screen.text)
        if progress.exists():
            written.add(progress.stat().st_mtime_ns)
        return "1 running  1 done" in shown[-1] and len(written) >= 3

    with going(go, seen):
        sweep, options = waiting(go), Options(str(tmp_path / "store"), local=True, track=False)
        ended = run(sweep, options, screen.console(height=ROWS))
    assert ended.exit_code == 0
    for part in ("scripted  ━", "1/2 trials", "0 waiting  1 running  1 done", "best  val.accuracy 0.5000"):
        assert part in shown[-1]
    assert "\x1b[?25l" in screen.getvalue(), "the cursor would blink in the block"
    assert screen.cursor
    assert "━" not in screen.text, "the block is gone"
    assert "waiting" not in screen.text
    assert begins(1).findall(screen.text) == [], "no lines beside the block"
    assert len(begins(2).findall(screen.text)) == 1, "one at the end"


def test_the_cursor_comes_back_where_a_run_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()

    def breaks(*words: object) -> None:
        assert not screen.cursor
        raise RuntimeError("broken")

    monkeypatch.setattr("orchestrator.dispatching.run_here", breaks)
    with pytest.raises(RuntimeError, match="broken"):
        run(scripted(["report:0.5"]), Options(str(tmp_path), local=True, track=False), screen.console())
    assert screen.cursor


def test_a_thousand_trials_fit_on_a_screen() -> None:
    told = Progress("large", {"trials": 1000, "done": 0}, Metric())
    kinds: tuple[FailureClass, ...] = ("error", "lost", "out of memory")
    for i in range(900):
        job = Job(f"{i:012}", f"c{i // 2}", i % 2, {}, labels={"method.p": i // 2})
        told.started(job)
        if i < 600:
            told.finished(job, Outcome(job.key, "completed", best={"val.accuracy": i / 1000}))
        elif i < 700:
            told.finished(job, Outcome(job.key, "failed", kinds[i % 3], "at length: " + "x" * 200))
    screen = Screen()
    with live(told, screen.console(height=ROWS)) as block:
        block.refresh()
        block.refresh()
    assert screen.up == HEIGHT, "all of it, since what does not fit is cut"
    assert screen.up < ROWS, "the line of the cursor too"
    assert screen.text.strip() == ""
