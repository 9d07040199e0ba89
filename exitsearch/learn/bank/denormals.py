"""Denormal numbers: computed as zeros while heads train and answer, and as before afterwards.

Heads that have learnt are full of numbers below 1e-38 (gradients of samples that are already right, and the moments
that Adam keeps of them), with which some processors, Intel's above all, compute many times slower than with others.
Whether they are flushed to zero is a flag of each thread. A new thread takes it over from the one that begins it; a
worker of OpenMP that is there already never hears of a change. So where workers do not do as the calling thread does,
they are let go, and OpenMP begins new ones in the next parallel region. The backward pass of a graph on the CPU runs in
the thread that calls it.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

# The least elements of a share that torch gives to a thread of its own (at::internal::GRAIN_SIZE).
_GRAIN = 32768

# omp_pause_soft of OpenMP 5.0: threads may go, what they hold in memory stays.
_SOFT = 1


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Flush denormal numbers to zero inside, in this thread and in its workers; all of them do as before afterwards.

    Where the processor cannot, or the workers cannot be reached, nothing changes: what is computed must not depend on
    which thread computes it. Inside another one it does nothing.
    """
    before = flushes_denormals()
    if before and flushes_denormals(threads=torch.get_num_threads()):
        yield
        return
    try:
        if not (torch.set_flush_denormal(True) and _workers_follow()):
            torch.set_flush_denormal(before)
        yield
    finally:
        torch.set_flush_denormal(before)
        _workers_follow()


def flushes_denormals(*, threads: int = 1) -> bool:
    """Whether this thread, and so many in all, flush denormal numbers to zero.

    Torch can set the flag and not read it; a product of the smallest number by one shows it.

    Args:
        threads: that are asked, at most `torch.get_num_threads()`; 1 is the calling one.
    """
    return not bool(_products(threads).any())


def _products(threads: int) -> torch.Tensor:
    """The bits of the smallest number times one, a share for each of some threads: 0 where it is flushed, else 1."""
    # Made and read as whole numbers, since a thread that flushes neither writes denormal numbers nor tells them from 0.
    smallest = torch.ones(_GRAIN * threads, dtype=torch.int32).view(torch.float32)
    return (smallest * 1.0).view(torch.int32)


def _workers_follow() -> bool:
    """Whether every worker does as this thread does, once those that did not are let go."""
    threads = torch.get_num_threads()
    for _ in range(2):
        found = _products(threads)
        if bool((found == found[0]).all()):
            return True
        _let_workers_go()
    found = _products(threads)
    return bool((found == found[0]).all())


def _let_workers_go() -> None:
    """End the OpenMP workers of this thread, where the library of OpenMP that torch uses can do so."""
    with contextlib.suppress(OSError, AttributeError):  # another way of threads, or an OpenMP before 5.0
        ctypes.CDLL(torch._C.__file__).omp_pause_resource_all(_SOFT)
