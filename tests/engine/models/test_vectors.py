from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.models.lstm import Config
from engine.models.vectors import embedding_matrix

WORDS = ("<pad>", "<unk>", "good", "bad", "rare")
GLOVE = "the 0 0 0\ngood 1.5 -2 3e-1\nbad 4 5 6\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(text: str) -> Path:
        (tmp_path / "vectors.txt").write_text(text, encoding="utf-8")
        return tmp_path / "vectors.txt"

    return to_file


def matrix(path: Path, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return embedding_matrix(WORDS, path, 3)


@pytest.mark.parametrize("header", ["", "3 3\n"], ids=["GloVe", "word2vec"])
def test_known_words_have_their_vectors(write: Any, header: str) -> None:
    w_VD = matrix(write(header + GLOVE))
    assert w_VD.shape == (5, 3)
    assert torch.equal(w_VD[2], torch.tensor([1.5, -2.0, 0.3]))
    assert torch.equal(w_VD[3], torch.tensor([4.0, 5.0, 6.0]))
    assert w_VD[0].tolist() == [0.0, 0.0, 0.0]


def test_other_words_are_drawn_and_do_not_depend_on_the_file(write: Any) -> None:
    a, b = matrix(write(GLOVE)), matrix(write("good 9 9 9\n"))
    assert torch.equal(a[[1, 4]], b[[1, 4]])
    assert a[[1, 4]].abs().sum() > 0
    assert not torch.equal(a[3], b[3])
    assert not torch.equal(matrix(write(GLOVE), seed=1)[1], a[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1 2\n", "3 numbers after the word in line 1, found 2"),
        (GLOVE + "more 1 2 3 4\n", "3 numbers after the word in line 4, found 4"),
        ("good 1 2 x\n", "line 1"),
        ("3 3\ngood 1 2 three\n", "line 2"),
    ],
)
def test_wrong_lines(write: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matrix(write(text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.vectors"):
        matrix(tmp_path / "none.txt")


def test_the_lstm_starts_from_them(write: Any) -> None:
    path = write(GLOVE)
    torch.manual_seed(0)
    model = Config(name="lstm", embedding_dim=3, hidden=2, vectors=str(path))
    network = model.build(DataInfo("text", 2, vocabulary=5), WORDS)
    torch.manual_seed(0)
    assert torch.equal(network.embedding.weight.detach(), embedding_matrix(WORDS, path, 3))
    assert network.embedding.weight.requires_grad
