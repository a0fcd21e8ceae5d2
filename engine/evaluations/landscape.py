"""The loss along lines or over planes through the trained weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.evaluations.base import Findings, Scalar, Subject
from engine.evaluations.histogram import Span, refuse_empty
from engine.evaluations.loss import LossConfig
from engine.settings import Count, Positive

if TYPE_CHECKING:
    from engine.evaluations.scan import Point
    from engine.evaluations.surroundings import Surroundings
    from engine.perturb.chain import Named

Place = tuple[float, ...]
"""(alpha,) or (alpha, beta)."""


class Config(LossConfig):
    """g(alpha) = rho(w + alpha d), or g(alpha, beta) = rho(w + alpha d + beta e), on a grid around w.

    d and e are Gaussian and filter-normalised; buffers stay as they are, in eval mode, and the weights
    are put back bit for bit. Finished points are kept in the subject's folder, so that an interrupted
    landscape goes on where it was. Points are shared out over the workers; g does not depend on their
    number (but for rounding in an adversarial direction, whose gradient they add up).

    Attributes:
        dimensions: 1 or 2. points: along each axis. span: first and last alpha. span_beta: first and last
            beta; None takes ``span`` (an adversarial alpha of 0.01 weighs as much as a random beta of 0.5).
        directions: number of random lines, or planes (10 lines in AWP's appendix B.2).
        along: direction of alpha: ``random``, or ``adversarial``: ||w_l|| g_l / ||g_l|| for each weight
            matrix l, with g the gradient of the same loss at w, so that alpha is AWP's gamma. beta's is
            random in either case. An adversarial line needs no repetition.
        vectors: whether tensors of one dimension stay ``fixed`` or are ``moved``, each element by plus or
            minus its own size.
        radius: of the ball that ``sharpness`` is a mean over; None takes the whole grid.

    Findings:
        table ``landscape``: a row for each point with ``direction`` (its number), ``alpha``, in two
            dimensions ``beta``, ``loss`` g, ``relative`` |g - g(0)|, and ``accuracy`` as a fraction.
        metrics ``loss`` and ``accuracy`` at w; ``sharpness``: the mean of |g - g(0)| over the grid points
            of all directions but the centre, in nats; ``sharpness@R`` over those with
            0 < ||(alpha, beta)|| <= R.

    Source: Li et al. (2018); AWP, Eq. 5, Algorithm 1 and Fig. 6 (which plots ``relative``); DropAttack,
    Eq. 14 and Fig. 3, 5 and 6 (the test loss over [-1.5, 1.5]^2; its notebook moves the vectors).
    """

    name: Literal["landscape"]
    dimensions: Literal[1, 2] = 1
    points: Count = 51
    span: Span = (-1.0, 1.0)
    span_beta: Span | None = None
    directions: Count = 1
    along: Literal["random", "adversarial"] = "random"
    vectors: Literal["fixed", "moved"] = "fixed"
    radius: Positive | None = None

    @model_validator(mode="after")
    def _holds_a_point(self) -> Self:
        refuse_empty(self.span)
        refuse_empty(self.span_beta, "span_beta")
        if self.dimensions == 1 and self.along == "adversarial" and self.directions > 1:
            raise InputError("directions", self.directions, "1: there is one adversarial line")
        if self.points < 2:
            raise InputError("points", self.points, "a whole number >= 2")
        near = min(size for place in self.places() if (size := math.hypot(*place)) > 0)
        if self.radius is not None and self.radius < near:
            raise InputError("radius", self.radius, f"at least {near:.4g}, the grid point nearest to 0")
        return self

    def places(self) -> list[Place]:
        """The grid of one direction or plane, beta running faster than alpha."""
        spans = [self.span, self.span_beta or self.span][: self.dimensions]
        return list(product(*(_axis(span, self.points) for span in spans)))

    def run(self, subject: Subject) -> Findings:
        """Measure every point that is not kept from before."""
        from engine.evaluations.surroundings import Surroundings, scan_kept

        self.fit(subject.data.info)
        around = Surroundings.of(self, subject)
        grid = self.places()
        # The centre is one point for all directions, and on no grid of an even number of points.
        away = [(d, place) for d in range(self.directions) for place in grid if any(place)]
        axes = self._axes(around)

        def at(number: int) -> Point:
            if number == 0:
                return around.centre()
            d, place = away[number - 1]
            return around.moved(axes(d), place)

        centre, *others = scan_kept(self, subject, around, 1 + len(away), at)
        found = dict(zip(away, others, strict=True))
        rows = [
            _row(d, place, found.get((d, place), centre), centre)
            for d in range(self.directions)
            for place in grid
        ]
        metrics = {"loss": centre[0], "accuracy": centre[1], **self._sharpness(found, centre)}
        return Findings(metrics, {"landscape": rows}, examples=len(around.examples))

    def _sharpness(self, found: dict[tuple[int, Place], Point], centre: Point) -> dict[str, float]:
        radius = math.inf if self.radius is None else self.radius
        rises = [abs(g - centre[0]) for (_, place), (g, _) in found.items() if math.hypot(*place) <= radius]
        name = "sharpness" if self.radius is None else f"sharpness@{self.radius:g}"
        return {name: sum(rises) / len(rises)}

    def _axes(self, around: Surroundings) -> Callable[[int], list[Named]]:
        """The directions of alpha and beta of a line or plane, the last one at hand."""
        from engine.perturb.directions import filter_normalised

        steepest = around.steepest() if self.along == "adversarial" else None

        @lru_cache(maxsize=1)  # points come direction by direction, and each is as large as the network
        def axes(number: int) -> list[Named]:
            random: list[Named] = [
                filter_normalised(around.network, self.seed, self.dimensions * number + k, self.vectors)
                for k in range(self.dimensions)
            ]
            return random if steepest is None else [steepest, *random[1:]]

        return axes


def _axis(span: Span, points: int) -> list[float]:
    """Equally spaced; a value that is 0 but for rounding is 0, so that the centre is recognised."""
    low, high = span
    values = [low + (high - low) * i / (points - 1) for i in range(points)]
    return [0.0 if abs(v) < 1e-12 * (high - low) else v for v in values]


def _row(direction: int, place: Place, point: Point, centre: Point) -> dict[str, Scalar]:
    names = ("alpha", "beta")[: len(place)]
    return {
        "direction": direction,
        **dict(zip(names, place, strict=True)),
        "loss": point[0],
        "relative": abs(point[0] - centre[0]),
        "accuracy": point[1],
    }
