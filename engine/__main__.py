"""``python -m engine trial.yaml``: train one trial with no cluster software installed."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.errors import InputError

if TYPE_CHECKING:
    from engine.config import Trial
    from engine.evaluations.base import EvaluationConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the trial of a YAML file and print one line an epoch, then the result as JSON.

    With --evaluate, look at the weights that a finished trial kept instead, and print what is found.
    SIGINT and SIGTERM checkpoint and stop; the same command continues. Exit codes: 0 completed or
    diverged, 2 wrong input, 75 stopped and resumable.
    """
    parser = argparse.ArgumentParser(prog="python -m engine", description=main.__doc__)
    parser.add_argument("trial", type=Path, help="YAML file: the settings of a trial, and its seed")
    parser.add_argument("--folder", type=Path, default=Path("trials"), help="where checkpoints live")
    parser.add_argument("--keep", choices=["none", "best", "last", "both", "all"], default="none")
    parser.add_argument(
        "--micro", type=int, default=0, help="examples in one pass at most; the result stays the same"
    )
    parser.add_argument("--plugin", action="append", default=[], help="a file with a component of yours")
    parser.add_argument("--evaluate", type=Path, help="YAML file: a list of evaluations of kept weights")
    options = parser.parse_args(arguments)
    try:
        return _evaluate(options) if options.evaluate else _run(options)
    except _Wrong as error:
        print(*error.args, sep="\n", file=sys.stderr)
    except (InputError, ValidationError) as error:
        print(*_lines(options.trial, error), sep="\n", file=sys.stderr)
    return 2


class _Wrong(Exception):
    """Lines about a file other than the trial's."""


def _lines(file: Path, error: InputError | ValidationError, outer: str = "") -> list[str]:
    """One line for each thing that is wrong."""
    if isinstance(error, InputError):
        return [f"{file}: {error}"]
    lines = []
    for problem in error.errors():
        name = ".".join([outer] * bool(outer) + [str(part) for part in problem["loc"]]) or "trial"
        ours = problem.get("ctx", {}).get("error")
        line = ours if isinstance(ours, InputError) else f"{name}: {problem['input']!r}: {problem['msg']}"
        lines.append(f"{file}: {line}")
    return lines


def _run(options: argparse.Namespace) -> int:
    from engine.advice import advice
    from engine.components import load_plugin
    from engine.config import Trial
    from engine.distributed import from_environment
    from engine.identity import trial_key
    from engine.report import Event, Signal
    from engine.train import train

    for plugin in options.plugin:
        load_plugin(plugin)
    trial = Trial.model_validate(_read(options.trial))
    for line in advice(trial):
        print(f"warning: {line}", file=sys.stderr)
    key = trial_key(trial)
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: asked.append(n))

    def report(event: Event) -> Signal:
        if event.metrics:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            print(f"epoch {event.epoch}/{trial.epochs}  {shown}", flush=True)
        return "stop" if asked else "continue"

    parent = trial.parent()
    start = None
    if parent is not None and trial.init is not None:
        start = options.folder / trial_key(parent) / f"{trial.init.checkpoint}.pt"
    with from_environment() as workers:
        result = train(
            trial, report, options.folder / key,
            workers=workers, keep=options.keep, parent=start, micro=options.micro,
        )  # fmt: skip
    if workers.rank == 0:
        shown = {k: v for k, v in asdict(result).items() if k not in ("correct", "history")}
        print(json.dumps(_finite({"key": key, **shown}), indent=2))
    return 75 if result.status == "stopped" else 0


def _evaluate(options: argparse.Namespace) -> int:
    from engine.components import load_plugin
    from engine.config import Trial
    from engine.distributed import from_environment
    from engine.evaluations.run import evaluate_checkpoint
    from engine.identity import evaluation_key, trial_key

    for plugin in options.plugin:
        load_plugin(plugin)
    trial = Trial.model_validate(_read(options.trial))
    configs = _evaluations(options.evaluate, trial)
    folder = options.folder / trial_key(trial)
    found = []
    with from_environment() as workers:
        for config in configs:
            key = evaluation_key(trial, config)
            weights = folder / f"{config.checkpoint}.pt"
            findings = evaluate_checkpoint(trial, config, weights, workers, folder / "evaluations" / key)
            shown = {k: v for k, v in asdict(findings).items() if k != "correct"}
            found.append({"key": key, "evaluation": config.canonical(), **shown})
    if workers.rank == 0:
        print(json.dumps(_finite(found), indent=2))
    return 0


def _evaluations(path: Path, trial: Trial) -> list[EvaluationConfig]:
    """The evaluations of a YAML file, all of them checked before the first one starts."""
    from engine.evaluations.nested import evaluation

    configs = []
    place = "evaluations"
    try:
        listed = _read(path, place)
        if not isinstance(listed, list):
            raise InputError(place, repr(listed), "a list of evaluations, each a name or a mapping")
        for i, settings in enumerate(listed):
            place = f"evaluations.{i}"
            configs.append(evaluation(settings, place))
            configs[-1].check(trial.data.info(), trial.model_info)
    except (InputError, ValidationError) as error:
        raise _Wrong(*_lines(path, error, place)) from None
    return configs


def _read(path: Path, name: str = "trial") -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(name, str(path), f"a text file in UTF-8 ({error.reason})") from None
    except OSError as error:
        raise InputError(name, str(path), f"a file that can be read ({error.strerror})") from None
    except YAMLError as error:
        raise InputError(name, str(path), f"YAML 1.2 ({' '.join(str(error).split())})") from None


def _finite(value: Any) -> Any:
    """The value with NaN and infinity, which JSON has no words for, as null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
