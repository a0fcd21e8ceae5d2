"""A sweep's runs in MLflow, made to say what the ledger says.

Experiment ``<sweep>`` holds one parent run for the sweep (``kind=sweep``) and a child for each cell
(``kind=cell``): mean, deviation, interval and n over its seeds. Experiment ``<sweep>/trials`` holds the
trials (``kind=trial``) with their epochs and their evaluations. Runs are found by their tags, so that nothing
is doubled. A run that disagrees with the ledger is replaced, for MLflow cannot take back what it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.facts import progress
from orchestrator.reports.summary import MetricLike, chosen_rows, summarise
from orchestrator.reports.words import in_line, labels_text, slug
from orchestrator.tracking.mlflow_store import (
    PARENT,
    Client,
    Conflict,
    Known,
    Value,
    finite,
    metric_name,
    now_ms,
)
from orchestrator.tracking.record import (
    ENDED,
    EVALUATION,
    agree,
    as_kept,
    cell_metrics,
    columns_of,
    digest,
    epochs_of,
    evaluation_tags,
    is_final,
    lacking,
    measured,
    moment,
    outdated,
    params_of,
    row_tags,
    shared_labels,
    table_columns,
    times,
    tracked_mark,
)

TOGETHER = 25
"""Trials or cells that are told in one transaction; MLflow's pages wait for it, about half a second."""

WAITING = "SCHEDULED"
"""MLflow's status of a run that waits for trials."""


class Book:
    """One sweep's runs in MLflow. Every method talks to MLflow and raises what it raises.

    Args:
        client: the tracking store. name: of the sweep.
        points: places of the sweep, for names and params. metric, seeds: what a cell is summarised by.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        points: Sequence[Point],
        metric: MetricLike,
        seeds: Sequence[int],
    ) -> None:
        self.client, self.name, self.metric, self.seeds = client, name, metric, seeds
        self.labels = shared_labels(points)
        self.reload()

    def reload(self) -> None:
        """Look at what MLflow holds."""
        client, name = self.client, self.name
        self.sweep_id = client.experiment(name)
        self.trials_id = client.experiment(f"{name}/trials")
        self.trials = client.runs(self.trials_id, "key")
        self.cells = client.runs(self.sweep_id, "cell")
        self.epochs: dict[str, dict[int, dict[str, float]]] = {}
        parents = client.runs(self.sweep_id, "sweep", "sweep")
        self.parent = parents.get(name) or self._new_parent()

    def each(self, act: Callable[[Any], object], whole: Iterable[Any]) -> None:
        """Do something for each of many, in few transactions.

        Args:
            act: tells MLflow of one. whole: all of them.
        """
        for some in batched(whole, TOGETHER):
            try:
                with self.client.together():
                    for one in some:
                        act(one)
            except Conflict:
                self.reload()
                for one in some:
                    act(one)

    def begin(self) -> None:
        """The sweep runs."""
        self.client.log(self.parent, status="RUNNING")

    def pause(self) -> None:
        """The sweep runs no longer; nothing changes where its end was told."""
        if self.parent.status == "RUNNING":
            self.client.log(self.parent, status=WAITING)

    def start(self, key: str, cell: str, labels: Mapping[str, Any], seed: int) -> Known:
        """The run of a trial that trains now; an earlier attempt's run is taken up again."""
        run = self.trials.get(key)
        if run is None:
            run = self._new_trial(key, cell, labels, seed, now_ms())
            self.client.log(run, params=self._params(cell, seed))
            return run
        if run.status != "RUNNING":
            self.client.log(run, tags={"status": "running", "tracked": "no"}, status="RUNNING")
        return run

    def epoch(self, key: str, reports: Iterable[tuple[int, Mapping[str, float], int]]) -> None:
        """Epochs of a trial that was started: (epoch, metrics, time in ms); known ones are passed over.

        An epoch comes twice where the trial went back to a checkpoint; it says the same.
        """
        run = self.trials[key]
        known = self._logged(key, run)
        fresh: dict[int, tuple[Mapping[str, float], int]] = {}
        for epoch, metrics, when in reports:
            if epoch not in known:
                fresh.setdefault(epoch, (measured(metrics), when))
        values = [Value(n, v, when, epoch) for epoch, (kept, when) in fresh.items() for n, v in kept.items()]
        if values:
            self.client.log(run, values)
        known.update(as_kept({epoch: kept for epoch, (kept, _) in fresh.items()}))

    def finish(self, row: Row) -> None:
        """Make the run of a trial say what its row and its evaluations say."""
        run = self.trials.get(row.key)
        if run is not None and outdated(run.tags, evaluation_tags(row)):
            self.client.delete(run)
            del self.trials[row.key]
            self.epochs.pop(row.key, None)
        self._finish(row)
        for label in row.evaluations:
            self._evaluation(self.trials[row.key], row, label)

    def _evaluation(self, run: Known, row: Row, label: str) -> None:
        """Bring an evaluation to its trial's run: metrics and tables, then the tag that says so."""
        one, name = row.evaluations[label], f"{EVALUATION}{label}"
        wanted = evaluation_tags(row)[name]
        if run.tags.get(name) == wanted:
            return
        end = moment(one.finished)
        for table, lines in one.tables.items():
            self.client.table(run, columns_of(lines), f"evaluations/{slug(label)}.{slug(table)}.json")
        values = [Value(f"{label}.{measure}", value, end) for measure, value in one.metrics.items()]
        self.client.log(run, values, tags={name: wanted})

    def _finish(self, row: Row) -> None:
        run = self.trials.get(row.key)
        if run is not None and run.tags.get("tracked") == tracked_mark(row):
            if run.status != ENDED[row.status]:
                self.client.log(run, status=ENDED[row.status], end=times(row)[1])
            return
        labels, history = self.labels.get(row.cell, {}), as_kept(epochs_of(row))
        known = self._logged(row.key, run) if run is not None else {}
        wanted = self._params(row.cell, row.seed)
        if run is not None and not (agree(known, history) and run.params == wanted):
            self.client.delete(run)
            run, known = None, {}
        start, end = times(row)
        if run is None:
            run = self._new_trial(row.key, row.cell, labels, row.seed, start)
        self.client.log(
            run, lacking(row, history, known, run.metrics), wanted, row_tags(row), ENDED[row.status], end
        )
        self.epochs.pop(row.key, None)  # asked of MLflow should the row ever change

    def cell(self, cell: str, rows: Sequence[Row]) -> None:
        """Make the run of a cell say what its rows say; a run with nothing to change is left alone."""
        rows = chosen_rows([cell], rows, self.seeds)
        summary = summarise([cell], rows, self.metric, self.seeds)[cell]
        wanted = {metric_name(k): finite(v) for k, v in cell_metrics(summary, rows, self.seeds).items()}
        labels = self.labels.get(cell, {})
        params, run = params_of(labels), self.cells.get(cell)
        if run is not None and not (set(run.metrics) <= set(wanted) and run.params == params):
            self.client.delete(run)
            run = None
        if run is None:
            tags = {"kind": "cell", "cell": cell, PARENT: self.parent.id}
            run = self.client.create(self.sweep_id, labels_text(labels) or "base trial", now_ms(), tags)
            self.cells[cell] = run
        when = now_ms()
        changed = [Value(k, v, when) for k, v in wanted.items() if run.metrics.get(k) != v]
        tags = {"shown": in_line(summary, self.metric), "failures": summary.mark}
        fresh = {key: value for key, value in tags.items() if run.tags.get(key, "") != value}
        status = WAITING if summary.missing else "FINISHED" if summary.n else "FAILED"
        self.client.log(run, changed, params, fresh, status)

    def sweep(
        self,
        points: Sequence[Point],
        rows: Sequence[Row],
        drawings: Sequence[Drawing],
        files: Sequence[Path],
        about: Mapping[str, str],
    ) -> None:
        """Make the parent say what the whole sweep says: counts, tables, curves, report files."""
        keys = list(dict.fromkeys(point.cell for point in points))
        counts = progress(keys, chosen_rows(keys, rows, self.seeds), self.seeds)
        wanted = {f"trials.{state}": float(count) for state, count in counts.items()}
        when = now_ms()
        values = [
            Value(k, v, when) for k, v in wanted.items() if self.parent.metrics.get(metric_name(k)) != v
        ]
        for drawing in drawings:
            values += self._curve(drawing, when)
        carried = digest(drawings, files)
        if self.parent.tags.get("artifacts") != carried:
            for drawing in drawings:
                self.client.table(self.parent, table_columns(drawing), f"{drawing.name}.json")
            self.client.files(self.parent, files, "report")
        tags = {**about, "artifacts": carried}
        fresh = {key: value for key, value in tags.items() if self.parent.tags.get(key) != value}
        status = WAITING if counts["not run"] else "FINISHED"
        self.client.log(self.parent, values, tags=fresh, status=status)

    def stop(self, key: str) -> None:
        """Close the run of a trial that was interrupted; it is taken up again when the trial is."""
        run = self.trials.get(key)
        if run is not None and run.status == "RUNNING":
            self.client.log(run, tags={"status": "stopped"}, status="KILLED")

    def _new_parent(self) -> Known:
        return self.client.create(self.sweep_id, self.name, now_ms(), {"kind": "sweep", "sweep": self.name})

    def _new_trial(self, key: str, cell: str, labels: Mapping[str, Any], seed: int, start: int) -> Known:
        labels = self.labels.setdefault(cell, dict(labels))
        tags = {"kind": "trial", "key": key, "cell": cell, "seed": str(seed), "status": "running"}
        name = f"{labels_text(labels) or 'base trial'}, seed {seed}"
        run = self.client.create(self.trials_id, name, start, tags)
        self.trials[key], self.epochs[key] = run, {}
        return run

    def _params(self, cell: str, seed: int) -> dict[str, str]:
        return params_of(self.labels.get(cell, {})) | {"seed": str(seed)}

    def _logged(self, key: str, run: Known) -> dict[int, dict[str, float]]:
        """Epochs that a run holds, asked of MLflow once."""
        if key not in self.epochs:
            found: dict[int, dict[str, float]] = {}
            for name in run.metrics:
                if not is_final(name, run.tags):
                    for step, value in self.client.history(run, name):
                        found.setdefault(step, {})[name] = value
            self.epochs[key] = found
        return self.epochs[key]

    def _curve(self, drawing: Drawing, when: int) -> list[Value]:
        """Points of curves that the parent lacks, of complete cells; steps are whole, so every x must be."""
        values = []
        whole = [line for line in drawing.lines if all(x == int(x) for x, _ in line.places)]
        for line in whole:
            name = metric_name(".".join(filter(None, ["curve", line.name, drawing.metric.name])))
            known = dict(self.client.history(self.parent, name)) if name in self.parent.metrics else {}
            values += [
                Value(name, cell.mean, when, int(x))
                for x, cell in line.places
                if cell.complete and known.get(int(x)) != cell.mean
            ]
        return values


def batched(whole: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """In lists of a size, the last one shorter."""
    rest = iter(whole)
    while some := list(islice(rest, size)):
        yield some
