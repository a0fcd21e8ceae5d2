"""The loss at weights near the trained ones; what landscapes and weight perturbations are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from engine.data.examples import Examples
from engine.distributed import Workers
from engine.evaluations.base import Subject
from engine.evaluations.loss import LossConfig
from engine.evaluations.measure import first, gradients, measure
from engine.evaluations.scan import Kept, Point, scan
from engine.perturb.chain import Named
from engine.perturb.directions import combined, steepest, weight_matrices
from engine.perturb.targets import perturbed
from engine.perturb.weights import SizeNorm
from engine.slots.attack import Attack


@dataclass(frozen=True)
class Surroundings:
    """A trained network and how its loss is measured.

    Attributes:
        network: left as it was after every call, its weights bit for bit, also when a call is interrupted.
        examples: over which the loss is a mean. attack, seed: as :func:`measure` takes them.
        workers: who share the gradient's examples; a point is measured by one worker alone.
    """

    network: nn.Module
    examples: Examples
    attack: Attack | None
    seed: int
    workers: Workers

    @staticmethod
    def of(settings: LossConfig, subject: Subject) -> Surroundings:
        """As the settings say."""
        examples = first(getattr(subject.data, settings.split), settings.examples)
        return Surroundings(subject.network, examples, settings.attacked, settings.seed, subject.workers)

    def centre(self) -> Point:
        """Loss and accuracy at w."""
        alone = Workers(device=self.workers.device)
        return measure(self.network, self.examples, self.attack, self.seed, alone)

    def moved(self, directions: list[Named], amounts: tuple[float, ...]) -> Point:
        """Loss and accuracy at w + sum_k amount_k d_k, adversarial examples made there."""
        with perturbed(self.network, combined(directions, amounts)):
            return self.centre()

    def steepest(self, size_norm: SizeNorm = "l2") -> dict[str, Tensor]:
        """||w_l|| g_l / ||g_l|| of the weight matrices, g the gradient of the loss at w."""
        w = {name: p.detach() for name, p in weight_matrices(self.network).items()}
        g = gradients(self.network, tuple(w), self.examples, self.attack, self.seed, self.workers)
        return steepest(g, w, size_norm)


def scan_kept(
    settings: LossConfig, subject: Subject, around: Surroundings, count: int, at: Callable[[int], Point]
) -> list[Point]:
    """:func:`scan`, with the finished points in the subject's folder, when it has one."""
    kept = None
    if subject.folder is not None and subject.workers.rank == 0:
        kept = Kept.at(subject.folder, settings.canonical(), subject.network, len(around.examples))
    return scan(count, at, subject.workers, kept)
