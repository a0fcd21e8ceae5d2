"""The loss of a trained network under adversarial and random weight perturbations of growing size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.evaluations.base import Findings, Scalar, Subject
from engine.evaluations.loss import LossConfig
from engine.settings import Count, Positive

if TYPE_CHECKING:
    from engine.evaluations.scan import Point
    from engine.perturb.chain import Named

Line = tuple[Literal["adversarial", "random"], int]
"""Kind of the perturbation, and number of the draw."""


class Config(LossConfig):
    """rho(w + v) for v of size ||v_l|| = gamma ||w_l||, l running over the weight matrices.

        adversarial:  v_l = gamma ||w_l|| g_l / ||g_l||,  g = grad rho(w) over the chosen examples
        random:       v_l = gamma ||w_l|| d_l / ||d_l||,  d ~ N(0, 1)

    The weight matrices are the parameters of more than one dimension with "weight" in their names. With
    an adversarial loss the examples are attacked anew at w + v. Finished points are kept and shared out
    as those of ``landscape``.

    Attributes:
        gammas: sizes, each > 0; gamma = 0 is always measured.
        kind: which perturbations. draws: number of random ones for each gamma.
        size_norm: norm of v, g and w in the adversarial one.

    Findings:
        table ``weight_perturbation``: rows with ``kind``, ``draw``, ``gamma``, ``loss`` in nats and
            ``accuracy`` as a fraction; gamma = 0 once for every line.
        metrics ``loss`` and ``accuracy`` at w; ``adversarial_loss@GAMMA`` and ``random_loss@GAMMA``, the
            latter the mean over the draws.

    Source: AWP, Fig. 3(a) and section 5.3; Eq. 8 and 10 with A = K2 = 1.
    """

    name: Literal["weight_perturbation"]
    gammas: tuple[Positive, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    kind: Literal["adversarial", "random", "both"] = "both"
    draws: Count = 3
    size_norm: Literal["l2", "l1"] = "l2"

    @model_validator(mode="after")
    def _gammas_ascend(self) -> Self:
        if not self.gammas or list(self.gammas) != sorted(set(self.gammas)):
            raise InputError("gammas", list(self.gammas), "different numbers > 0, the smallest first")
        return self

    def lines(self) -> list[Line]:
        """The directions in weight space."""
        adversarial: list[Line] = [("adversarial", 0)] if self.kind != "random" else []
        draws = self.draws if self.kind != "adversarial" else 0
        return adversarial + [("random", i) for i in range(draws)]

    def run(self, subject: Subject) -> Findings:
        """Measure every point that is not kept from before."""
        from engine.evaluations.surroundings import Surroundings, scan_kept
        from engine.perturb.directions import weight_matrices
        from engine.perturb.weights import random_relative

        self.fit(subject.data.info)
        around = Surroundings.of(self, subject)
        w = {name: p.detach().clone() for name, p in weight_matrices(subject.network).items()}
        if not w:
            raise InputError("model", type(subject.network).__name__, "a network with weight matrices")
        worst = around.steepest(self.size_norm) if self.kind != "random" else {}

        def direction(line: Line) -> Named:
            return worst if line[0] == "adversarial" else random_relative(w, 1.0, self.seed, line[1])

        away = [(line, gamma) for line in self.lines() for gamma in self.gammas]

        def at(number: int) -> Point:
            if number == 0:
                return around.centre()
            line, gamma = away[number - 1]
            return around.moved([direction(line)], (gamma,))

        centre, *others = scan_kept(self, subject, around, 1 + len(away), at)
        found = dict(zip(away, others, strict=True))
        rows = [
            _row(line, gamma, found.get((line, gamma), centre))
            for line in self.lines()
            for gamma in (0.0, *self.gammas)
        ]
        metrics = {"loss": centre[0], "accuracy": centre[1], **self._means(found)}
        return Findings(metrics, {"weight_perturbation": rows}, examples=len(around.examples))

    def _means(self, found: dict[tuple[Line, float], Point]) -> dict[str, float]:
        """Mean loss over the lines of a kind."""
        means = {}
        for kind in dict.fromkeys(kind for kind, _ in self.lines()):
            for gamma in self.gammas:
                losses = [point[0] for (line, g), point in found.items() if line[0] == kind and g == gamma]
                means[f"{kind}_loss@{gamma:g}"] = sum(losses) / len(losses)
        return means


def _row(line: Line, gamma: float, point: Point) -> dict[str, Scalar]:
    return {"kind": line[0], "draw": line[1], "gamma": gamma, "loss": point[0], "accuracy": point[1]}
