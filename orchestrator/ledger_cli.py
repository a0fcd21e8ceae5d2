"""The commands ``perturb ledger``: what the store holds, as text, as files, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Look at the ledger, export it, compact it, check it.")
console = Console()

StoreOption = Annotated[
    str | None, typer.Option("--store", envvar="PERTURB_STORE", help="Where the ledger lives.")
]
SweepOption = Annotated[
    Path | None, typer.Option("--sweep", help="Only the trials of this sweep file.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def list_(
    status: Annotated[
        list[str], typer.Option(help="Only trials of this status; give it again for another.")
    ] = [],  # noqa: B006
    sweep: SweepOption = None,
    limit: Annotated[int, typer.Option(help="How many, the latest first; 0 for all.", min=0)] = 50,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """List the trials that finished last."""
    from orchestrator.api import ledger_rows
    from orchestrator.ledger_views import line_of, rows_view
    from orchestrator.records.store import Store
    from orchestrator.sweepfile.sweep import load

    loaded = None if sweep is None else load(sweep)
    metric = "val.accuracy" if loaded is None else loaded.metric.name
    rows = ledger_rows(store, status, loaded, limit or None)
    if as_json:
        print(json.dumps([line_of(row, metric) for row in rows]))
    else:
        console.print(rows_view(rows, metric, Store(store)))


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A trial's or evaluation's key, or how it begins.")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show all that the ledger says of one trial or evaluation."""
    from orchestrator.api import ledger_row
    from orchestrator.ledger_views import plain, row_view

    row = ledger_row(key, store)
    if as_json:
        print(json.dumps(plain(row)))
    else:
        console.print(row_view(row), highlight=False, soft_wrap=True)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A file that ends in .parquet or .csv.")],
    sweep: SweepOption = None,
    history: Annotated[bool, typer.Option("--history", help="A line for each epoch.")] = False,
    store: StoreOption = None,
) -> None:
    """Write the trials as one flat table, a line for each."""
    from orchestrator.api import ledger_export
    from orchestrator.sweepfile.sweep import load

    lines = ledger_export(file, store, None if sweep is None else load(sweep), history)
    console.print(f"{lines} {'epochs' if history else 'trials'} in {file}", highlight=False, soft_wrap=True)


@app.command()
def compact(store: StoreOption = None) -> None:
    """Bring rows that are files of their own together; `perturb run` does it by itself."""
    from orchestrator.api import ledger_compact

    did = ledger_compact(store)
    console.print(
        f"{did.rows} rows taken up, {did.merged} segments merged; the ledger is in {did.segments} segments",
        highlight=False,
    )


@app.command()
def verify(store: StoreOption = None, as_json: Json = False) -> None:
    """Read everything; set aside what is damaged, which the next run computes again."""
    from orchestrator.api import ledger_verify

    found = ledger_verify(store)
    if as_json:
        damaged = [
            {"file": d.file, "problem": d.problem, "kept": d.kept, "lost": d.lost} for d in found.damaged
        ]
        print(json.dumps({"trials": found.trials, "evaluations": found.evaluations, "files": found.files,
                          "unchecked": found.unchecked, "damaged": damaged}))  # fmt: skip
    else:
        told = f"{found.trials} trials and {found.evaluations} evaluations in {found.files} files are sound"
        if found.unchecked:
            told += f"; keys of {found.unchecked} evaluations by plugins could not be checked"
        if found.damaged:
            told += f"; {len(found.damaged)} damaged files were found"
        console.print(told, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if found.damaged else 0)
