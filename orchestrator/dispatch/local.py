"""Ray itself: connected to, or started on this machine so that its first trial begins soon.

A worker process needs about four seconds for its imports, of which torch takes two. A Ray started here starts
a process for each CPU at once; these import what trials need while the driver gets ready, and Tune's first
actors get them. That takes liberties with Ray's insides, in :func:`prompt` and :func:`_spared`.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from engine.errors import InputError, first_line
from orchestrator.dispatch.thrifty import thrifty

# Read when ray is imported. Under `uv run` Ray would start each worker by `uv run` in a copy of the working
# folder, in an environment of its own that lacks what this one has.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# A worker that dies is told by its trial's row; Ray would print a paragraph to standard output.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "worker died or was killed|node with node id")

PRELOADED = "orchestrator.dispatch.preload"
"""What workers of a Ray started here import while they wait for their first trial."""

Patch = tuple[Any, str, Any]
"""Where, the name of an attribute, and what stands there instead."""

_starting = threading.Lock()
_started = ""
"""Address of the Ray that this process started; empty where it has started none."""


def start_ray(address: str | None, cpus: int | None, packages: list[str], preload: bool = False) -> None:
    """Connect to a cluster, or start Ray on this machine; nothing where that is done.

    Args:
        address: of a running cluster (``auto``, ``host:port``, ``ray://...``); None starts one here.
        cpus: of the one started here; None is all.
        packages: folders of code that the cluster's nodes get with the job.
        preload: whether the workers of one started here import torch while they wait.

    Raises:
        InputError: nothing answers at the address, or it wants another token.
    """
    global _started
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "0")
    import ray

    with _starting:  # one may be on its way
        if ray.is_initialized():
            return
        _reachable(address)
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address is None:
            if preload:
                os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
                # Ray ends workers that wait for a second; a trial that finds none waits four for a new one.
                os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
            with _replaced(_spared()):
                # never one that happens to run here
                ray.init("local", num_cpus=cpus, include_dashboard=False, **quiet)
            _started = ray.get_runtime_context().gcs_address
        else:
            try:
                ray.init(address, runtime_env={"py_modules": packages}, **quiet)
            except (ConnectionError, RuntimeError, ray.exceptions.AuthenticationError) as error:
                legal = f"a running Ray cluster that lets us in ({first_line(error)})"
                raise InputError("address", address, legal) from error


def begin_ray(cpus: int | None, preload: bool) -> Callable[[], None]:
    """Begin to start Ray on this machine; returns what waits for it and raises what it raised."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return lambda: None
    done: Future[None] = Future()

    def start() -> None:
        try:
            start_ray(None, cpus, [], preload)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)
        threading.Event().wait()  # Linux ends the processes that a thread has started when the thread ends

    threading.Thread(target=start, name="ray", daemon=True).start()
    # Python joins this one before it calls Ray's own handler at exit, which must not meet a start half done.
    threading.Thread(target=done.exception, name="ray-begun").start()
    return done.result


@contextmanager
def prompt() -> Iterator[None]:
    """Tune so that its first trial begins soon, and so that processes that are up stay up.

    Ray counts by whom its callbacks were made, for which it imports MLflow: a second before the first trial.
    And it gives Tune's actors some of the driver's environment, which the workers of a Ray that this process
    started have anyhow; without it they are such as wait already. What more is changed is in
    :mod:`orchestrator.dispatch.thrifty`.
    """
    import ray
    from ray.air._internal import usage
    from ray.tune.execution import class_cache, tune_controller

    wanted: list[Patch] = [(usage, "tag_callbacks", lambda callbacks: False)]
    if ray.get_runtime_context().gcs_address == _started:
        wanted += [(class_cache, "DEFAULT_ENV_VARS", {}), (class_cache, "ENV_VARS_TO_PROPAGATE", set())]
    wanted = [(place, name, value) for place, name, value in wanted if hasattr(place, name)]
    with _replaced(wanted + thrifty(tune_controller)):
        yield


def _spared() -> list[Patch]:
    """What a Ray started here can do without: three processes that import Ray for a second, to no purpose.

    They are the monitor that would add nodes, what would copy the workers' output to the driver, and the web
    server of a dashboard that is switched off, for which Ray waits before it starts what trials run in and
    again when it ends. Where the dashboard's packages are installed each node looks for that server every
    second, and it stays.
    """
    from ray._private.node import Node
    from ray._private.utils import get_dashboard_dependency_error

    names = ["start_monitor", "start_log_monitor"]
    if get_dashboard_dependency_error() is not None:
        names.append("start_api_server")
    return [(Node, name, lambda *_, **__: None) for name in names if hasattr(Node, name)]


@contextmanager
def _replaced(wanted: list[Patch]) -> Iterator[None]:
    """Attributes replaced inside the block."""
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def _reachable(address: str | None) -> None:
    """Ask an address that names a host before Ray does, which would try for a minute."""
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise InputError("address", address, f"host:port of a running Ray cluster ({error})") from None
