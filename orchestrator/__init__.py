"""Sweeps of perturbation training: planned against a ledger, dispatched by Ray Tune, shown by MLflow.

    import orchestrator

    sweep = orchestrator.load("sweeps/quickstart.yaml", ["trial.epochs=2"])
    print(orchestrator.plan(sweep).counts())
    ended = orchestrator.run(sweep)

The command ``perturb`` is a thin skin over these calls.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import (
        Options,
        Sweep,
        cancel,
        evaluate,
        evaluations,
        examine,
        from_dict,
        ledger_compact,
        ledger_export,
        ledger_row,
        ledger_rows,
        ledger_verify,
        load,
        logs,
        plan,
        report,
        run,
        simulate,
        status,
        stop,
        track,
    )  # fmt: skip

__all__ = [
    "Options", "Sweep", "cancel", "evaluate", "evaluations", "examine", "from_dict", "ledger_compact",
    "ledger_export", "ledger_row", "ledger_rows", "ledger_verify", "load", "logs", "plan", "report",
    "run", "simulate", "status", "stop", "track",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The calls, imported when first used, so that ``perturb --help`` stays quick."""
    if name in __all__:
        return getattr(import_module("orchestrator.api"), name)
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
