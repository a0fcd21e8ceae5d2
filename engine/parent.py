"""What a trial takes over from the one that it starts from: weights, or labels for unlabelled examples."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from engine import checkpoint
from engine.data.examples import Examples
from engine.data.loading import Splits
from engine.errors import InputError
from engine.perturb.targets import logits_of


def take_over(
    network: nn.Module,
    data: Splits,
    parent: Path | None,
    use: Literal["weights", "labels"],
    device: torch.device,
    leave: tuple[str, ...] = (),
) -> Splits:
    """Load the parent's weights into the network, or have it label the unlabelled examples.

    Args:
        leave: names or glob patterns of parameters that stay as they were initialised.

    Returns:
        The data, pseudo-labelled where the parent's labels are taken; the network then is as it was.

    Raises:
        InputError: no weights there, or those of another model; or labels are wanted and there is nothing
            to label.
    """
    if parent is None:
        raise InputError("init.from", "no file", "the parent's checkpoint; train the parent first")
    weights = checkpoint.load_weights(parent, device)
    if use == "weights":
        fresh = {n: t for n, t in network.state_dict().items() if any(fnmatchcase(n, p) for p in leave)}
        _load(network, weights | fresh, parent)
        return data
    if data.unlabelled is None:
        raise InputError(
            "init.use", "'labels'", "weights, or give data.labelled or data.extra to be labelled"
        )
    own = {name: t.clone() for name, t in network.state_dict().items()}
    _load(network, weights, parent)
    labelled = pseudo_labelled(data.unlabelled, network)
    network.load_state_dict(own)
    return replace(data, unlabelled=labelled)


def _load(network: nn.Module, weights: dict[str, Tensor], parent: Path) -> None:
    try:
        network.load_state_dict(weights)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # torch lists each tensor on a line of its own
        first = " ".join(str(error).splitlines()[:2]).replace("\t", "")
        legal = f"a parent with the same model and number of classes ({first})"
        raise InputError("init.from", parent, legal) from None


def pseudo_labelled(examples: Examples, network: nn.Module, batch: int = 512) -> Examples:
    """The examples with the labels that a network gives them.

    Source: Carmon et al. (2019), Algorithm 1, first step.
    """
    network.eval()
    found = []
    with torch.no_grad():
        for places in torch.split(torch.arange(len(examples)), batch):
            at = places if examples.lengths is not None else places.to(examples.index.device)
            found.append(logits_of(network, network, examples.batch(at)).argmax(1))
    labelled = copy(examples)
    labelled.labels = torch.cat(found)
    return labelled
