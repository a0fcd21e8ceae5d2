"""What is printed: folded for many nodes, whole for one, the remedy last."""

from __future__ import annotations

import json

from rich.console import Console

from orchestrator.doctor.report import as_json, exit_code, troubles, view
from orchestrator.doctor.result import Result


def shown(results: list[Result]) -> list[str]:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(view(results), soft_wrap=True)
    return [line.rstrip() for line in captured.get().splitlines()]


def nodes(count: int) -> list[Result]:
    return [Result("versions", "ok", "torch 2.15.0", node=f"n{i} (10.0.0.{i})") for i in range(count)]


def test_one_node_is_named_and_fifty_are_counted() -> None:
    assert any("n0 (10.0.0.0)" in line for line in shown(nodes(1)))
    lines = shown(nodes(50))
    assert [line for line in lines if "50 nodes" in line and "torch 2.15.0" in line]
    assert len(lines) == 3, "a head, a check, the verdict"
    assert lines[-1] == "50 ok, 0 warnings, 0 failures on the driver and 50 nodes"


def test_findings_that_differ_say_so() -> None:
    results = [Result("cache", "ok", f"{i}.0 GB free", node=f"n{i}") for i in (7, 8)]
    assert any("7.0 GB free (the first of 2)" in line for line in shown(results))


def test_what_fails_comes_last_with_node_and_remedy() -> None:
    bad = Result("clock", "fail", "+40 s", "chrony", "n1 (10.0.0.1)")
    slow = Result("clock", "warn", "+3 s", "chrony", "n2 (10.0.0.2)")
    lines = shown([bad, *nodes(3), slow])
    assert lines[-3:-1] == [str(slow), str(bad)]
    assert "n1 (10.0.0.1): +40 s; chrony" in lines[-2]


def test_nodes_that_fail_alike_share_a_line_that_names_them_all() -> None:
    alike = [Result("store", "fail", "not here", "share it", node=f"n{i}") for i in range(50)]
    (line,) = troubles(alike)
    assert line.startswith("fail: store: n0, n1, ")
    assert "n49: not here; share it" in line


def test_brackets_in_what_was_found_are_not_markup() -> None:
    assert any("[Errno 13] [red]" in line for line in shown([Result("a", "fail", "[Errno 13] [red] x")]))


def test_json_holds_every_finding() -> None:
    assert json.loads(json.dumps(as_json(nodes(2))))[1] == {
        "check": "versions", "status": "ok", "found": "torch 2.15.0", "remedy": "", "node": "n1 (10.0.0.1)",
    }  # fmt: skip


def test_exit_code() -> None:
    assert exit_code(nodes(2)) == 0
    assert exit_code([Result("a", "warn", "x")]) == 0
    assert exit_code([*nodes(2), Result("a", "fail", "x")]) == 1
