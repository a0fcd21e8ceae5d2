"""Notifications, to a server of our own on loopback."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from orchestrator import notify as module
from orchestrator.dispatch.progress import Progress
from orchestrator.driver import run
from orchestrator.notify import Notifier, Webhook, try_out, webhook_of
from orchestrator.options import Options
from orchestrator.planning.evaluations import Evaluated
from orchestrator.planning.job import Job, Outcome
from orchestrator.sweepfile.notify import VARIABLE, Notify
from orchestrator.sweepfile.parts import Metric
from tests.orchestrator.sweeps import breaking, sweep_of


class Host(ThreadingHTTPServer):
    """Takes messages; answers with the codes that it is given, then with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.codes: list[int] = []
        self.messages: list[dict[str, Any]] = []
        self.delay = 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/services/s3cr3t"


class Answer(BaseHTTPRequestHandler):
    server: Host

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.messages.append(json.loads(body))
        time.sleep(self.server.delay)
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01))
    monkeypatch.delenv(VARIABLE, raising=False)
    served = Host()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def local(folder: Path) -> Options:
    return Options(str(folder), local=True, track=False)


def test_a_sweep_that_is_done(tmp_path: Path, host: Host) -> None:
    run(sweep_of(notify={"url": host.url}), local(tmp_path))
    (told,) = host.messages
    assert told["text"] == told["content"]
    assert told["text"].startswith("small done: 3/3 trials done, 0 failed\nbest val.accuracy 0.")
    assert (told["sweep"], told["state"]) == ("small", "done")
    assert {name: told["counts"][name] for name in ("trials", "done", "failed")} == {
        "trials": 3, "done": 3, "failed": 0,
    }  # fmt: skip
    assert told["best"]["metric"] == "val.accuracy"
    assert (told["best"]["seeds"], told["best"]["planned"]) == (1, 1)
    assert told["report"].endswith("sweeps/small/report/report.html")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes(), path


def test_a_best_cell_that_lacks_seeds_is_told_as_such() -> None:
    progress, job = Progress("s", {"trials": 5, "done": 0}, Metric(), seeds=range(5)), Job("k", "c", 0, {})
    progress.finished(job, Outcome("k", "completed", best={"val.accuracy": 0.5}))
    told = module.message("s", "done", "done: 1/5 trials", progress.snapshot(), "val.accuracy")
    assert "best val.accuracy 0.5000 (n=1/5) base trial" in told["text"]
    assert (told["best"]["seeds"], told["best"]["planned"]) == (1, 5)


def test_a_sweep_that_failed_and_one_that_nobody_asked_about(tmp_path: Path, host: Host) -> None:
    run(breaking("raise", notify={"url": host.url}), local(tmp_path / "a"))
    (told,) = host.messages
    assert (told["state"], told["failures"]) == ("failed", {"error": 1})
    assert "1 failed: error" in told["text"]
    run(breaking("raise", notify={"url": host.url, "on": ["done", "stalled"]}), local(tmp_path / "b"))
    run(sweep_of(budget={"trials": 1}, notify={"url": host.url}), local(tmp_path / "c"))
    assert len(host.messages) == 1, "a run that its budget stopped has not ended"


def test_a_driver_that_died(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, *args: object) -> None:
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr("orchestrator.driver._Driver._dispatch", fail)
    with pytest.raises(RuntimeError):
        run(sweep_of(notify={"url": host.url}), local(tmp_path))
    (told,) = host.messages
    assert told["text"] == "small failed: RuntimeError: the cluster is gone"


def test_a_stall_is_told_once_until_something_moves(host: Host) -> None:
    notifier = Notifier(Notify(stalled_minutes=10), Webhook(host.url), "val.accuracy")
    notifier.begun("s", {}, {})
    told, job = Progress("s", {"trials": 2, "done": 0}, Metric()), Job("k", "c", 0, {})
    notifier.progress(told)
    told.started(job)
    notifier.progress(told)
    for _ in range(3):
        told.moved -= 700
        notifier.progress(told)
    told.epoch(job, 1, {})
    notifier.progress(told)
    told.moved -= 700
    notifier.progress(told)
    told.finished(job, Outcome("k", "completed"))
    notifier.progress(told)
    notifier.webhook.close()
    assert [one["state"] for one in host.messages] == ["stalled", "stalled"]
    assert host.messages[0]["counts"]["running"] == 1


@pytest.mark.parametrize(
    ("state", "aside", "trains", "told"),
    [("running", "", True, ["s stalled: nothing runs, 5 jobs have waited for 60 minutes"]),
     ("running", "", False, ["s stalled: nothing runs, 3 jobs have waited for 60 minutes"]),
     ("running", "a", True, ["s stalled: nothing runs, 2 jobs have waited for 60 minutes"]),
     ("running", "ab", True, []), ("draining", "", True, [])],
)  # fmt: skip
def test_jobs_that_wait_while_nothing_runs_are_a_stall(
    host: Host, state: str, aside: str, trains: bool, told: list[str]
) -> None:
    """Two trials, unless only evaluations are asked for, two evaluations of the first and one of the second;
    another driver may run the trials."""
    notifier = Notifier(Notify(stalled_minutes=10), Webhook(host.url), "val.accuracy")
    notifier.begun("s", {}, {})
    looks = {
        key: Job(key, "c", 0, {}, parent=key[0], evaluation={"label": "e"}) for key in ("a1", "a2", "b1")
    }
    waits = Evaluated(tuple(looks.values()), dict.fromkeys(looks, "waits"))
    progress = Progress("s", {"trials": 2, "done": 0}, Metric(), waits)
    progress.trains = trains
    progress.aside = {key: Job(key, "c", 0, {}) for key in aside}
    progress.state, progress.moved = state, progress.moved - 3600
    notifier.progress(progress)
    notifier.webhook.close()
    assert [one["text"] for one in host.messages] == told


def test_the_environment_gives_the_address(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert webhook_of(sweep_of()) is None
    with pytest.raises(InputError, match=r"notify\.url: nothing"):
        try_out(sweep_of())
    monkeypatch.setenv(VARIABLE, host.url)
    assert try_out(sweep_of()) == f"http://127.0.0.1:{host.server_port}/..."
    assert host.messages[0]["state"] == "test"
    monkeypatch.setenv(VARIABLE, "s3cr3t")
    with pytest.raises(InputError, match=VARIABLE) as caught:
        run(sweep_of(), local(tmp_path))
    assert "s3cr3t" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("codes", "attempts", "problem"),
    [
        ([500], 2, ""),
        ([503, 429], 3, ""),
        ([500, 500, 500, 200], 3, "it answers 500"),
        ([404, 200], 1, "it answers 404"),
        ([302], 1, "it answers 302"),
    ],
)
def test_attempts(host: Host, codes: list[int], attempts: int, problem: str) -> None:
    host.codes = codes
    assert Webhook(host.url).post({"text": "x"}) == problem
    assert len(host.messages) == attempts


def test_a_host_that_refuses_is_one_warning_without_the_address(
    host: Host, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{host.server_port}/s3cr3t"
    host.server_close()  # refuses from now on
    with caplog.at_level(logging.WARNING, logger="perturb"):
        ended = run(sweep_of(notify={"url": url}), local(tmp_path))
    assert ended.exit_code == 0
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "perturb"]
    assert warning.startswith(f"notification to http://127.0.0.1:{host.server_port}/... was not taken: ")
    assert "s3cr3t" not in caplog.text


def test_a_slow_host_holds_the_end_up_no_longer_than_it_may(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 30.0)
    host.delay = 2.0
    notifier = Notifier(Notify(), Webhook(host.url), "val.accuracy")
    start = time.monotonic()
    notifier.webhook.send({"text": "x"})
    assert time.monotonic() - start < 0.5
    notifier.webhook.close(0.2)
    assert time.monotonic() - start < 1.5
    notifier.webhook.close(10)


def test_a_host_that_never_answers_times_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    host.delay = 1.0
    assert "timed out" in Webhook(host.url).post({"text": "x"})
