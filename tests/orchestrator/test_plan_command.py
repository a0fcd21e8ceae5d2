"""``perturb plan`` as users run it: costs, pilots, clusters, and that it writes no row."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.chaos.drivers import Driver, cluster, lines, sweep_file, until

SMALL = """\
name: small
trial:
  data: {name: digits, train_size: 64}
  model: lenet5_8x8
  method: {name: dropattack, targets: [input, conv1.w]}
  epochs: 2
  batch_size: 32
axes:
  method.steps: [1, 3]
seeds: {start: 2, most: 5}
budget: {price: {cpu_hour: 0.04}}
"""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for cpus in (1, 3):
    cluster.add_node(num_cpus=cpus)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setenv("PERTURB_STORE", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def perturb(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["plan", str(folder / "small.yaml"), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_is_not_known_is_said_and_a_pilot_finds_out(folder: Path) -> None:
    text = perturb(folder)
    assert "at least 4, at most 10 trials (2 to 5 seeds a cell, as the best cell ask for them)" in text
    assert "unknown: how long 4 trials take; perturb plan --pilot measures it" in text
    assert not (folder / "results").exists(), "nothing is written"
    found = json.loads(perturb(folder, "--pilot", "--json", "--cpus", "4"))
    assert (found["trials"], found["most"], found["cost"]["unknown_trials"]) == (4, 10, 0)
    cost = found["cost"]
    one, three = cost["cells"].values()
    assert one["source"] == "pilot"
    assert one["low"] < one["seconds"] < one["high"]
    assert one["seconds"] < three["seconds"]
    assert cost["at_once"] == 4
    assert cost["hours"]["expected"] == pytest.approx((one["seconds"] + three["seconds"]) * 2 / 3600)
    assert cost["money"]["expected"] == pytest.approx(0.04 * cost["hours"]["expected"])
    assert cost["wall_hours"]["expected"] < cost["hours"]["expected"]
    assert cost["hours_most"] > cost["hours"]["expected"]
    assert Ledger(Store(folder / "results")).index() == {}
    text = perturb(folder)
    assert "CPU-hours" in text
    assert "2 from pilot" in text
    assert "in money" in text


def test_another_cluster_is_asked_alone(folder: Path) -> None:
    done = CliRunner().invoke(app, ["plan", str(folder / "small.yaml"), "--address", "x:1", "--cpus", "2"])
    assert done.exit_code != 0
    assert "--address" in str(done.exception)
    assert "no room for a trial on 1 node, 1 CPUs" in perturb(
        folder, "--cpus", "1", "--set", "resources.cpus=2"
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a cluster whose head has no CPU, and whose other nodes have one and three."""
    with cluster(CLUSTER, tmp_path_factory.mktemp("cluster")) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def planned(folder: Path, address: str, *words: str) -> dict[str, Any]:
    """What a plan for a running cluster says of the cost, from a process of its own."""
    with Driver(folder, "plan", "s.yaml", "--address", address, "--json", *words) as driver:
        assert driver.wait() == 0, driver.text
    (said,) = [line for line in driver.text.splitlines() if line.startswith("{")]
    cost: dict[str, Any] = json.loads(said)["cost"]
    return cost


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "at_once"),
    [
        ("resources.cpus=2", 1),  # the node of three has room for one, that of one for none
        ("resources.workers=2", 2),  # no node has to hold all of a trial
        ("resources.cpus=4", 0),  # there are four, on no node
    ],
)
def test_a_running_cluster_is_asked_what_its_nodes_have(
    tmp_path: Path, address: str, words: str, at_once: int
) -> None:
    sweep_file(tmp_path, {"a": ["report:0.5"], "b": ["report:0.4"]})
    cost = planned(tmp_path, address, "--set", words)
    assert (cost["at_once"], cost["cluster"]) == (at_once, "3 nodes, 4 CPUs")


@pytest.mark.slow
def test_as_many_trials_run_on_a_cluster_as_the_plan_for_it_says(tmp_path: Path, address: str) -> None:
    """As many again wait for a slot until the sweep is stopped, and none of them has begun."""
    log = tmp_path / "began"
    file = sweep_file(tmp_path, {"a": [f"log:{log}", "sleep:600", "report:0.5"]}, seeds=8)
    at_once = planned(tmp_path, address)["at_once"]
    assert at_once == 4
    with Driver(tmp_path, "run", file, "--address", address, "--no-track") as driver:
        until(lambda: len(lines(log)) == at_once, driver)
        driver.signal(signal.SIGTERM)
        assert driver.wait() == 75, driver.text
    assert len(lines(log)) == len({key for key, *_ in lines(log)}) == at_once
