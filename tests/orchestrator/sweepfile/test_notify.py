"""The address of a webhook is a secret: nothing that is kept, printed or raised holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.sweepfile.notify import VARIABLE, Notify, shown, unsaid
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import from_dict, load

SECRET = "https://hooks.example.org/services/T0/B0/s3cr3t"
FILE = """\
name: told  # posts to {url}
trial: {{data: digits, model: lenet5_8x8, method: standard}}
notify:
  url: {written}
  on: [failed]
"""


@pytest.mark.parametrize(
    "written",
    [SECRET, f"'{SECRET}'", f'"{SECRET}"', '"https://hooks.example.org/services/T0/B0/s3\\x63r3t"'],
)
def test_the_text_that_is_kept_has_the_variable_in_its_place(tmp_path: Path, written: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(FILE.format(url=SECRET, written=written))
    sweep = load(path)
    assert sweep.webhook == SECRET
    assert "r3t" not in sweep.text
    assert "r3t" not in repr(sweep) + sweep.model_dump_json()
    path.write_text(sweep.text)
    again = load(path)
    assert (again.webhook, again.notify) == ("", Notify(on=("failed",)))
    assert again.text == sweep.text


def test_an_override_is_hidden_too(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: told\ntrial: {data: digits, model: lenet5_8x8, method: standard}\n")
    sweep = load(path, [f"notify.url={SECRET}", "trial.epochs=1"])
    assert sweep.webhook == SECRET
    assert "s3cr3t" not in sweep.text
    assert f"# run with --set notify.url={VARIABLE}" in sweep.text
    with pytest.raises(SweepError) as caught:
        load(path, [f"notify.url={SECRET}", "notify.on=[]"])
    assert "s3cr3t" not in str(caught.value)
    assert unsaid(["run", f"--set=notify.url={SECRET}"]) == ["run", f"--set=notify.url={VARIABLE}"]


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ({"url": "ftp://host/s3cr3t"}, "notify.url: is not legal: https://host/"),
        ({"url": "hooks.example.org/s3cr3t"}, "notify.url: is not legal"),
        ({"url": "https:///s3cr3t"}, "notify.url: is not legal"),
        (SECRET, "notify: is not legal: a mapping"),
        ({"uri": SECRET}, "notify.uri: unknown setting"),
        ({"url": SECRET, "on": ["dun"]}, "notify.on"),
        ({"stalled_minutes": 0}, "notify.stalled_minutes: 0 is not legal"),
    ],
)
def test_bad_blocks_are_one_line_without_the_address(notify: Any, wanted: str) -> None:
    with pytest.raises(SweepError) as caught:
        from_dict({"name": "a", "trial": {"data": "digits"}, "notify": notify})
    assert wanted in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_without_a_block_all_moments_are_told() -> None:
    sweep = from_dict({"name": "a", "trial": {"data": "digits"}})
    assert (sweep.webhook, sweep.notify) == ("", Notify())
    assert Notify().on == ("done", "failed", "stalled")
    with pytest.raises(ValidationError):
        Notify(on=())


def test_an_address_is_shown_without_its_secret() -> None:
    assert shown("http://anna:pw@host/x?token=1") == "http://host/..."
