"""How much each searched setting matters: fANOVA and PED-ANOVA over the cells that have a value."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.planning.space import Settings, distribution, kept
from orchestrator.sweepfile.parts import Searched

ENOUGH = 20
"""Cells with a value from which importances are given."""

MOST = 200
"""Cells that fANOVA is fitted to, drawn at random from more: its cost grows with their square."""

TOP = 5
"""Cells that PED-ANOVA's best quantile holds at least."""


@dataclass(frozen=True)
class Scores:
    """Shares that sum to 1, by setting.

    Attributes:
        fanova: share of the variance that a setting explains alone (Hutter et al., ICML 2014); of settings
            that every cell has: conditional ones are dropped.
        ped_anova: how far a setting's distribution among the best cells is from that among all (Watanabe et
            al., IJCAI 2023), conditional settings included (Ito et al., KDD 2026).
        n: cells with a value; fitted: those that fANOVA saw. quantile: the best cells of PED-ANOVA.
        dropped: conditional settings that fANOVA lacks. why: why there is no number; empty where there is.
    """

    fanova: Mapping[str, float]
    ped_anova: Mapping[str, float]
    n: int
    fitted: int = 0
    quantile: float = 0.0
    dropped: tuple[str, ...] = ()
    why: str = ""

    @property
    def settings(self) -> list[str]:
        """All settings, the one that matters most by PED-ANOVA first."""
        return sorted(self.ped_anova, key=lambda name: -self.ped_anova[name])


def importances(
    space: Mapping[str, Searched], cells: Sequence[tuple[Mapping[str, Any], float]], maximise: bool
) -> Scores:
    """Importances of the settings of a search.

    Args:
        space: what was searched. cells: settings and value of each. maximise: whether more is better.
    """
    if len(cells) < ENOUGH:
        return Scores({}, {}, len(cells), why=f"at least {ENOUGH} cells with a value; there are {len(cells)}")
    if len({value for _, value in cells}) == 1:
        return Scores({}, {}, len(cells), why="values that differ; those of all cells are the same")
    searched = tuple(sorted((name, one.model_dump_json()) for name, one in space.items()))
    return _scores(searched, tuple((json.dumps(dict(one)), value) for one, value in cells), maximise)


@lru_cache(maxsize=16)  # page, terminal and MLflow ask for the same, and fANOVA takes seconds
def _scores(
    searched: tuple[tuple[str, str], ...], cells: tuple[tuple[str, float], ...], maximise: bool
) -> Scores:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    space = {name: Searched.model_validate_json(text) for name, text in searched}
    points = [(json.loads(text), value) for text, value in cells]
    some = points if len(points) <= MOST else random.Random(0).sample(points, MOST)
    quantile = max(0.1, TOP / len(points))
    fanova = _evaluated(space, some, maximise, FanovaImportanceEvaluator(seed=0))
    ped_anova = _evaluated(space, points, maximise, PedAnovaImportanceEvaluator(target_quantile=quantile))
    dropped = tuple(name for name in ped_anova if name not in fanova)
    return Scores(fanova, ped_anova, len(points), len(some), quantile, dropped)


def _evaluated(
    space: Mapping[str, Searched], points: Sequence[tuple[Settings, float]], maximise: bool, evaluator: Any
) -> dict[str, float]:
    """What an evaluator says of a study of these cells, made in memory."""
    import optuna

    study = optuna.create_study(direction="maximize" if maximise else "minimize")
    kinds = {name: distribution(one) for name, one in space.items()}
    for settings, value in points:
        params = kept(settings, space)
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions={name: kinds[name] for name in params}, value=value
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of regimes with few cells, which stand in the report as n
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
