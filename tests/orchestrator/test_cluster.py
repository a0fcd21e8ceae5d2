"""A sweep on a Ray cluster that runs already: code and data reach nodes that have neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.chaos.drivers import cluster

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

SWEEP = """\
name: remote
plugins: [filed.py]
trial: {data: filed, model: lenet5_8x8, method: fgm, epochs: 1, batch_size: 16}
axes: {method.epsilon: [1, 2]}
reports: [{curve: method.epsilon}]
"""


@pytest.mark.slow
def test_code_plugins_and_data_reach_the_nodes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/filed.bin").write_bytes(bytes(range(48)) * 64)
    shutil.copy(Path(__file__).parent / "plugins/filed.py", tmp_path)
    (tmp_path / "remote.yaml").write_text(SWEEP)
    bare = {k: v for k, v in os.environ.items() if k not in ("PERTURB_DATA", "PYTHONPATH")}
    node = bare | {"PERTURB_CACHE": str(tmp_path / "node-cache"), "HOME": str(tmp_path)}
    driver = bare | {
        "PERTURB_CACHE": str(tmp_path / "driver-cache"),
        "PERTURB_DATA": str(tmp_path / "data"),
        "PYTHONPATH": str(root),
    }
    with cluster(CLUSTER, tmp_path, env=node) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        run = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "run", "remote.yaml", "--store", "results",
             "--address", address, "--no-track"],
            env=driver, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr + run.stdout
    assert list(Ledger(Store(tmp_path / "results")).index().values()) == ["completed"] * 2
    assert list((tmp_path / "node-cache/data").glob("filed-*.arrow")), "the node was sent the data"
