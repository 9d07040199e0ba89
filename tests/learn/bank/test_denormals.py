"""Denormal numbers: flushed inside, in the thread, its workers and the backward pass; as before afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from exitsearch.learn.bank import denormals
from exitsearch.learn.bank.denormals import denormals_flushed, flushes_denormals

pytestmark = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


def _smallest(count=1):
    return torch.ones(count, dtype=torch.int32).view(torch.float32)


def _bits(tensor):
    return tensor.view(torch.int32)


def test_flushed_inside_and_kept_outside():
    assert not flushes_denormals()
    with denormals_flushed():
        assert flushes_denormals()
        assert int(_bits(_smallest() * 1.0)) == 0
    assert not flushes_denormals()
    assert int(_bits(_smallest() * 1.0)) == 1


def test_what_flushed_before_flushes_afterwards():
    torch.set_flush_denormal(True)
    with denormals_flushed():
        assert flushes_denormals()
    assert flushes_denormals()


def test_one_inside_another_ends_nothing():
    with denormals_flushed():
        with denormals_flushed():
            pass
        assert flushes_denormals()


def test_an_error_restores_it_too():
    with pytest.raises(KeyError), denormals_flushed():
        raise KeyError
    assert not flushes_denormals()


@pytest.mark.parametrize("threads", [2, 3])
def test_workers_that_were_there_before_follow(threads):
    """A share of the grain's size each: the workers begin outside, where denormal numbers are kept."""
    torch.set_num_threads(threads)
    count = threads * 32768
    assert bool(_bits(_smallest(count) * 1.0).all())
    with denormals_flushed():
        assert not bool(_bits(_smallest(count) * 1.0).any())
        assert flushes_denormals(threads=threads)
    assert bool(_bits(_smallest(count) * 1.0).all())


def test_the_backward_pass_flushes():
    """d(x * s)/dx = s, the smallest number: kept outside, 0 inside, as for heads over features of the CPU."""
    kept, flushed = (torch.ones(1, requires_grad=True) for _ in range(2))
    scale = _smallest()
    (kept * scale * 1.0).backward()
    assert int(_bits(kept.grad)) == 1
    with denormals_flushed():
        (flushed * scale * 1.0).backward()
    assert int(_bits(flushed.grad)) == 0


def test_where_workers_cannot_be_reached_nothing_changes(monkeypatch):
    torch.set_num_threads(2)
    count = 2 * 32768
    assert bool(_bits(_smallest(count) * 1.0).all())  # the workers are there
    monkeypatch.setattr(denormals, "_let_workers_go", lambda: None)
    with denormals_flushed():
        assert bool(_bits(_smallest(count) * 1.0).all())
    assert bool(_bits(_smallest(count) * 1.0).all())


def test_workers_that_begin_inside_do_not_outlive_it():
    """In a process of its own, whose first parallel region is inside."""
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from exitsearch.learn.bank.denormals import denormals_flushed\n"
        "smallest = torch.ones(65536, dtype=torch.int32).view(torch.float32)\n"
        "with denormals_flushed():\n"
        "    inside = (smallest * 1.0).view(torch.int32).sum()\n"
        "print(int(inside), int((smallest * 1.0).view(torch.int32).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "65536"]
