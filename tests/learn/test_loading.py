"""Batches: their order, the processes that read them, and what happens when one cannot be read."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from small_data import small_backbone

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn.data import batches, in_order, load_data, shuffled
from exitsearch.learn.data.splits import DataSplits, Split
from exitsearch.learn.data.workers import Workers


class NumbersSplit(Split):
    """Samples that say which process read them; the label is the sample's number."""

    def __init__(self, count, fatal=None):
        super().__init__(torch.arange(count))
        self.fatal = fatal

    def read(self, indices):
        if self.fatal in indices:
            os._exit(1)
        return torch.tensor([[index, os.getpid()] for index in indices])

    def finish(self, samples):
        return samples + torch.tensor([100, 0])


def splits(count=20, **options):
    parts = {name: NumbersSplit(count, **options) for name in ("heads", "choice", "report")}
    return DataSplits("numbers", "", "classification", count, **parts)


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        path = tmp_path / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    return tmp_path


def read(split, order, **options):
    """Numbers of the samples by batch, and the processes that read them."""
    found, processes = [], set()
    for images, labels in batches(split, order=order, **options):
        assert (images[:, 0] - 100).tolist() == labels.tolist()
        found.append(labels.tolist())
        processes |= set(images[:, 1].tolist())
    return found, processes


def test_batches_leave_the_global_generator_alone():
    data = load_data("digits", backbone=small_backbone())
    for count in (0, 1):
        data.read_by(count)
        before = torch.random.get_rng_state()
        images, labels = next(batches(data.choice, order=[[3, 1]]))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert images.shape == (2, 1, 8, 8)
        assert labels.tolist() == data.choice.labels[[3, 1]].tolist()


def test_processes_stay_from_one_reading_to_the_next_and_for_all_splits():
    data = splits()
    data.read_by(2)
    order = shuffled(20, 3, seed=0, epoch=0)
    found, processes = read(data.heads, order)
    assert found == order
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert read(data.choice, in_order(20, 3)) == (in_order(20, 3), processes)
    data.close()
    assert not read(data.report, order)[1] & processes


def test_an_epoch_may_start_in_its_middle():
    data, order = splits(), shuffled(20, 3, seed=0, epoch=0)
    for count in (0, 2):
        data.read_by(count)
        assert read(data.heads, order, start=4)[0] == order[4:]
        assert read(data.heads, order, start=len(order))[0] == []


@pytest.mark.parametrize("count", [0, 1])
def test_batches_come_where_they_are_wanted(count):
    """The meta device stands for a GPU: what arrives there was finished there."""
    data = load_data("digits", backbone=small_backbone(), workers=count, device="meta")
    for batch in (next(batches(data.heads, order=[[3, 1]])), next(batches(data.heads, order=[[3, 1]], device="meta"))):
        assert [tensor.device.type for tensor in batch] == ["meta", "meta"]
    images, _ = next(batches(data.heads, order=[[3, 1]], device="cpu"))
    assert torch.equal(images, data.heads.batch([3, 1])[0])


def test_a_reading_that_was_broken_off_leaves_nothing_behind():
    data, order = splits(), in_order(20, 2)
    data.read_by(2)
    for _ in batches(data.heads, order=order):
        break
    assert read(data.heads, order[::-1])[0] == order[::-1]


def test_two_readings_at_once_do_not_mix():
    data = splits()
    data.read_by(1)
    found = []
    for images, labels in batches(data.heads, order=in_order(20, 4)):
        assert (images[:, 0] - 100).tolist() == labels.tolist()
        found.append(labels.tolist())
        assert read(data.choice, in_order(20, 7))[0] == in_order(20, 7)
    assert found == in_order(20, 4)


def test_a_process_that_dies_is_one_sentence():
    data = splits(fatal=13)
    data.read_by(1)
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(ExitSearchError, match=r"a process that reads images was ended.* fewer --workers"):
        read(data.heads, in_order(20, 4))
    assert signal.getsignal(signal.SIGCHLD) is before
    assert read(data.heads, [[1, 2]])[0] == [[1, 2]]  # a new one is started


def test_splits_travel_without_their_processes():
    data = splits()
    data.read_by(1)
    order = in_order(20, 5)
    read(data.heads, order)
    again = pickle.loads(pickle.dumps(data))
    assert read(again.heads, order)[0] == order


def test_worker_processes_read_the_same_and_name_what_is_broken(folder):
    """A file that breaks after it was looked at is met in its batch."""
    data = load_data(str(folder), backbone=small_backbone())
    split = data.heads
    assert split.workers is None  # a few images
    alone = list(batches(split, order=in_order(len(split), 4)))
    data.read_by(1)
    together = list(batches(split, order=in_order(len(split), 4)))
    for (a, b), (c, d) in zip(alone, together, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    for number in (1, 2):
        open(split.files[number], "w").close()
    for count in (0, 1):
        data.read_by(count)
        with pytest.raises(InputError, match=r"2 of the 4 images of a batch cannot be read, the first is .*png"):
            list(batches(split, order=in_order(len(split), 4)))


def test_order_depends_on_seed_and_epoch_alone():
    first = shuffled(10, 4, seed=1, epoch=2)
    assert first == shuffled(10, 4, seed=1, epoch=2)
    assert sorted(number for batch in first for number in batch) == list(range(10))
    assert first != shuffled(10, 4, seed=1, epoch=3)
    assert first != shuffled(10, 4, seed=2, epoch=2)


def test_a_last_batch_of_one_is_left_out():
    assert [len(batch) for batch in shuffled(9, 4, seed=0, epoch=0)] == [4, 4]
    assert [len(batch) for batch in shuffled(1, 4, seed=0, epoch=0)] == [1]


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "Connection reset by peer")], ids=repr)
def test_a_process_that_dies_while_it_hands_over_is_the_same_sentence(error: Exception) -> None:
    def stream() -> Iterator[object]:
        raise error
        yield

    workers = Workers([], count=1)
    with pytest.raises(ExitSearchError, match=r"a process that reads images was ended.* fewer --workers"):
        workers._next(stream())
