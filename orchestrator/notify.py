"""Messages to a webhook when a sweep is done, has failed or has stalled.

One POST of JSON for each: ``text`` (Slack, Mattermost), ``content`` (Discord) and ``username`` for people;
``sweep``, ``state``, ``counts``, ``best``, ``report``, ``host`` for programs. Sent by a thread with a short
time-out and two more attempts; what cannot be sent is one warning, without the address.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from engine.errors import InputError, first_line
from orchestrator.dispatch.live import cell_text, states_of, top_of, words
from orchestrator.dispatch.progress import Progress
from orchestrator.planning.job import Job, Outcome
from orchestrator.sweepfile.notify import VARIABLE, Moment, Notify, legal, shown
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from orchestrator.options import Ended

TIMEOUT = 5.0
"""Seconds that one attempt may take to connect, and to be answered."""

PAUSES = (1.0, 3.0)
"""Seconds before the second and the third attempt."""

WAIT = 10.0
"""Seconds that the end of a run waits for its last message."""

Message = Mapping[str, Any]


class Webhook:
    """One address that messages are posted to, by a thread each.

    Args:
        url: of the webhook; it is never shown whole.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.threads: list[threading.Thread] = []

    def send(self, message: Message) -> None:
        """Post in a thread; trouble is one warning."""
        thread = threading.Thread(target=self._send, args=(message,), name="perturb-notify", daemon=True)
        self.threads.append(thread)
        thread.start()

    def close(self, timeout: float = WAIT) -> None:
        """Wait for what is on its way, at most so many seconds."""
        until = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))

    def post(self, message: Message) -> str:
        """Post, three times at most; returns what is wrong, or an empty text."""
        problem = ""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            problem, again = self._attempt(message)
            if not again:
                return problem
        return problem

    def _attempt(self, message: Message) -> tuple[str, bool]:
        """What is wrong, and whether another attempt may help."""
        body = json.dumps(message, default=str).encode()
        head = {"Content-Type": "application/json", "User-Agent": "perturb-sweeps"}
        request = urllib.request.Request(self._url, data=body, headers=head, method="POST")
        try:
            with _OPENER.open(request, timeout=TIMEOUT):
                return "", False
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answers {error.code}", error.code >= 500 or error.code == 429
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            return str(reason).replace(self._url, shown(self._url)) or type(error).__name__, True

    def _send(self, message: Message) -> None:
        problem = self.post(message)
        if problem:
            where = shown(self._url)
            logging.getLogger("perturb").warning("notification to %s was not taken: %s", where, problem)


class _Refuse(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and may lead anywhere."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        """None: the answer counts as an error."""


_OPENER = urllib.request.build_opener(_Refuse)


def webhook_of(sweep: Sweep) -> Webhook | None:
    """Where a sweep's messages go; None for nowhere.

    Raises:
        InputError: ``PERTURB_WEBHOOK`` holds no address.
    """
    url = sweep.webhook or os.environ.get(VARIABLE, "")
    if not url:
        return None
    if not legal(url):
        raise InputError(VARIABLE, "what it holds", "https://host/...")
    return Webhook(url)


class Notifier:
    """Tells a webhook how a run goes: a herald.

    Args:
        notify: when. webhook: whom. metric: that the best cell is chosen by.
    """

    def __init__(self, notify: Notify, webhook: Webhook, metric: str) -> None:
        self.notify, self.webhook, self.metric = notify, webhook, metric
        self.sweep = ""
        self.snapshot: dict[str, Any] = {}
        self.stalled = False

    def begun(self, sweep: str, counts: Mapping[str, int], evaluations: Mapping[str, int]) -> None:
        """Nothing is told."""
        self.sweep = sweep

    def started(self, job: Job) -> None:
        """Nothing is told."""

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """Nothing is told."""

    def again(self, job: Job, outcome: Outcome) -> None:
        """Nothing is told."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Nothing is told."""

    def warning(self, message: str) -> None:
        """Nothing is told."""

    def progress(self, progress: Progress) -> None:
        """Look whether anything moves; a stall is told once, until something does."""
        self.snapshot = progress.snapshot()
        idle = time.monotonic() - progress.moved
        waiting = progress.waiting() if progress.state == "running" else 0
        stalled = bool(progress.running or waiting) and idle > 60 * self.notify.stalled_minutes
        if stalled and not self.stalled:
            what = "nothing has ended" if progress.running else f"nothing runs, {waiting} jobs have waited"
            self._tell("stalled", f"stalled: {what} for {idle / 60:.0f} minutes", self.snapshot)
        self.stalled = stalled

    def ended(self, ended: Ended) -> None:
        """Done, or failed, also early; a run that was stopped on request or by its budget is neither."""
        counts, s = ended.counts, dict(self.snapshot)
        said = f"{counts['done']}/{counts['trials']} trials done, {counts['failed']} failed"
        s |= {"failures": ended.failures, "report": ended.report, "counts": counts}
        if ended.state in ("done", "failed"):
            why = f"; {ended.stopped}" if ended.broken else ""
            self._tell(ended.state, f"{ended.state}: {said}{why}", s)
        self.webhook.close()

    def died(self, error: BaseException) -> None:
        """An exception ended the run; one of the user's own, Ctrl-C, is not told."""
        if isinstance(error, Exception):
            said = f"failed: {type(error).__name__}: {first_line(error)}"
            self._tell("failed", said, self.snapshot)
        self.webhook.close()

    def _tell(self, moment: Moment, said: str, s: Message) -> None:
        if moment in self.notify.on:
            self.webhook.send(message(self.sweep, moment, said, s, self.metric))


def message(sweep: str, state: str, said: str, s: Message, metric: str) -> dict[str, Any]:
    """What is posted.

    Args:
        sweep: its name. state: ``done``, ``failed``, ``stalled`` or ``test``. said: it in words.
        s: a snapshot of its progress, with ``counts`` and ``report`` at its end; may be empty.
        metric: that the best cell is chosen by.
    """
    top = top_of(s)[:1]
    lines = [f"{sweep} {said}"]
    lines += [f"best {metric} {cell_text(one)} {words(one['labels'])}" for one in top]
    lines += [f"{count} failed: {kind}" for kind, count in (s.get("failures") or {}).items()]
    lines += [f"report {s['report']}"] if s.get("report") else []
    text = "\n".join(lines)
    about = ("labels", "mean", "seeds", "planned", "interval")
    best = {"metric": metric, **{name: top[0][name] for name in about}} if top else None
    counts = s.get("counts") or (states_of(s) if "trials" in s else {})
    return {
        "text": text,
        "content": text[:2000],
        "username": "perturb",
        "sweep": sweep,
        "state": state,
        "counts": dict(counts),
        "failures": dict(s.get("failures") or {}),
        "best": best,
        "report": s.get("report", ""),
        "host": socket.gethostname(),
    }


def notifier_of(sweep: Sweep) -> list[Notifier]:
    """The notifier of a sweep, none where nobody is to be told."""
    webhook = webhook_of(sweep)
    return [Notifier(sweep.notify, webhook, sweep.metric.name)] if webhook else []


def try_out(sweep: Sweep) -> str:
    """Send a message that says that messages arrive; returns where to, without the secret.

    Raises:
        InputError: there is no address, or it does not take the message.
    """
    webhook = webhook_of(sweep)
    if webhook is None:
        raise InputError("notify.url", "nothing", f"the address of a webhook, here or in {VARIABLE}")
    where = shown(webhook._url)
    problem = webhook.post(message(sweep.name, "test", "can send notifications", {}, sweep.metric.name))
    if problem:
        raise InputError("notify.url", where, f"a webhook that takes messages ({problem})")
    return where
