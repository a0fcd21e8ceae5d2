"""Word vectors from a text file, as word2vec and GloVe publish them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from engine.errors import InputError


def embedding_matrix(words: tuple[str, ...], path: Path, dimensions: int) -> Tensor:
    """Matrix w_VD with the file's vector for each word it knows and N(0, 1) for the others.

    Lines read ``word v_1 ... v_D``; a first line of two numbers (word2vec's header) is passed over. The
    normal draws are made for the whole matrix first, so that they do not depend on the file. Row 0,
    the padding, is zero.

    Args:
        words: word of each token id. path: the file. dimensions: D.

    Raises:
        InputError: the file is not there, or a vector has another length or is not of numbers.
    """
    if not path.is_file():
        raise InputError("model.vectors", str(path), "a text file with one word and its vector a line")
    matrix_VD = torch.randn(len(words), dimensions)
    place = {word: i for i, word in enumerate(words)}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip().split(" ")
            if number == 1 and len(values) == 1:
                continue
            if len(values) != dimensions:
                legal = f"{dimensions} numbers after the word in line {number}, found {len(values)}"
                raise InputError("model.vectors", str(path), legal)
            if word in place:
                try:
                    matrix_VD[place[word]] = torch.tensor([float(v) for v in values])
                except ValueError as error:
                    raise InputError(
                        "model.vectors", str(path), f"numbers in line {number}: {error}"
                    ) from None
    matrix_VD[0] = 0.0
    return matrix_VD
