"""What a population (``scheduler: {name: pbt}``) asks of the rest of the sweep file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.sweepfile.problems import Problem, illegal

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep


def population_problems(sweep: Sweep) -> Iterator[Problem]:
    """What contradicts a population, and settings that cannot vary within one."""
    rule = sweep.population
    if rule is None:
        return
    beside = {"search": sweep.search, "evaluations": sweep.evaluations, "seeds": sweep.sequential}
    for block, given in beside.items():
        if given:
            legal = "a number or a list of seeds" if block == "seeds" else "leave one of the two out"
            yield Problem((block,), f"is not legal beside scheduler: {{name: pbt}}: {legal}")
    for name, searched in rule.mutate.items():
        if not name.startswith("method."):  # a checkpoint holds the others, or hangs on them
            legal = "settings of the method, such as method.epsilon"
            yield Problem(("scheduler", "mutate", name), f"is not legal: {legal}")
        if searched.when:
            legal = "left out: in a population every setting exists"
            yield Problem(("scheduler", "mutate", name, "when"), illegal(searched.when, legal))
