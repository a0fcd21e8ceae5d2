"""What is checked on one node, against values that stand in for other nodes."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.doctor import checks
from orchestrator.doctor.checks import Expected, File, file_of, fingerprint
from orchestrator.records.provenance import versions

HERE = {"python": "3.11.7", "perturb-sweeps": "0.1.0", "torch": "2.15.0", "ray": "2.60.0"}


@pytest.mark.parametrize(
    ("change", "status", "wanted"),
    [
        ({}, "ok", "torch 2.15.0"),
        ({"torch": "2.14.0"}, "fail", "torch 2.14.0, the driver's is 2.15.0"),
        ({"torch": "2.15.0+cu130"}, "warn", "2.15.0+cu130"),
        ({"python": "3.11.9"}, "warn", "python 3.11.9"),
        ({"python": "3.12.7"}, "fail", "python 3.12.7"),
        ({"perturb-sweeps": "0.2.0"}, "fail", "perturb-sweeps 0.2.0"),
    ],
)
def test_versions(change: dict[str, str], status: str, wanted: str) -> None:
    result = checks.check_versions(HERE | change, HERE)
    assert (result.status, wanted in result.found) == (status, True)
    assert bool(result.remedy) == (status != "ok")


def test_a_package_that_a_node_lacks_fails_but_our_own_travels() -> None:
    assert checks.check_versions({k: v for k, v in HERE.items() if k != "ray"}, HERE).status == "fail"
    assert checks.check_versions({k: v for k, v in HERE.items() if k[0] != "p"} | {"python": "3.11.7"}, HERE)
    without = {k: v for k, v in HERE.items() if k != "perturb-sweeps"}
    assert checks.check_versions(without, HERE).status == "ok"
    assert checks.check_versions(HERE | {"extra": "1"}, HERE).status == "ok"


def test_code_is_one_hash_of_all_sources() -> None:
    assert checks.check_code(checks.code_hash(), checks.code_hash()).status == "ok"
    other = checks.check_code("a" * 64, "b" * 64)
    assert (other.status, "aaaaaaaaaa" in other.found, "bbbbbbbbbb" in other.found) == ("fail", True, True)


def test_code_changes_with_any_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    source = tmp_path / "deep/a.py"
    source.write_text("x = 1\n")
    monkeypatch.setattr(checks, "engine", SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    before = checks.code_hash.__wrapped__()
    source.write_text("x = 2\n")
    assert checks.code_hash.__wrapped__() != before


@pytest.mark.parametrize(
    ("free", "needed", "status"),
    [
        (1e12, 0, "ok"),
        (4e9, 0, "warn"),
        (4e8, 0, "fail"),
        (2e10, 1e10, "ok"),
        (2e10, 1.8e10, "warn"),
        (2e10, 3e10, "fail"),
    ],
)
def test_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, needed: float, status: str
) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=free, total=free))
    result = checks.check_disk("cache", tmp_path / "not/yet/there", needed, "PERTURB_CACHE")
    assert result.status == status
    assert not (tmp_path / "not").exists(), "nothing is made"
    assert ("needed" in result.found) == bool(needed)
    assert ("PERTURB_CACHE" in result.remedy) == (status != "ok")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)
    result = checks.check_disk("cache", tmp_path / "deeper", 0, "PERTURB_CACHE")
    assert (result.status, result.found) == ("fail", f"{tmp_path} cannot be written")


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_shared_memory(tmp_path / "none").status == "ok"
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(total=64e6))
    result = checks.check_shared_memory(tmp_path)
    assert (result.status, "64.0 MB" in result.found, "--shm-size" in result.remedy) == ("warn", True, True)


def test_open_files() -> None:
    assert checks.check_open_files(1024).status == "warn"
    assert checks.check_open_files(65536).found == "65536"
    assert checks.check_open_files(resource.RLIM_INFINITY).found == "no limit"


@pytest.mark.parametrize("length", [0, 1, 100_000, 1 << 22, 10_000_000])
def test_a_fingerprint_tells_files_apart(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(length))
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.write_bytes(bytes(length + 1))
    assert fingerprint(path) != before
    for place in (0, length // 2 if length <= 1 << 22 else length - 1, length - 1):
        if length:
            content = bytearray(length)
            content[place] = 1
            path.write_bytes(content)
            assert fingerprint(path) != before, place


def test_data_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/data").mkdir(parents=True)
    mine = tmp_path / "digits-1.arrow"
    mine.write_bytes(b"converted" * 1000)
    data = (file_of(mine, mine.name),)
    assert checks.check_data(()).found == "none converted yet"
    assert checks.check_data(data).found == "9.0 kB to be sent with the run"
    theirs = tmp_path / "cache/data/digits-1.arrow"
    theirs.write_bytes(mine.read_bytes())
    assert checks.check_data(data).found == "as on the driver"
    theirs.write_bytes(b"Converted" * 1000)
    result = checks.check_data(data)
    assert (result.status, result.found) == ("fail", f"{theirs} is not the driver's")


def test_the_cache_needs_room_only_for_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/held.arrow").write_bytes(b"x")
    files = (File("held.arrow", 10**15, ""), File("lacking.arrow", 10**15, ""))
    assert checks.check_cache(files[:1]).status != "fail"
    assert checks.check_cache(files).status == "fail"


def test_files_by_path(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 0.1\n")
    file = file_of(vectors)
    assert checks.check_files([file]).status == "ok"
    vectors.write_text("the 0.2\n")
    assert checks.check_files([file]).found == f"{vectors} is not the driver's"
    vectors.unlink()
    assert checks.check_files([file]).found == f"no {vectors}"


@pytest.mark.parametrize(
    ("skew", "delay", "status"),
    [
        (0, 0.01, "ok"),
        (1.9, 0.01, "ok"),
        (-2.1, 0.01, "warn"),
        (31, 0.01, "fail"),
        (-31, 1, "fail"),
        (0, 5, "warn"),
        (3, 5, "warn"),
    ],
)
def test_a_skewed_clock(skew: float, delay: float, status: str) -> None:
    """Pings over a path whose way there takes 80 % of the time: the offset is off by less than the bound."""

    def ping(sent: float, delay: float) -> tuple[float, float, float]:
        return sent, sent + 0.8 * delay + skew, sent + delay

    result = checks.check_clock([ping(100, 10 + delay), ping(120, delay), ping(130, 2 * delay)])
    assert result.status == status
    offset, bound = (float(word) for word in result.found.replace(" s", "").split(":")[0].split(" ± "))
    assert abs(offset - skew) <= bound + 1e-3
    assert bound == pytest.approx(delay / 2, abs=1e-3), "the quickest ping counts"


def test_looking_at_this_node_finds_it_equal_to_itself() -> None:
    results = checks.look(Expected(dict(versions()), checks.code_hash()))
    assert {"versions", "code", "cache", "shared memory", "open files", "data"} == {r.check for r in results}
    assert {r.status for r in results if r.check in ("versions", "code", "data")} == {"ok"}
