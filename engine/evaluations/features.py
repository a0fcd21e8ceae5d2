"""The weights of a first layer as images: what each of its units looks for."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Literal

from engine.data.base import DataInfo
from engine.errors import InputError, did_you_mean
from engine.evaluations.base import EvaluationConfig, Findings, Scalar, Subject
from engine.models.base import ModelInfo
from engine.settings import Count

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(EvaluationConfig):
    """Weights w_{u,c,i,j} of the first units of a layer; no example is looked at.

    Attributes:
        layer: name of a parameter: a convolution's weight, or a linear layer's that takes the image's
            pixels. Empty takes the first one of the network.
        units: how many units, the first ones; all of them where there are no more.

    Findings:
        table ``features``: rows with ``unit``, ``channel``, ``row``, ``column``, ``value``.
        metrics ``mean_abs``: mean |w| over all units; ``small_units``: share of all units whose norm is
            below a tenth of the largest one. A unit that died without weight decay keeps its initial noise
            and is not among them: ``dead_units`` of ``activations`` counts those.

    Source: AdD, Fig. 2 (256 units of an autoencoder on MNIST).
    """

    name: Literal["features"]
    layer: str = ""
    units: Count = 64

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse texts, which have no pixels, and layers that the model does not have."""
        if data.kind != "image":
            raise InputError("name", repr(self.name), "an evaluation of models of images")
        if self.layer and self.layer not in model.parameters:
            raise InputError("layer", repr(self.layer), did_you_mean(self.layer, list(model.parameters)))

    def run(self, subject: Subject) -> Findings:
        """Take the weights out.

        Raises:
            InputError: no such layer, or one whose units are no images.
        """
        w = self._weight(subject.network)
        w_UCIJ = _images(w.detach().double().cpu(), subject.data.info.shape, self.layer)
        rows: list[dict[str, Scalar]] = [
            {"unit": u, "channel": c, "row": i, "column": j, "value": value}
            for u, w_CIJ in enumerate(w_UCIJ[: self.units].tolist())
            for c, w_IJ in enumerate(w_CIJ)
            for i, w_J in enumerate(w_IJ)
            for j, value in enumerate(w_J)
        ]
        norms_U = w_UCIJ.flatten(1).norm(dim=1)
        small = (norms_U < 0.1 * norms_U.max()).double().mean()
        metrics = {"mean_abs": float(w_UCIJ.abs().mean()), "small_units": float(small)}
        return Findings(metrics, {"features": rows})

    def canonical(self) -> dict[str, Any]:
        """Without the examples, which have no effect."""
        form = super().canonical()
        return {k: v for k, v in form.items() if k not in ("split", "examples", "seed")}

    def _weight(self, network: nn.Module) -> Tensor:
        named = dict(network.named_parameters())
        matrices = [name for name, w in named.items() if w.dim() > 1]
        name = self.layer or next(iter(matrices), "")
        if name not in named:
            raise InputError("layer", repr(name), did_you_mean(name, matrices))
        return named[name]


def _images(w: Tensor, shape: tuple[int, ...], layer: str) -> Tensor:
    """w_UCIJ of a convolution as it is, of a linear layer in the shape of the image."""
    if w.dim() == 4:
        return w
    if w.dim() == 2 and shape and w.shape[1] == prod(shape):
        return w.view(len(w), *shape)
    size, pixels = "x".join(map(str, w.shape)), "x".join(map(str, shape))
    raise InputError(
        "layer", repr(layer) if layer else "the first weight",
        f"a convolution, or a layer that takes {pixels} pixels; it is {size}",
    )  # fmt: skip
