from __future__ import annotations

import csv
from pathlib import Path

import pytest

from engine.data.table import Document, check_counts, read_csv
from engine.errors import InputError

LABELS = {"0": 0, "1": 1}
COLUMNS = ("label", "title", "description")


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "texts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_python_writes_is_read(tmp_path: Path) -> None:
    texts = ["plain", 'a "quoted", word', "two\nlines", "café", ""]
    path = tmp_path / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((text, i % 2) for i, text in enumerate(texts))])
    assert read_csv(path, LABELS) == [Document(i % 2, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    "content",
    ["text,label\na,1\n", "label,text\r\n1,a\r\n", "\ufeffText, Label\na, 1\n\n", "id,label,text\n7,1,a"],
)
def test_columns_in_any_order_with_others_beside_them(content: str, tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, content), LABELS) == [Document(1, "a")]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, '"1","A title","and a text"\n"0","label","text"\n')
    assert read_csv(path, LABELS, COLUMNS) == [Document(1, "A title and a text"), Document(0, "label text")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"line 1: a header of 0 columns \(\) is not legal: the columns text and label"),
        ("a film,1\n", r"line 1: a header of 2 columns \(a film,1\)"),
        ("text,label\na,1\nb\n", r"line 3: a row of 1 columns is not legal: 2 \(text,label\)"),
        ("text,label\na,1\nb,c,0\n", r"line 3: a row of 3 columns"),
        ("text,label\na,1\nb,2\n", r"line 3: label '2' is not legal: one of 0, 1"),
        ('text,label\n"two\nlines",\n', r"line 3: label '' is not legal"),
        ('text,label\n"a,1\n', r"line 2: a row with unexpected end of data is not legal: csv"),
        ('text,label\n"a"b,1\n', r"line 2: a row with "),
        ("text,label\n" + "a" * 200_000 + ",1\n", r"line 2: a row with field larger than field limit"),
        (b"text,label\ncaf\xe9,1\n", r"line 1: text here or soon after with .* is not legal: UTF-8"),
    ],
)
def test_what_is_wrong_is_named(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as raised:
        read_csv(path, LABELS)
    assert str(raised.value).startswith(f"{path}: line ")


def test_a_class_with_fewer_texts(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\na,1\nb,0\nc,1\n")
    with pytest.raises(InputError, match=r"texts\.csv: 1 texts of class bad is not legal: 2, as published"):
        check_counts(path, read_csv(path, LABELS), ("bad", "good"), 2)
