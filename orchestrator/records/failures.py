"""Why trials and evaluations fail, as rows tell it."""

from __future__ import annotations

from typing import Literal

FailureClass = Literal["error", "out of memory", "lost", "node", "time-out", "cancelled", "data"]
"""Why a trial failed: an exception, no memory left, its process or node gone too often, a node that fails
trials that run elsewhere, more time than it may take, the user's word, its data refused."""
