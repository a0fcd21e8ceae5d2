"""How converted data reach a cluster's nodes: through Ray's object store, into each node's cache, once.

Code reaches them by Ray's runtime environment, a user's own files inside the job. The packages
themselves (torch, ray, ...) are in the nodes' image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.data.base import DataConfig
from engine.data.store import alone, arrow_path, open_data
from engine.files import cache_folder, data_root, write_atomic


def pack(data: Iterable[DataConfig]) -> dict[str, Any]:
    """The converted files of some data sets, as references into the object store by file name."""
    import ray

    references = {}
    for config in data:
        open_data(config, data_root())
        path = arrow_path(config)
        references[path.name] = ray.put(path.read_bytes())
    return references


def unpack(references: Mapping[str, Any]) -> None:
    """Write the files that this node's cache does not hold yet."""
    import ray

    for name, reference in references.items():
        path = cache_folder() / "data" / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.with_suffix(".lock")):  # of trials that begin at once one fetches
            if not path.exists():
                write_atomic(path, ray.get(reference))
