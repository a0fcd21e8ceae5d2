"""What the text models share: settings, the initial embedding matrix, which places are inside a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.files import file_hash
from engine.models.base import ModelConfig
from engine.models.vectors import embedding_matrix
from engine.settings import Count, Probability

Rate = Annotated[Probability, Field(lt=1)]
"""A probability in [0, 1) that an element is dropped."""


class TextConfig(ModelConfig):
    """Settings of any text model.

    Attributes:
        embedding_dim: D, the width of a word vector.
        vectors: a text file of word vectors (word2vec or GloVe); None draws every row from N(0, 1). The
            key holds the file's content, not its path.
        dropout: probability that an element is dropped just before the last linear layer.
    """

    kind: ClassVar[Literal["image", "text"]] = "text"

    embedding_dim: Count = 300
    vectors: str | None = None
    dropout: Rate = 0.0

    def canonical(self) -> dict[str, Any]:
        """As of any model, with the content of the vector file in place of its path."""
        form = super().canonical()
        if self.vectors is not None:
            if not Path(self.vectors).is_file():
                raise InputError("model.vectors", self.vectors, "a file that exists")
            form["vectors"] = file_hash(Path(self.vectors))
        return form

    def matrix(self, data: DataInfo, words: tuple[str, ...]) -> Tensor:
        """The initial embedding matrix_VD; row 0, the padding, is zero."""
        if self.vectors is not None and words:
            return embedding_matrix(words, Path(self.vectors), self.embedding_dim)
        matrix_VD = torch.randn(data.vocabulary, self.embedding_dim)
        matrix_VD[0] = 0.0
        return matrix_VD


def embedding(matrix_VD: Tensor) -> nn.Embedding:
    """A trained embedding that starts from a matrix."""
    found: nn.Embedding = nn.Embedding.from_pretrained(matrix_VD, freeze=False, padding_idx=0)  # type: ignore[no-untyped-call]
    return found


def inside(lengths_B: Tensor, h_BTD: Tensor) -> Tensor:
    """Which places of a batch lie inside their text: bool_BT, on the batch's device.

    Args:
        lengths_B: on any device. h_BTD: the batch, for its T.

    >>> inside(torch.tensor([1, 3]), torch.zeros(2, 3, 5)).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    place_T = torch.arange(h_BTD.shape[1], device=h_BTD.device)
    return place_T < lengths_B.to(h_BTD.device, non_blocking=True)[:, None]
