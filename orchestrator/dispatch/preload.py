"""What the workers of a Ray started here import while they wait for a first trial: torch and the engine."""

from __future__ import annotations

from importlib import import_module

from orchestrator.planning.garbage import imports

with imports():
    import_module("ray.tune")
    for name in ("evaluation", "gang", "member"):
        import_module(f"orchestrator.dispatch.{name}")
