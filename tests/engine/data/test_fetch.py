from __future__ import annotations

from pathlib import Path

import pytest
import torchvision.datasets
import torchvision.datasets.utils

from engine.data.fetch import fetch
from engine.data.idx import FILES
from engine.errors import InputError

pytestmark = pytest.mark.usefixtures("no_data")


@pytest.mark.parametrize(("name", "published"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_torchvision_downloads_into_the_folder_looked_in_first(
    name: str, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(root: str, train: bool, download: bool) -> None:
        calls.append((root, download))
        raw = Path(root) / published / "raw"
        raw.mkdir(parents=True)
        for stem in FILES:
            (raw / stem).write_bytes(b"")

    monkeypatch.setattr(torchvision.datasets, published, download)
    fetch(name, tmp_path)
    fetch(name, tmp_path)  # all there: nothing to do
    assert calls == [(str(tmp_path / name), True)]


def test_torchvision_uses_the_layout_that_is_looked_in(tmp_path: Path) -> None:
    """Of the real classes, without a download."""
    for published in ("MNIST", "FashionMNIST"):
        dataset = getattr(torchvision.datasets, published).__new__(getattr(torchvision.datasets, published))
        dataset.root = str(tmp_path)
        assert Path(dataset.raw_folder) == tmp_path / published / "raw"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", {"cifar-10-python.tar.gz": torchvision.datasets.CIFAR10.tgz_md5}),
        ("cifar100", {"cifar-100-python.tar.gz": torchvision.datasets.CIFAR100.tgz_md5}),
        ("svhn", {name: md5 for _, name, md5 in list(torchvision.datasets.SVHN.split_list.values())[:2]}),
    ],
)
def test_archives_are_downloaded_from_where_torchvision_does_and_stay_packed(
    name: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {}

    def download(url: str, root: str, filename: str, md5: str) -> None:
        assert url.endswith(f"/{filename}")
        calls[filename] = md5
        Path(root).mkdir(parents=True, exist_ok=True)
        (Path(root) / filename).write_bytes(b"")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download)
    fetch(name, tmp_path)
    assert calls == files
    assert sorted(p.name for p in tmp_path.rglob("*.*") if p.is_file()) == sorted(files)
    calls.clear()
    fetch(name, tmp_path)  # all there: nothing to do
    assert calls == {}


@pytest.mark.parametrize("error", [RuntimeError("Error downloading"), OSError("no network")])
def test_a_failed_download_says_where_the_files_go(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(root: str, train: bool, download: bool) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    with pytest.raises(InputError, match=str(error)) as raised:
        fetch("mnist", tmp_path)
    assert str(tmp_path / "mnist/MNIST/raw") in str(raised.value)


def test_imdb_says_where_it_is_and_where_it_goes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"aclImdb_v1.tar.gz from https://.*folder imdb") as raised:
        fetch("imdb", tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ag_news", r"train.csv and test.csv from https://.*ag_news/ag_news_csv"),
        ("pheme", r"figshare.*pheme"),
    ],
)
def test_the_other_texts_say_where_they_are(name: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=wanted) as raised:
        fetch(name, tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("name", ["digits", "synthetic_text"])
def test_what_needs_no_fetching(name: str, tmp_path: Path) -> None:
    fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        fetch("mnits", tmp_path)
