from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from engine.data import examples
from engine.data.base import Arrays
from engine.data.examples import Batch, Examples

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]

IMAGES = Arrays(np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2), np.array([0, 1, 2, 0, 1, 2]))
DOCUMENTS = [[5, 6], [7], [2, 3, 4], [9, 9, 9, 9], [8]]
OFFSETS = np.array([0, 2, 3, 6, 10, 11])
TEXTS = Arrays(np.concatenate(DOCUMENTS).astype(np.int32), np.array([0, 1, 0, 1, 1]), OFFSETS)


@pytest.fixture(autouse=True)
def _read_only() -> None:
    for array in (IMAGES.x, IMAGES.y, TEXTS.x, TEXTS.y):
        array.flags.writeable = False  # as the store returns them


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_images_are_scaled_floats(device: torch.device) -> None:
    batch = Examples.load(IMAGES, 23.0, device).batch(torch.tensor([5, 0]))
    assert batch.labels is not None
    assert batch.views[0].dtype == torch.float32
    assert batch.views[0].device.type == device.type
    assert batch.views[0].shape == (2, 1, 2, 2)
    assert torch.equal(batch.views[0].cpu() * 23, torch.tensor(IMAGES.x[[5, 0]]).float())
    assert batch.labels.tolist() == [2, 0]
    assert batch.index.tolist() == [5, 0]
    assert (batch.lengths, batch.extra, len(batch)) == (None, 0, 2)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_texts_are_padded_to_the_longest_of_the_batch(device: torch.device) -> None:
    loaded = Examples.load(TEXTS, 1.0, device)
    for chosen in ([1, 2, 0], [4], [3, 1], [4, 3, 2, 1, 0]):
        batch = loaded.batch(torch.tensor(chosen))
        wanted = pad_sequence([torch.tensor(DOCUMENTS[i]) for i in chosen], batch_first=True)
        assert torch.equal(batch.views[0].cpu(), wanted)
        assert batch.views[0].dtype == torch.int64
        assert batch.lengths is not None
        assert batch.lengths.device == CPU
        assert batch.lengths.tolist() == [len(DOCUMENTS[i]) for i in chosen]
        packed = pack_padded_sequence(batch.views[0], batch.lengths, batch_first=True, enforce_sorted=False)
        assert len(packed.data) == batch.lengths.sum()


@pytest.mark.parametrize("arrays", [IMAGES, TEXTS], ids=["images", "texts"])
def test_a_subset_keeps_the_places_in_the_full_split(arrays: Arrays) -> None:
    keep = np.array([1, 3, 4])
    part, full = Examples.load(arrays, 1.0, CPU, keep), Examples.load(arrays, 1.0, CPU)
    assert (len(part), len(full)) == (3, len(arrays.y))
    assert part.labels.tolist() == arrays.y[keep].tolist()
    batch, wanted = part.batch(torch.tensor([2, 0])), full.batch(torch.tensor([4, 1]))
    assert batch.index.tolist() == [4, 1]
    assert torch.equal(batch.views[0], wanted.views[0])


@pytest.mark.parametrize("arrays", [IMAGES, TEXTS], ids=["images", "texts"])
def test_a_part_of_a_part_without_labels(arrays: Arrays) -> None:
    full = Examples.load(arrays, 1.0, CPU)
    part = full.part(np.array([1, 3, 4])).part(np.array([2, 0]), labelled=False)
    batch, wanted = part.batch(torch.tensor([0, 1])), full.batch(torch.tensor([4, 1]))
    assert (part.labels, batch.labels, len(part)) == (None, None, 2)
    assert batch.index.tolist() == part.index.tolist() == [4, 1]
    assert torch.equal(batch.views[0], wanted.views[0])
    assert part.part(np.array([0])).labels is None
    assert full.labels is not None
    assert full.index.tolist() == list(range(len(full)))


def test_examples_counted_on_from_others() -> None:
    part = Examples.load(IMAGES, 1.0, CPU, np.array([2, 5]), first=100)
    batch = part.batch(torch.tensor([1]))
    assert batch.index.tolist() == [105]
    assert torch.equal(batch.views[0], torch.tensor(IMAGES.x[[5]]).float())


def test_floats_are_batched_as_they_are() -> None:
    x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(6, 1, 2, 2)
    batch = Examples.load(Arrays(x, IMAGES.y), 1.0, CPU).batch(torch.tensor([5, 0]))
    assert torch.equal(batch.views[0], torch.tensor(x[[5, 0]]))
    batch.views[0].zero_()
    assert x[5].any()


def test_an_empty_batch() -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert Examples.load(IMAGES, 1.0, CPU).batch(none).views[0].shape == (0, 1, 2, 2)
    assert len(Examples.load(TEXTS, 1.0, CPU).batch(none)) == 0


@pytest.mark.parametrize("arrays", [IMAGES, TEXTS], ids=["images", "texts"])
def test_a_batch_is_the_callers_own(arrays: Arrays) -> None:
    loaded = Examples.load(arrays, 1.0, CPU)
    first = loaded.batch(torch.tensor([0, 1]))
    assert first.labels is not None
    before = first.views[0].clone()
    first.views[0].zero_(), first.labels.zero_(), first.index.zero_()
    again = loaded.batch(torch.tensor([0, 1]))
    assert torch.equal(again.views[0], before)
    assert again.index.tolist() == [0, 1]


def test_on_the_cpu_the_converted_file_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = examples._stored(IMAGES.x, CPU)
    assert stored.data_ptr() == IMAGES.x.ctypes.data

    def refuse(values: np.ndarray) -> torch.Tensor:
        raise BufferError("read-only")

    monkeypatch.setattr(examples, "from_dlpack", refuse)
    copied = examples._stored(IMAGES.x, CPU)
    assert copied.data_ptr() != IMAGES.x.ctypes.data
    assert torch.equal(copied, stored)


def test_a_part_of_a_batch_knows_its_unlabelled_rows() -> None:
    x, y = torch.arange(10.0).view(5, 2), torch.tensor([0, 1, 2])
    batch = Batch((x, x + 1), y, torch.arange(5), extra=2)  # the last two rows have no labels
    first, last = batch.part(0, 4), batch.part(4, 5)
    assert (first.extra, last.extra, len(first), len(last)) == (1, 1, 4, 1)
    assert first.labels is not None
    assert last.labels is not None
    assert (first.labels.tolist(), last.labels.tolist()) == ([0, 1, 2], [])
    assert torch.equal(last.views[1], x[4:] + 1)
    with pytest.raises(FrozenInstanceError):
        batch.extra = 0  # type: ignore[misc]


@pytest.mark.skipif(len(DEVICES) == 1, reason="needs a GPU")
def test_a_batch_of_images_does_not_wait_for_the_gpu() -> None:
    loaded = Examples.load(IMAGES, 1.0, DEVICES[-1])
    index = torch.tensor([0, 1], device=DEVICES[-1])
    torch.cuda.set_sync_debug_mode("error")
    try:
        loaded.batch(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
