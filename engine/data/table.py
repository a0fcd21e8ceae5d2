"""Labelled texts from a csv file, with one clear error for what is wrong in it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from engine.errors import InputError


class Document(NamedTuple):
    """One text and its class."""

    label: int
    text: str


def read_csv(path: Path, labels: Mapping[str, int], columns: tuple[str, ...] = ()) -> list[Document]:
    """The rows of a csv file: UTF-8, comma between columns, quotes doubled inside quotes.

    Args:
        path: the file.
        labels: class of each label as it is written in the file.
        columns: the columns of a file without a header, one of them ``label``; the text is all others,
            joined by a space. None given: the first row is the header and names ``text`` and ``label``.

    Raises:
        InputError: names the file, the line and what was expected there.
    """
    form = ",".join(columns) if columns else "a header with text and label, then rows like it"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            return list(_documents(path, rows, labels, columns))
        except csv.Error as error:
            raise InputError(_at(path, rows.line_num), f"a row with {error}", f"csv ({form})") from error
        except UnicodeDecodeError as error:  # of a block read ahead, so the line is near and not exact
            raise InputError(
                _at(path, rows.line_num + 1), f"text here or soon after with {error}", "UTF-8"
            ) from error


def check_counts(path: Path, documents: list[Document], names: tuple[str, ...], each: int) -> None:
    """Refuse a file in which a class has another number of texts than were published.

    Args:
        path: the file, for the message. names: of the classes. each: texts of every class.
    """
    for label, name in enumerate(names):
        count = sum(document.label == label for document in documents)
        if count != each:
            legal = f"{each:,}, as published; the file is truncated or not the one meant, fetch it again"
            raise InputError(str(path), f"{count:,} texts of class {name}", legal)


def _documents(
    path: Path, rows: Iterator[list[str]], labels: Mapping[str, int], columns: tuple[str, ...]
) -> Iterator[Document]:
    header = columns or tuple(name.strip().lower() for name in next(rows, []))
    if "label" not in header or not (columns or "text" in header):
        given = f"a header of {len(header)} columns ({','.join(header)[:60]})"
        raise InputError(_at(path, 1), given, "the columns text and label")
    at_label = header.index("label")
    at_text = [i for i, name in enumerate(header) if (i != at_label if columns else name == "text")]
    for row in rows:
        if not row:
            continue
        line = _at(path, rows.line_num)  # type: ignore[attr-defined]
        if len(row) != len(header):
            raise InputError(line, f"a row of {len(row)} columns", f"{len(header)} ({','.join(header)})")
        label = labels.get(row[at_label].strip())
        if label is None:
            raise InputError(line, f"label {row[at_label][:40]!r}", f"one of {', '.join(labels)}")
        yield Document(label, " ".join(row[i] for i in at_text))


def _at(path: Path, line: int) -> str:
    return f"{path}: line {line}"
