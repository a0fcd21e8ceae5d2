"""A job's files in the store, seen by the engine as a local folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

from orchestrator.records.store import Store


class Checkpoints:
    """The checkpoint folder of one trial or evaluation, as a context manager.

    On a local or network folder it is the folder itself. On a remote store it is a temporary copy, and
    each file that the engine writes is put to the store at once (:meth:`saved`), so that what a killed
    worker leaves behind is what it last wrote.

    Args:
        store: where the checkpoints live. key: of the trial or evaluation.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.name = store, f"checkpoints/{key}"
        self.temporary: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path:
        local = self.store.folder(self.name)
        if local is not None:
            return local
        self.temporary = tempfile.TemporaryDirectory(prefix="perturb-")
        folder = Path(self.temporary.name)
        for file in self.store.names(self.name):
            content = self.store.get(f"{self.name}/{file}")
            if content is not None:
                (folder / file).write_bytes(content)
        return folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()

    def saved(self, path: Path) -> None:
        """Called by the engine after it wrote a file."""
        if self.temporary is not None:
            self.store.put(f"{self.name}/{path.name}", path.read_bytes())

    def put_back(self) -> None:
        """Put every file of the folder to the store, of an engine call that does not tell of each."""
        if self.temporary is not None:
            for path in sorted(Path(self.temporary.name).iterdir()):
                if path.is_file():
                    self.saved(path)
