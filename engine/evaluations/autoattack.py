"""AutoAttack: an ensemble of attacks without parameters, from the package ``pyautoattack``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluations.attacks import AttackConfig, image_range
from engine.evaluations.base import Findings, Subject
from engine.models.base import ModelInfo
from engine.settings import Count

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evaluations.robust import Point

Part = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
STANDARD: tuple[Part, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")


class Config(AttackConfig):
    """The standard version: APGD-CE, targeted APGD-DLR and FAB on 9 classes each, Square with 5,000 queries.

    Attributes:
        attacks: its parts, run in this order on the examples still right. The targeted ones need at least
            ``targets + 1`` classes (``apgd-t`` at least 4), ``apgd-dlr`` at least 3; ``apgd-ce``, ``fab``
            and ``square`` take two classes.
        targets: classes that a targeted part aims at. queries: of Square.
        batch_size: examples attacked together. The package draws for a batch as a whole, so that this is
            part of the key; the number of workers is not.

    Source: Croce and Hein (2020), section 5; AWP, Table 2.
    """

    name: Literal["autoattack"]
    attacks: Annotated[tuple[Part, ...], Field(min_length=1)] = STANDARD
    targets: Count = 9
    queries: Count = 5000
    batch_size: Count = 250

    @property
    def dealt(self) -> int | None:
        """Batches that are the same for any number of workers."""
        return self.batch_size

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse texts, images without a range, and too few classes for a part."""
        super().check(data, model)
        if data.kind != "image" or image_range(data) is None:
            raise InputError("evaluation.name", "'autoattack'", "pgd here: it needs pixels with a range")
        needs = {"apgd-dlr": 3, "apgd-t": max(4, self.targets + 1), "fab-t": self.targets + 1}
        for part in self.attacks:
            if data.classes < needs.get(part, 2):
                fewer = f", or set targets: {data.classes - 1}" if data.classes > 3 else ""
                legal = (
                    f"attacks for {data.classes} classes: {part} needs {needs[part]}; "
                    f"set attacks: [apgd-ce, fab, square]{fewer}"
                )
                raise InputError("evaluation.attacks", list(self.attacks), legal)

    def run(self, subject: Subject) -> Findings:
        """Attack the split.

        Raises:
            InputError: the package is missing, or the data do not fit.
        """
        self.check(subject.data.info, ModelInfo({}, {}, (), {}))
        return super().run(subject)

    def tries(self, point: Point) -> Iterator[Tensor]:
        """The ensemble's adversarial examples."""
        if importlib.util.find_spec("pyautoattack") is None:
            legal = "an attack that is installed; this one needs: pip install 'perturb-sweeps[autoattack]'"
            raise InputError("evaluation.name", "'autoattack'", legal)
        from engine.perturb.ensemble import autoattack

        yield autoattack(
            point.images, point.x, point.labels, norm=self.norm, epsilon=self.epsilon, clamp=point.clamp,
            parts=self.attacks, targets=self.targets, queries=self.queries, seed=self.seed,
            parameters=list(point.network.parameters()),
        )  # fmt: skip
