"""The distribution of weight values, layer by layer."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from engine.errors import InputError, did_you_mean
from engine.evaluations.base import EvaluationConfig, Findings, Scalar, Subject
from engine.evaluations.histogram import Span, bins_of, refuse_empty
from engine.models.base import WEIGHTS
from engine.settings import Count

if TYPE_CHECKING:
    from torch import nn

Values = NDArray[np.float64]


class Config(EvaluationConfig):
    """Histograms and moments of the weights; no example is looked at.

    Attributes:
        layers: ``weights`` (all weight matrices: more than one dimension, "weight" in the name), or glob
            patterns of parameter names.
        bins: number of bins. span: first and last edge, the same for every layer, so that histograms of
            several trials lie on one axis; None takes each layer's smallest and largest value.

    Findings:
        table ``histogram``: rows with ``layer``, ``low``, ``high``, ``count`` (values in [low, high), in
            the last bin also high itself; values outside the span are in no bin).
        table ``layers``: rows with ``layer``, ``size``, ``mean``, ``mean_abs``, ``std``, ``skewness`` and
            ``kurtosis``: E z^3 and E z^4 - 3 of the standardised values, both 0 for a Gaussian; 0 where
            all values are equal.
        metrics ``mean_abs``, ``std``, ``skewness``, ``kurtosis`` of all those layers' values together.

    Source: AWP, Fig. 4 and section 5.4.
    """

    name: Literal["weights"]
    layers: tuple[str, ...] = (WEIGHTS,)
    bins: Count = 100
    span: Span | None = None

    @model_validator(mode="after")
    def _span_is_a_range(self) -> Self:
        refuse_empty(self.span)
        return self

    def run(self, subject: Subject) -> Findings:
        """Look at the weights.

        Raises:
            InputError: no such layer, or a value that is not finite.
        """
        found = {name: _values(name, w) for name, w in self._chosen(subject.network).items()}
        histogram: list[dict[str, Scalar]] = [
            {"layer": name, **row} for name, x in found.items() for row in bins_of(x, self.bins, self.span)
        ]
        layers: list[dict[str, Scalar]] = [
            {"layer": name, "size": x.size, **moments(x)} for name, x in found.items()
        ]
        metrics = moments(np.concatenate(list(found.values())))
        del metrics["mean"]
        return Findings(metrics, {"histogram": histogram, "layers": layers})

    def canonical(self) -> dict[str, Any]:
        """Without the examples, which have no effect."""
        form = super().canonical()
        return {k: v for k, v in form.items() if k not in ("split", "examples", "seed")}

    def _chosen(self, network: nn.Module) -> dict[str, Any]:
        """Parameters in the network's order."""
        named = dict(network.named_parameters())
        chosen = set()
        for pattern in self.layers:
            fits = [n for n, w in named.items() if _fits(n, w.dim(), pattern)]
            if not fits:
                raise InputError("layers", repr(pattern), f"no parameter; {did_you_mean(pattern, [*named])}")
            chosen.update(fits)
        return {name: w for name, w in named.items() if name in chosen}


def moments(x: Values) -> dict[str, float]:
    """Mean, mean absolute value, standard deviation, skewness and excess kurtosis of the population.

    >>> moments(np.array([-1.0, 1.0]))
    {'mean': 0.0, 'mean_abs': 1.0, 'std': 1.0, 'skewness': 0.0, 'kurtosis': -2.0}
    """
    mean, std = float(x.mean()), float(x.std())
    z = (x - mean) / std if std > 0 else np.zeros_like(x)
    skewness, fourth = float((z**3).mean()), float((z**4).mean())
    kurtosis = fourth - 3 if std > 0 else 0.0
    mean_abs = float(np.abs(x).mean())
    return {"mean": mean, "mean_abs": mean_abs, "std": std, "skewness": skewness, "kurtosis": kurtosis}


def _fits(name: str, dimensions: int, pattern: str) -> bool:
    return (dimensions > 1 and "weight" in name) if pattern == WEIGHTS else fnmatchcase(name, pattern)


def _values(name: str, w: Any) -> Values:
    x: Values = w.detach().double().cpu().numpy().ravel()
    if not np.isfinite(x).all():
        raise InputError("layers", name, "a layer of finite weights; this trial's have diverged")
    return x
