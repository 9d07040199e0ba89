"""Workers: processes that read batches ahead, started once and kept from epoch to epoch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.models.inputs import Batch

# Below this many images, starting worker processes costs more than they save.
_FEW_IMAGES = 512
# Processes that read; more than these wait for the training on most machines.
_MOST_WORKERS = 8

Task = tuple[int, list[int]]


class Readable(Protocol):
    """What workers read."""

    def read(self, indices: list[int]) -> Batch:
        """The samples of some numbers, as one process hands them to another."""


class _Tasks(Dataset[object]):
    """Several splits read by (number of the split, numbers of samples)."""

    def __init__(self, splits: Sequence[Readable]) -> None:
        self.splits = splits

    def __getitem__(self, task: Task) -> object:
        number, indices = task
        try:
            return self.splits[number].read(indices)
        except InputError as error:
            # Handed on as a value: raised in a worker process it would arrive as a traceback.
            return InputError(str(error))


class _Order:
    """A sampler whose order changes from one reading to the next."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class Workers:
    """Processes that read for all splits of a data set; they start with the first batch that is asked for.

    Args:
        splits: that share them.
        count: how many, from 1.
    """

    def __init__(self, splits: Sequence[Readable], *, count: int) -> None:
        assert count >= 1
        self.count = count
        self._tasks = _Tasks(tuple(splits))
        self._order = _Order()
        self._loader: DataLoader[object] | None = None
        self._reading = 0

    def read(self, split: Readable, order: Sequence[list[int]], *, pin: bool = False) -> Iterator[object]:
        """Yield what `split.read` gives for each entry of `order`, or the error that it raises.

        Only one reading at a time goes through the processes. Where another one begins, an older one that is still
        wanted goes on in this process.

        Args:
            pin: put tensors where a CUDA device fetches them fast.

        Raises:
            ExitSearchError: when a process ended that should not have.
        """
        number = next(n for n, own in enumerate(self._tasks.splits) if own is split)
        self._reading += 1
        mine, tasks = self._reading, [(number, indices) for indices in order]
        stream = self._start(tasks, pin)
        for task in tasks:
            yield self._next(stream) if mine == self._reading else self._tasks[task]

    def _start(self, tasks: list[Task], pin: bool) -> Iterator[object]:
        if self._loader is None or self._loader.pin_memory != pin:
            self._loader = DataLoader(
                self._tasks,
                sampler=self._order,
                batch_size=None,
                num_workers=self.count,
                persistent_workers=True,
                pin_memory=pin,
                # The loader draws a number for its workers; from a generator of its own it leaves the global one alone.
                generator=torch.Generator().manual_seed(0),
            )
        self._order.tasks = tasks
        with _own_sigchld():
            return iter(self._loader)

    def _next(self, stream: Iterator[object]) -> object:
        try:
            return next(stream)
        # A process that dies just as it hands over a tensor breaks the connection that the tensor comes through.
        except (RuntimeError, EOFError, ConnectionError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            self.close()
            raise ExitSearchError(
                "a process that reads images was ended from outside, or for want of memory or of shared memory "
                "(/dev/shm); run the same command again with fewer --workers: what was finished is kept"
            ) from None

    def close(self) -> None:
        """End the processes; they start again when they are needed."""
        self._loader = None

    def __getstate__(self) -> dict[str, object]:
        # Splits that travel to another process leave their own processes here.
        return {**self.__dict__, "_loader": None}


@contextmanager
def _own_sigchld() -> Iterator[None]:
    """Undo what torch does where its processes start: there the death of one raises wherever this process just is.

    Without that it is noticed at the next batch, a few seconds later, where it can be said in a sentence.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None:  # else it is none of Python's
            signal.signal(signal.SIGCHLD, before)


def default_workers(images: int) -> int:
    """How many processes read a data set where nobody said: a core each, none for a few images."""
    if images <= _FEW_IMAGES:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores)
