"""The ``notify`` block of a sweep file, and how its address stays a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from engine.settings import Frozen, Positive
from orchestrator.sweepfile import overrides as setting
from orchestrator.sweepfile.overrides import Override
from orchestrator.sweepfile.problems import Problem
from orchestrator.sweepfile.yaml_file import YamlError, read_text

VARIABLE = "PERTURB_WEBHOOK"
"""The environment variable that holds the address where the file does not; also what stands in its place."""

Moment = Literal["done", "failed", "stalled"]


class Notify(Frozen):
    """Whom to tell how the sweep goes: one message to a webhook (Slack, Mattermost, Discord, your own).

    Attributes:
        url: of the webhook, https://... or http://...; by default what PERTURB_WEBHOOK holds, and nobody is
            told where that is not set. It is a secret: what is kept of the file has PERTURB_WEBHOOK in its
            place.
        on: which moments are told. done: ended, complete; failed: ended with failed trials, or by an error;
            stalled: trials run, but none has ended, and no epoch, for stalled_minutes.
        stalled_minutes: after which silence counts as stalled.
    """

    url: str = VARIABLE
    on: Annotated[tuple[Moment, ...], Field(min_length=1)] = ("done", "failed", "stalled")
    stalled_minutes: Positive = 30


def withhold(
    content: dict[str, Any], text: str, places: Sequence[Override]
) -> tuple[str, str, tuple[Override, ...], list[Problem]]:
    """Take the address out of a sweep before anything else is made of it.

    Args:
        content: the sweep's values, changed in place. text: of the file. places: what ``--set`` set.

    Returns:
        The address, empty where there is none; the text and the places without it; what is wrong with it.
    """
    block = content.get("notify")
    if isinstance(block, str):  # an address, most likely, which no message may show
        content["notify"] = {}
        return "", "", tuple(places), [Problem(("notify",), "is not legal: a mapping: {url: https://...}")]
    url = block.get("url") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(url, str) or url == VARIABLE:
        return "", text, tuple(places), []
    block["url"] = VARIABLE
    problem = Problem(("notify", "url"), f"is not legal: https://host/..., or {VARIABLE}: its variable")
    problems = [] if legal(url) else [problem]
    hidden = tuple((where, VARIABLE.join(given.split(url))) for where, given in places)
    found = text.replace(url, VARIABLE) if url else text
    try:
        same = read_text(found).content == content
    except YamlError:
        same = False
    if not same:  # written with escapes, or folded
        found = setting.written(content, hidden)
    return url, found, hidden, problems


def unsaid(words: Sequence[str]) -> list[str]:
    """A command's words without the address.

    >>> unsaid(["run", "a.yaml", "--set", "notify.url=https://hooks.example.org/secret"])
    ['run', 'a.yaml', '--set', 'notify.url=PERTURB_WEBHOOK']
    """
    return [re.sub(r"(?s)(notify(\.url)?=).*", rf"\1{VARIABLE}", word) for word in words]


def legal(url: str) -> bool:
    """Whether a text is an address that can be posted to."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and " " not in url
    except ValueError:
        return False


def shown(url: str) -> str:
    """An address without what makes it a secret.

    >>> shown("https://hooks.example.org:8443/services/T0/secret")
    'https://hooks.example.org:8443/...'
    """
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/..."
