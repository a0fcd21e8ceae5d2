from __future__ import annotations

import pytest

from engine.data.documents import content_hash, decoded
from engine.errors import InputError


def test_the_content_hash_depends_on_labels_and_on_where_a_text_ends() -> None:
    hashes = {
        content_hash(documents)
        for documents in (
            [(0, b"ab"), (1, b"c")],
            [(0, b"a"), (1, b"bc")],
            [(1, b"ab"), (0, b"c")],
            [(1, b"c"), (0, b"ab")],
        )
    }
    assert len(hashes) == 4


def test_text_that_is_not_utf8_names_its_file() -> None:
    assert decoded("a.txt", "é".encode()) == "é"
    with pytest.raises(InputError, match=r"a\.txt: text with .* is not legal: UTF-8"):
        decoded("a.txt", b"\xe9")
