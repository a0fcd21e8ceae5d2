from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweepfile.yaml_file import YamlError, assignment, read, read_text, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("no", "no"),
        ("on", "on"),
        ("012", 12),
        ("true", True),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("{a: [1, x]}", {"a": [1, "x"]}),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_lines_of_values() -> None:
    document = read_text("# comment\na:\n  b.c: [1,\n    2]\n  d:\n    - x\n    - y\n")
    assert document.line(("a",)) == 2
    assert document.line(("a", "b.c")) == 3
    assert document.line(("a", "b.c", 1)) == 4
    assert document.line(("a", "d", 1)) == 7
    assert document.line(("a", "b.c", 1, "nothing")) == 4
    assert document.line(("nothing",)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", "f.yaml:4: b.c: stands twice, first in line 3"),
        ("a: 1\nb: [1\nc: 2", "f.yaml:3: while parsing a flow sequence expected ',' or ']', but got ':'"),
        (
            "a: 1\nb: !!python/object:os.system x",
            "f.yaml:2: tag !!python/object:os.system is not legal: plain",
        ),
        ("x: &a [*a]", "f.yaml:1: nested more than 50 levels deep"),
        ("[" * 1500, "f.yaml: nested more than 50 levels deep"),
        ("%YAML 1.1\n---\na: no", "f.yaml:1: %YAML 1.1 is not legal: %YAML 1.2"),
        ("a: 1\n2: b", "f.yaml:2: key 2 is not legal: a word, or a text in quotes"),
        ("a: !!int x", "f.yaml: invalid literal for int()"),
        ("a: 1\n---\nb: 2", "f.yaml:2: expected a single document"),
        ("a: *b", "f.yaml:1: found undefined alias 'b'"),
    ],
)
def test_bad_yaml_is_one_line(text: str, message: str) -> None:
    with pytest.raises(YamlError) as caught:
        read_text(text, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_aliases_that_blow_up_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(YamlError, match="values once its aliases are written out"):
        read_text("\n".join(levels))


def test_aliases_and_merges_work() -> None:
    content = read_text("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\nlist: [*b]").content
    assert content["other"] == {"x": 1, "y": 3}
    assert content["list"] == [{"x": 1, "y": 2}]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(YamlError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff")
    with pytest.raises(YamlError, match="not text in UTF-8"):
        read(tmp_path / "binary.yaml")


def test_assignments() -> None:
    assert assignment("a.b=3") == ("a.b", 3)
    assert assignment("a=b=c") == ("a", "b=c")
    assert assignment("axes.method.p=[0, 1e-3]") == ("axes.method.p", [0, 0.001])
    for bad in ("a", "=3", "a=", "a=[1"):
        with pytest.raises(YamlError, match=r"^--set "):
            assignment(bad)
