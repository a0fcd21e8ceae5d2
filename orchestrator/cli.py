"""The command ``perturb``: a thin skin over the Python API; heavy packages are imported where used."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from orchestrator.ledger_cli import app as ledger_app

if TYPE_CHECKING:
    from orchestrator.options import Options
    from orchestrator.records.store import Store
    from orchestrator.sweepfile.sweep import Sweep

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Sweeps of perturbation training: one file, hundreds of trials, one ledger, MLflow grids.",
)
app.add_typer(ledger_app, name="ledger")
console = Console()
errors = Console(stderr=True)

SweepFile = Annotated[Path, typer.Argument(help="The sweep file (YAML).", show_default=False)]
SweepName = Annotated[str, typer.Argument(help="A sweep file, or the name of a sweep in the store.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="Override a value, e.g. trial.epochs=1.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", envvar="PERTURB_STORE", help="Where ledger, checkpoints and reports live."),
]
Address = Annotated[str | None, typer.Option(help="A running Ray cluster: auto, host:port.")]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")]
Cpus = Annotated[int | None, typer.Option(help="CPUs of the Ray started here; all by default.")]
Track = Annotated[bool, typer.Option(help="Write to MLflow.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow server; a SQLite file of the store otherwise."),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
JsonEvents = Annotated[bool, typer.Option("--json", help="Print what happens as JSON, an object a line.")]


@app.command()
def plan(
    sweep: SweepFile,
    set_: Set = [],  # noqa: B006
    store: StoreOption = None,
    as_json: Json = False,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Time some steps of each kind of trial; kept in the store.")
    ] = False,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs to plan for; this machine's.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to plan for; this machine's.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster to plan for.")] = None,
) -> None:
    """Show what a sweep would train: cells, trials, done, to do, and what it will cost. Writes no row."""
    from orchestrator.costing import cluster_of, costed
    from orchestrator.dispatch.progress import progress_of
    from orchestrator.planning import preflight
    from orchestrator.planning.cost import as_json as cost_json
    from orchestrator.planning.plan import plan as plan_sweep
    from orchestrator.records.ledger import Ledger
    from orchestrator.stored import no_longer_counted

    loaded = _load(sweep, set_)
    ledger = Ledger(_store(store))
    last = progress_of(ledger.store, loaded.name)  # before the ledger: a driver that runs goes on meanwhile
    planned = plan_sweep(loaded, ledger)
    cluster = cluster_of(address, cpus, gpus)
    cost = costed(loaded, planned, ledger, cluster, _told if pilot else None)
    cells = preflight.cells_of(loaded, planned.grid)
    gone = no_longer_counted(loaded, planned, ledger.store, last)
    warnings = preflight.missing_data(cells) + preflight.advised(cells) + gone
    if as_json:
        counts = {**planned.counts(), "most": planned.most, "evaluations": planned.evaluated.counts()}
        print(json.dumps({"sweep": loaded.name, **counts, "warnings": warnings, "cost": cost_json(cost)}))
        return
    from orchestrator.views import plan_view

    console.print(plan_view(loaded, planned, _store(store), cost))
    for warning in warnings:
        errors.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)


@app.command()
def run(
    sweep: SweepFile,
    set_: Set = [],  # noqa: B006
    store: StoreOption = None,
    address: Address = None,
    local: Local = False,
    cpus: Cpus = None,
    track: Track = True,
    tracking_uri: TrackingUri = None,
    retrain: Annotated[
        bool,
        typer.Option("--retrain", help="Train trials again whose weights an evaluation needs and none kept."),
    ] = False,
    as_json: JsonEvents = False,
) -> None:
    """Train and evaluate what is left of a sweep, track it and report it; run it again to continue."""
    from orchestrator.options import Options

    options = Options(store, address, local, cpus, track, tracking_uri, retrain=retrain)
    _run(sweep, set_, options, as_json)


@app.command()
def evaluate(
    sweep: SweepFile,
    set_: Set = [],  # noqa: B006
    store: StoreOption = None,
    address: Address = None,
    local: Local = False,
    cpus: Cpus = None,
    track: Track = True,
    tracking_uri: TrackingUri = None,
    as_json: JsonEvents = False,
) -> None:
    """Run what is left of a sweep's evaluations, of trials that are done; nothing is trained."""
    from orchestrator.options import Options

    options = Options(store, address, local, cpus, track, tracking_uri, train=False)
    _run(sweep, set_, options, as_json)


def _run(sweep: Path, overrides: list[str], options: Options, as_json: bool) -> NoReturn:
    """Run a sweep, say how it ended, exit as it did."""
    from orchestrator.dispatch.events import Events
    from orchestrator.driver import run as run_sweep
    from orchestrator.sweepfile.notify import unsaid

    if options.address and (options.local or options.cpus):
        _fail("--address: stands alone: --local runs without Ray, --cpus is for a Ray started here")
    try:
        if as_json:
            events = Events(sys.stdout)
            with redirect_stdout(sys.stderr):  # whatever else is printed is no event
                ended = run_sweep(_load(sweep, overrides), options, None, events)
            raise typer.Exit(ended.exit_code)
        ended = run_sweep(_load(sweep, overrides), options, console)
    except KeyboardInterrupt:
        _fail("stopped at once; the same command continues from the last checkpoints", code=75)
    from orchestrator.views import ending

    place = _store(options.store)
    pages = options.uri or f"perturb ui --store {place.location}" if options.track else ""
    for line in ending(unsaid(sys.argv[1:]), ended, pages):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(ended.exit_code)


@app.command()
def simulate(
    sweep: SweepFile,
    slots: Annotated[int, typer.Option(help="Trials that run at once.")],
    set_: Set = [],  # noqa: B006
    minutes: Annotated[float, typer.Option(help="That a trial takes, where none is recorded.")] = 30.0,
    spread: Annotated[float, typer.Option(help="Relative deviation of that, over the trials.")] = 0.0,
    like: Annotated[
        str | None, typer.Option(help="A store whose trials are replayed, with their curves and times.")
    ] = None,
    lost: Annotated[float, typer.Option(help="Part of the attempts whose process dies.")] = 0.0,
    preempted: Annotated[float, typer.Option(help="Part of the attempts that lose their node.")] = 0.0,
    diverged: Annotated[float, typer.Option(help="Part of the attempts that diverge.")] = 0.0,
    errors_: Annotated[float, typer.Option("--errors", help="Part of the attempts that raise.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Show how a sweep would go on so many slots, under its searcher and scheduler; trains nothing."""
    from orchestrator.api import simulate as simulate_sweep
    from orchestrator.simulation.view import simulated_lines

    rates = {"lost": lost, "preempted": preempted, "diverged": diverged, "errors": errors_}
    found = simulate_sweep(_load(sweep, set_), slots, minutes, like, spread=spread, **rates)
    if as_json:
        print(json.dumps(found.json()))
        return
    for line in simulated_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def doctor(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file, whose needs are looked at.")] = None,
    set_: Set = [],  # noqa: B006
    store: StoreOption = None,
    address: Address = None,
    local: Annotated[bool, typer.Option("--local", help="Check this process only, without Ray.")] = False,
    track: Annotated[bool, typer.Option(help="Look at MLflow too.")] = True,
    tracking_uri: TrackingUri = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Check every node before a sweep: GPU, all-reduce, disk, data, store, MLflow, clock, versions."""
    from orchestrator.doctor.examine import examine
    from orchestrator.doctor.report import as_json as plain
    from orchestrator.doctor.report import exit_code, view
    from orchestrator.options import Options

    if address and local:
        _fail("--address: stands alone: --local checks this process only")
    loaded = _load(sweep, set_) if sweep else None
    found = examine(loaded, Options(store, address, local, track=track, uri=tracking_uri))
    if as_json:
        print(json.dumps(plain(found)))
    else:
        console.print(view(found), soft_wrap=True)
    raise typer.Exit(exit_code(found))


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(help="A sweep's file or name; all when left out.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show one sweep until its run ends.")] = False,
) -> None:
    """Show how sweeps stand, from the store alone."""
    from orchestrator.api import status as status_of

    name = _name(sweep) if sweep else None
    if watch:
        from orchestrator.stored import watch as watch_sweep

        if name is None or as_json:
            _fail("--watch: stands with the name of one sweep, and without --json")
        watch_sweep(lambda: status_of(name, store)[0], console)
    found = status_of(name, store)
    if as_json:
        print(json.dumps(found))
        return
    from orchestrator.views import status_view

    console.print(status_view(found, _store(store), whole=name is not None))


@app.command()
def notify(sweep: SweepFile, set_: Set = []) -> None:  # noqa: B006
    """Send a test message to the sweep's webhook."""
    from orchestrator.notify import try_out

    console.print(f"{try_out(_load(sweep, set_))} took the message", highlight=False)


@app.command()
def stop(sweep: SweepName, store: StoreOption = None) -> None:
    """Ask a running sweep to drain: its trials checkpoint, and `perturb run` continues them."""
    from orchestrator.api import stop as stop_sweep

    name = _name(sweep)
    state = stop_sweep(name, store)
    if state in ("running", "draining"):
        console.print(f"asked {name} to stop; `perturb status {name}` shows when it has")
    else:
        console.print(f"{name} is not running: {state}")


@app.command()
def cancel(
    sweep: SweepName,
    key: Annotated[str, typer.Argument(help="The trial's key, or how it begins.")],
    store: StoreOption = None,
) -> None:
    """Ask a running sweep to end one trial; the others go on, and the next `perturb run` starts it again."""
    from orchestrator.api import cancel as cancel_trial

    found = cancel_trial(_name(sweep), key, store)
    console.print(f"asked for the end of trial {found[:12]}", highlight=False)


@app.command()
def logs(
    key: Annotated[str, typer.Argument(help="A trial's or evaluation's key, or how it begins.")],
    store: StoreOption = None,
) -> None:
    """Print the log of a trial or an evaluation."""
    from orchestrator.api import logs as log_of

    print(log_of(key, store), end="")


@app.command()
def report(sweep: SweepFile, set_: Set = [], store: StoreOption = None) -> None:  # noqa: B006
    """Write and show a sweep's grids, curves and tables from what the ledger holds."""
    from orchestrator.api import report as report_sweep

    files, tables = report_sweep(_load(sweep, set_), store)
    for shown in tables:
        console.print(shown)
    console.print(f"report  {files[0]}", highlight=False, soft_wrap=True)


@app.command()
def track(
    sweep: SweepFile,
    set_: Set = [],  # noqa: B006
    store: StoreOption = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Bring MLflow up to date with the ledger; what is there already is not written twice."""
    from orchestrator.api import track as track_sweep

    track_sweep(_load(sweep, set_), store, tracking_uri)
    console.print("MLflow holds what the ledger holds")


@app.command()
def ui(
    store: StoreOption = None,
    port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
) -> None:
    """Open MLflow's pages on the store."""
    from orchestrator.ui import serve

    serve(_store(store), host, port)


@app.command()
def schema() -> None:
    """Print the sweep file's JSON Schema, for editors."""
    from orchestrator.sweepfile.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command()
def data(
    name: Annotated[
        str | None, typer.Argument(help="A data set to fetch; all are listed when left out.")
    ] = None,
    root: Annotated[Path | None, typer.Option(envvar="PERTURB_DATA", help="The data folder.")] = None,
) -> None:
    """List data sets and what is missing, or fetch one into the data folder."""
    from orchestrator.views import data_view

    if name is None:
        console.print(data_view(root))
        return
    if root is None:
        _fail("PERTURB_DATA: not set: give --root, the folder that data sets are kept in")
    from engine.data.fetch import fetch

    fetch(name, root)
    console.print(f"{name} is in {root}")


def main() -> None:
    """Entry point: errors of the user's making and of the system are a line each, others keep a traceback."""
    from orchestrator.planning.garbage import hasten

    hasten()  # before what is imported
    from engine.errors import InputError, first_line
    from orchestrator.records.claims import SweepHeld
    from orchestrator.sweepfile.problems import SweepError
    from orchestrator.tracking.track import TrackingError

    try:
        app()
    except (SweepError, InputError, TrackingError) as error:
        _fail(str(error))
    except SweepHeld as error:
        _fail(str(error), code=3)
    except OSError as error:
        if error.filename is None:
            _fail(f"{type(error).__name__}: {first_line(error)}")
        _fail(f"{error.filename}: {error.strerror}")


def _fail(text: str, code: int = 2) -> NoReturn:
    errors.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)


def _told(line: str) -> None:
    errors.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def _store(location: str | None) -> Store:
    from orchestrator.records.store import Store

    return Store(location)


def _load(path: Path, overrides: list[str]) -> Sweep:
    from orchestrator.sweepfile.sweep import load

    return load(path, overrides)


def _name(sweep: str) -> str:
    """The name of a sweep given by its file or its name."""
    if sweep.endswith((".yaml", ".yml")) and Path(sweep).is_file():
        return _load(Path(sweep), []).name
    return sweep


if __name__ == "__main__":
    main()
