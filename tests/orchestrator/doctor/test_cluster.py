"""The examination of a real cluster of several raylets, one of which has a cache of its own and is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import cluster

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=1)
other = cluster.add_node(num_cpus=1, env_vars={"PERTURB_CACHE": sys.argv[1]})
print(cluster.address, other.node_id, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

SWEEP = """\
name: small
trial: {data: digits, model: lenet5_8x8, method: fgm, epochs: 1}
axes: {method.epsilon: [1, 2]}
resources: {workers: 2}
"""

LOSING = """
import json, os, signal, sys
from dataclasses import asdict
import orchestrator
from orchestrator.doctor import nodes

lost = sys.argv[2]
real = nodes.ask

def ask(check, among, call, seconds):
    # the process of one node is ended between two questions, as with its node
    import ray
    for node in among:
        if node.id == lost and check == "all-reduce (gloo)":
            ray.kill(actors[node])
    return real(check, among, call, seconds)

probers = nodes.probers

def kept(*words, **more):
    import contextlib
    @contextlib.contextmanager
    def block():
        global actors
        with probers(*words, **more) as actors:
            yield actors
    return block()

nodes.ask, nodes.probers = ask, kept
found = orchestrator.examine(None, orchestrator.Options("results", sys.argv[1], track=False))
print(json.dumps([asdict(result) for result in found]))
"""


@pytest.mark.slow
def test_a_cluster_of_three(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    (tmp_path / "small.yaml").write_text(SWEEP)
    other = tmp_path / "other-cache"
    bare = {k: v for k, v in os.environ.items() if k not in ("PERTURB_DATA", "PYTHONPATH")}
    node = bare | {"PERTURB_CACHE": str(tmp_path / "node-cache"), "HOME": str(tmp_path)}
    driver = bare | {"PERTURB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(root)}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=driver, cwd=tmp_path, capture_output=True, text=True, timeout=200,
            check=False,
        )  # fmt: skip

    with cluster(CLUSTER, tmp_path, str(other), env=node) as process:
        assert process.stdout is not None
        address, lost = process.stdout.readline().split()
        convert = "from engine.data.store import *; from engine.data.digits import Config; "
        assert call("-c", f"{convert}open_data(Config(name='digits'))").returncode == 0
        (converted,) = (tmp_path / "cache/data").glob("*.arrow")
        (other / "data").mkdir(parents=True)
        (other / "data" / converted.name).write_bytes(converted.read_bytes()[:-8] + b"damaged!")
        sweep = ("-m", "orchestrator.cli", "doctor", "small.yaml", "--address", address)
        first = call(*sweep, "--store", "results", "--no-track", "--json")
        losing = call("-c", LOSING, address, lost)
    assert first.returncode == 1, first.stderr + first.stdout
    results = json.loads(first.stdout)
    bad = [r for r in results if r["status"] == "fail"]
    assert [(r["check"], r["node"].endswith(lost[:6])) for r in bad] == [("data", True)], bad
    assert str(other) in bad[0]["found"]
    assert len({r["node"] for r in results}) == 4, "the driver and three nodes"
    over = [r for r in results if r["check"] == "all-reduce (gloo) over nodes"]
    assert [r["status"] for r in over] == ["ok", "ok"], "the head has no CPU for a worker"
    assert list((tmp_path / "results").glob("*")) == []

    assert losing.returncode == 0, losing.stderr
    gone = [r for r in json.loads(losing.stdout) if r["status"] == "fail"]
    assert [(r["check"], "was lost" in r["found"]) for r in gone] == [("all-reduce (gloo)", True)]
    assert gone[0]["node"].endswith(lost[:6])
