from __future__ import annotations

import pytest

from orchestrator.dispatch.trainable import bundles


@pytest.mark.parametrize("avoid", [(), ("a", "b")], ids=["anywhere", "but on two nodes"])
def test_a_gang_is_packed_and_its_head_takes_nothing(avoid: tuple[str, ...]) -> None:
    asked = bundles(1, 0, 2, avoid)
    assert asked.strategy == "PACK"
    assert asked.head_bundle_is_empty, "the process that waits"
    assert asked.bundles == [{"CPU": 1.0}] * 2, "rank i sits in bundle i"
    assert asked.required_resources == {"CPU": 2.0}


@pytest.mark.parametrize(("gpus", "wanted"), [(0, {"CPU": 2.0}), (0.25, {"CPU": 2.0, "GPU": 0.25})])
def test_alone_a_trial_is_the_head(gpus: float, wanted: dict[str, float]) -> None:
    asked = bundles(2, gpus, 1)
    assert (asked.strategy, asked.bundles, asked.head_bundle_is_empty) == ("PACK", [wanted], False)


def test_each_bundle_is_kept_off_the_nodes_to_avoid() -> None:
    # what Ray's function that makes the group is called with, head left out; nothing public says it
    for workers in (1, 2):
        given = bundles(1, 0, workers, ["a", "b"])._bound.arguments
        assert given["bundle_label_selector"] == [{"ray.io/node-id": "!in(a,b)"}] * workers
        assert len(given["bundles"]) == workers
    assert "bundle_label_selector" not in bundles(1, 0, 2)._bound.arguments
