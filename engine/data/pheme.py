"""PHEME: tweets that conversations during breaking news started with, rumours or not."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from engine.data.base import Split
from engine.data.documents import DocumentsConfig, content_hash
from engine.data.table import Document, read_csv
from engine.data.threads import read_threads
from engine.errors import InputError

_LABELS = {
    "0": 0, "1": 1,
    "non-rumours": 0, "non-rumour": 0, "non-rumor": 0,
    "rumours": 1, "rumour": 1, "rumor": 1,
}  # fmt: skip


class Config(DocumentsConfig):
    """6,425 source tweets of nine events, split 5,145 / 637 / 643; label 1 is a rumour.

    Table 1 of DropAttack swaps the last two sizes; its released data have them as here. Its split is not
    published: ours is the stratified order of the tweets sorted by event, class and thread. The classes
    are not balanced, so macro F1 is reported beside accuracy.

    No hash of a copy is published and none is declared here: the first run names the hash of the copy
    at hand, to be given in ``content_hash``. A csv file with the columns text and label (0, 1, rumour or
    non-rumour) is read too; its order is another, so its split and hash are.

    Attributes:
        lower, max_length, vocabulary, vocabulary_scope, stop_words, content_hash: as in
            :class:`engine.data.documents.DocumentsConfig`.

    Source: Zubiaga et al. (2016); the collection of Kochkina, Liakata and Zubiaga (COLING 2018);
    DropAttack, Table 1.
    """

    sizes: ClassVar[dict[Split, int]] = {"train": 5_145, "val": 637, "test": 643}
    classes: ClassVar[tuple[str, ...]] = ("non-rumour", "rumour")
    declared: ClassVar[str] = "0" * 64
    source: ClassVar[str] = (
        "download PHEME_veracity.tar.bz2 from https://figshare.com/articles/dataset/6392078 and put it, as it"
        " is or unpacked, or a file pheme.csv with the columns text and label, into the folder pheme of the"
        " data folder"
    )

    name: Literal["pheme"]

    def places(self) -> tuple[tuple[str, ...], ...]:
        """The archive, the folder in it, or a csv file."""
        folder = "all-rnr-annotated-threads"
        archives = ("pheme/PHEME_veracity.tar.bz2", "PHEME_veracity.tar.bz2")
        return ((*archives, f"pheme/{folder}", folder, "pheme/pheme.csv"),)

    def read(self, paths: list[Path]) -> tuple[list[Document], str]:
        """The tweets, sorted by path (a csv file's in its order)."""
        (path,) = paths
        if path.suffix == ".csv":
            documents = read_csv(path, _LABELS)
        else:
            documents = [Document(thread.label, thread.text) for thread in read_threads(path)]
        wanted = sum(self.sizes.values())
        if len(documents) != wanted:
            legal = f"{wanted:,}, of nine events (the collection of 2016 has five); fetch it again"
            raise InputError(str(path), f"{len(documents):,} source tweets", legal)
        if {document.label for document in documents} != {0, 1}:
            raise InputError(str(path), "tweets of one class", "rumours and non-rumours")
        return documents, content_hash((label, text.encode()) for label, text in documents)
