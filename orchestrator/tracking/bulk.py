"""What a run lacks, written to MLflow's database in one transaction, where that database is at hand.

MLflow makes an object of each value and a transaction of each part of a call: 80 ms for a run of 100
epochs, of which this takes 15. It writes the tables of :mod:`mlflow.store.tracking.dbmodels.models` through
MLflow's own engine and session, exactly what ``log_batch`` and ``set_terminated`` would leave in them; a test
compares both. A server, another schema or a refusal for what is there already goes the long way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol


class Measured(Protocol):
    """A metric's value, as :class:`mlflow.entities.Metric` has it."""

    key: str
    value: float
    timestamp: int
    step: int


def database(client: Any) -> Any | None:
    """The SQLAlchemy store behind an ``MlflowClient``; None where there is another, or its insides differ."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    point = {"run_uuid", "key", "value", "timestamp", "step", "is_nan"}
    text = {"run_uuid", "key", "value"}
    wanted = ((SqlMetric, point), (SqlLatestMetric, point), (SqlParam, text), (SqlTag, text))
    if type(store) is not SqlAlchemyStore or not hasattr(store, "ManagedSessionMaker"):
        return None
    same = all(set(table.__table__.columns.keys()) == columns for table, columns in wanted)
    return store if same and {"status", "end_time"} <= set(SqlRun.__table__.columns.keys()) else None


@contextmanager
def together(store: Any) -> Iterator[None]:
    """All that this thread does with the store inside the block is one transaction, for a commit is a wait.

    An exception takes back all of it, and is raised as it is.

    Args:
        store: of :func:`database`; nothing changes where there is none.
    """
    if store is None:
        yield
        return
    usual, owner, depth = store.ManagedSessionMaker, threading.get_ident(), 0
    error: Exception | None = None
    with usual(read_only=False) as session:

        @contextmanager
        def shared(read_only: bool = True) -> Iterator[Any]:
            nonlocal depth
            if threading.get_ident() != owner:
                with usual(read_only=read_only) as other:
                    yield other
                return
            depth += 1
            try:
                yield session
                session.flush()
            finally:
                depth -= 1
            if not depth:
                session.expunge_all()  # what was read is stale once rows are written beside the objects

        store.ManagedSessionMaker = shared
        try:
            yield
        except Exception as raised:  # noqa: BLE001  MlflowException would be made of it on the way out
            session.rollback()
            error = raised
        finally:
            store.ManagedSessionMaker = usual
    if error is not None:
        raise error


def write(
    store: Any,
    run: str,
    metrics: Iterable[Measured],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    status: str | None = None,
    end: int | None = None,
) -> None:
    """Add to a run what it lacks.

    Args:
        store: of :func:`database`. run: its id. metrics, params: that it does not hold.
        tags: in place of those of the same name. status: of MLflow; None leaves it.
        end: in milliseconds since 1970; None for a run that waits or runs.

    Raises:
        MlflowException: the database refuses, or holds some of it; then nothing of it is written.
    """
    from mlflow.store.tracking.dbmodels.models import SqlMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import delete, insert, update

    points = list({tuple(point.values()): point for point in (_point(run, m) for m in metrics)}.values())
    with store.ManagedSessionMaker(read_only=False) as session:
        if points:
            session.execute(insert(SqlMetric), points)
            _latest(session, run, points)
        if params:
            session.execute(insert(SqlParam), _texts(run, params))
        if tags:
            session.execute(delete(SqlTag).where(SqlTag.run_uuid == run, SqlTag.key.in_(list(tags))))
            session.execute(insert(SqlTag), _texts(run, tags))
        if status is not None:
            session.execute(update(SqlRun).where(SqlRun.run_uuid == run).values(status=status, end_time=end))


def _latest(session: Any, run: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Keep each metric's latest point, by step, then time, then value."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric as Latest
    from sqlalchemy import delete, insert, select

    newest: dict[str, Mapping[str, Any]] = {}
    for point in points:
        if point["key"] not in newest or _age(point) > _age(newest[point["key"]]):
            newest[point["key"]] = point
    columns = (Latest.key, Latest.step, Latest.timestamp, Latest.value)
    for key, *age in session.execute(select(*columns).where(Latest.run_uuid == run)):
        if key in newest and _age(newest[key]) <= tuple(age):
            del newest[key]
    if newest:
        session.execute(delete(Latest).where(Latest.run_uuid == run, Latest.key.in_(list(newest))))
        session.execute(insert(Latest), list(newest.values()))


def _point(run: str, metric: Measured) -> dict[str, Any]:
    """NaN is kept as 0 with a mark, as MLflow does."""
    nan = metric.value != metric.value
    value = 0.0 if nan else metric.value
    return {
        "run_uuid": run, "key": metric.key, "value": value, "timestamp": metric.timestamp,
        "step": metric.step, "is_nan": nan,
    }  # fmt: skip


def _texts(run: str, values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"run_uuid": run, "key": key, "value": value} for key, value in values.items()]


def _age(point: Mapping[str, Any]) -> tuple[int, int, float]:
    return point["step"], point["timestamp"], point["value"]
