"""The distribution of a layer's activations, and how sparse they are."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from engine.evaluations.base import EvaluationConfig, Findings, Subject, Table
from engine.evaluations.histogram import Span, bins_of, refuse_empty
from engine.settings import Count


class Config(EvaluationConfig):
    """Activations h_{i,u} of unit u for example i at one place of the network, in eval mode.

    Attributes:
        module: name of a dropout site or of any module; empty takes the first dropout site.
        side: whether the module's ``output`` is looked at or its ``input``. Where a network applies its
            activation function outside of any module, the input of the layer after it is what to ask for.
        bins: number of bins. span: first and last edge, so that histograms of several trials lie on one
            axis; None takes the smallest and the largest value.

    Findings:
        table ``activations``: histogram over all h_{i,u}: rows with ``low``, ``high``, ``count``.
        table ``means``: histogram over the units' means over the examples, likewise. In both, values
            outside the span are in no bin.
        metrics ``sparsity``: share of h_{i,u} that are exactly 0; ``mean_activation``; ``max_activation``;
            ``dead_units``: share of units that are 0 for every example.

    A unit is one element of the layer's output for one example: of a convolution, one channel at one place.

    Source: AdD, Fig. 3 (1,000 MNIST test images).
    """

    name: Literal["activations"]
    module: str = ""
    side: Literal["output", "input"] = "output"
    bins: Count = 50
    span: Span | None = None

    @model_validator(mode="after")
    def _span_is_a_range(self) -> Self:
        refuse_empty(self.span)
        return self

    def run(self, subject: Subject) -> Findings:
        """Look at the activations; they are met twice, so that they need not all be held.

        Raises:
            InputError: no such module, or one whose activations are no tensor of one shape.
        """
        from engine.evaluations.hidden import Hidden

        hidden = Hidden.of(subject, self)
        summary = hidden.summarise()
        span = self.span or (summary.low, summary.high)
        tables: dict[str, Table] = {
            "activations": hidden.histogram(self.bins, span),
            "means": bins_of(summary.means(), self.bins, self.span),
        }
        return Findings(summary.metrics(), tables, examples=summary.examples)
