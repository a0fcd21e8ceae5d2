"""What the slots of a method ask of its model and data, checked before anything starts."""

from __future__ import annotations

from engine.data.base import DataInfo
from engine.errors import InputError, did_you_mean
from engine.models.base import INPUT, ModelInfo
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.attack import Attack, Replay, Virtual
from engine.slots.slots import Slots
from engine.slots.weight import Relative


def check(slots: Slots, model: ModelInfo, data: DataInfo) -> None:
    """Refuse a composition that means nothing on this model and these data.

    Raises:
        InputError: names the setting, relative to the trial.
    """
    if isinstance(slots.input, InputAscent):
        _input_ascent(slots.input)
    elif slots.input is not None:
        _attack(slots, slots.input, model)
    clamp = None if slots.input is None else slots.input.clamp
    if clamp is not None and model.kind == "image" and data.range is None:
        raise InputError("method.clamp", clamp, "none for these data: whitened pixels have no range")
    if isinstance(slots.weight, Ascent) and slots.weight.norm_over == "sample":
        raise InputError("method.weight.norm_over", "'sample'", "tensor or joint: weights have no samples")
    if len(slots.ascents) > 1:
        _two_ascents(slots)
    _objective(slots, model)
    if slots.dropout is not None and slots.dropout.site not in model.sites:
        known = list(model.sites)
        legal = f"a dropout site of the model; {did_you_mean(slots.dropout.site, known)}"
        raise InputError("method.dropout.site", repr(slots.dropout.site), legal)
    if slots.selection is not None:
        _selection(slots, model)


def _input_ascent(slot: InputAscent) -> None:
    if slot.targets != (INPUT,):
        if slot.norm_over == "sample":
            legal = "tensor for an embedding matrix, which samples share; or set input_as: activations"
            raise InputError("method.norm_over", "'sample'", legal)
        if slot.clamp is not None:
            raise InputError("method.clamp", slot.clamp, "none: an embedding matrix has no range")
        if slot.start:
            raise InputError("method.input.start", slot.start, "0: an embedding matrix has no random start")
    if slot.clamp is not None and not slot.clamp[0] < slot.clamp[1]:
        raise InputError("method.clamp", slot.clamp, "two numbers, the lower one first")


def _two_ascents(slots: Slots) -> None:
    """Both start from one first pass, which would have the point or the weight that one of them asks for."""
    for place, slot in (("input", slots.input), ("weight", slots.weight)):
        if isinstance(slot, Ascent) and slot.learn_from == "every":
            legal = "all or last beside a second ascent, which shares the first pass"
            raise InputError(f"method.{place}.learn_from", "'every'", legal)
    if isinstance(slots.input, InputAscent) and slots.input.start:
        legal = "0 beside a second ascent, which shares the first pass"
        raise InputError("method.input.start", slots.input.start, legal)


def _attack(slots: Slots, slot: Attack | Virtual | Replay, model: ModelInfo) -> None:
    if model.kind == "text" and slot.clamp is not None:
        raise InputError("method.clamp", slot.clamp, "none for text: an embedding has no range")
    if model.kind == "text" and isinstance(slot, Replay) and slot.carry:
        raise InputError("method.carry", True, "false for text: batches differ in length")
    if isinstance(slot, Attack) and slot.against == "prediction":
        if slot.start == "zero":
            legal = "uniform or gaussian: the divergence from the prediction has no gradient at x itself"
            raise InputError("method.input.start", "'zero'", legal)
        if model.task == "reconstruction":
            raise InputError("method.input.against", "'prediction'", "labels: what is to be reconstructed")
    others = (slots.weight, slots.dropout, slots.selection, slots.objective.terms)
    if isinstance(slot, Replay) and any(others):
        raise InputError("method.input.kind", "'replay'", "the only slot in use: each replay is an update")


def _objective(slots: Slots, model: ModelInfo) -> None:
    if slots.objective.uses("attack") and isinstance(slots.input, (InputAscent, Replay)):
        legal = "an attack in the input slot, for the term that looks at it"
        raise InputError("method.input.kind", repr(slots.input.kind), legal)
    if slots.objective.uses("ensemble") and (slots.ascents or isinstance(slots.weight, Relative)):
        where = "input" if isinstance(slots.input, InputAscent) else "weight"
        legal = "none beside an ensemble, which would mix predictions of several points in each step"
        raise InputError(f"method.{where}", getattr(slots, where).kind, legal)
    if slots.objective.uses("dropout") and slots.dropout is None:
        raise InputError("method.dropout", None, "settings, for the term that looks at it")
    if slots.objective.natural == 0 and not slots.objective.terms:
        raise InputError("method.objective.natural", 0, "a number > 0: there is nothing else to learn from")
    if model.task == "reconstruction":
        for i, term in enumerate(slots.objective.terms):
            if term.divergence != "ce":
                where = f"method.objective.terms.{i}.divergence"
                raise InputError(where, repr(term.divergence), "ce: a model that reconstructs has no classes")
        if slots.dropout is not None and slots.dropout.target == "prediction":
            raise InputError("method.dropout.target", "'prediction'", "labels: what is to be reconstructed")
        if slots.objective.entropy:
            raise InputError("method.objective.entropy", slots.objective.entropy, "0: there are no classes")


def _selection(slots: Slots, model: ModelInfo) -> None:
    assert slots.selection is not None
    if model.task == "reconstruction":
        raise InputError("method.selection", slots.selection.n, "none: its scores are of a loss of classes")
    if isinstance(slots.input, InputAscent) and slots.input.targets != (INPUT,):
        legal = "none, or set input_as: activations: an embedding matrix is shared by all examples"
        raise InputError("method.selection", slots.selection.n, legal)
    if isinstance(slots.input, Virtual):
        raise InputError("method.selection", slots.selection.n, "none: VAT perturbs every example")
    if model.kind == "text" and isinstance(slots.input, Attack) and slots.selection.perturbations == "frozen":
        legal = "refreshed for text, whose embedding moves with the weights"
        raise InputError("method.selection.perturbations", "'frozen'", legal)
