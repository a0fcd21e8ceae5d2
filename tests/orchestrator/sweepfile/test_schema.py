from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.components import names
from orchestrator.sweepfile.schema import json_schema
from orchestrator.sweepfile.yaml_file import read

jsonschema = pytest.importorskip("jsonschema")
SWEEPS = Path(__file__).parents[3] / "sweeps"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_sweeps_fit_the_schema(schema: dict[str, Any], path: Path) -> None:
    jsonschema.validate(read(path).content, schema)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seds",), 2),
        (("seeds",), 0),
        (("trial", "epochs"), "3"),
        (("trial", "seed"), 1),
        (("trial", "data"), "digit"),
        (("trial", "method"), {"name": "dropattack", "gamma": 1}),
        (("trial", "method"), {"name": "dropattack", "p": 1.5}),
        (("trial", "method"), {"name": "at_awp", "weight": {"gama": 0.01}}),
        (("trial", "optimizer"), {"name": "adam", "lr": -1}),
        (("axes", "method.p"), []),
        (("metric", "name"), "val.acuracy"),
        (("resources", "workers"), 0),
    ],
)
def test_bad_files_do_not(schema: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    content = read(SWEEPS / "quickstart.yaml").content
    *outer, last = place
    inner = content
    for part in outer:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@pytest.mark.parametrize("weight", [{"gamma": 0.01}, {"kind": "random"}, None])
def test_a_weight_perturbation_fits_with_and_without_its_kind(
    schema: dict[str, Any], weight: dict[str, Any] | None
) -> None:
    content = read(SWEEPS / "quickstart.yaml").content
    content["trial"]["method"] = {"name": "at_awp", "weight": weight}
    jsonschema.validate(content, schema)


def test_components_are_named_and_described(schema: dict[str, Any]) -> None:
    trial = schema["$defs"]["Trial"]["properties"]
    assert trial["method"]["oneOf"][0]["enum"] == names("methods")
    assert trial["epochs"]["description"] == "passes over the training examples."
    assert schema["properties"]["keep"]["description"]
    text = json.dumps(schema)
    assert all(f'"const": "{name}"' in text for kind in ("data", "models", "methods") for name in names(kind))
    assert set(schema["$defs"]) == {ref.split('"')[0] for ref in text.split("#/$defs/")[1:]}
