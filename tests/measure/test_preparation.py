"""What is set while a measurement runs: the device, threads, and the modules' mode."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from tiny_backbone import tiny_backbone

from exitsearch.measure import preparation
from exitsearch.measure.preparation import Condition, current_device, made_ready
from exitsearch.measure.runtimes import EagerRuntime


class Log(EagerRuntime):
    """Notes when units are made."""

    log: list[str] = []  # noqa: RUF012

    def __init__(self, *arguments, **options):
        self.log.append("made")
        super().__init__(*arguments, **options)


def test_units_are_made_and_measured_on_the_current_device(monkeypatch):
    @contextmanager
    def noted(device):
        Log.log.append(f"enter {device}")
        yield
        Log.log.append("leave")

    monkeypatch.setattr(preparation, "current_device", noted)
    Log.log.clear()
    condition = Condition(torch.device("cpu"), "fp32", None, Log, 0)
    with made_ready(tiny_backbone(), [], condition, batch_size=2):
        Log.log.append("measured")
    assert Log.log == ["enter cpu", "made", "measured", "leave"]


def test_a_cuda_device_becomes_the_current_one(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "device", lambda device: asked.append(device) or current_device(torch.device("cpu"))
    )
    where = torch.device("cuda", 1)
    with current_device(where):
        pass
    with current_device(torch.device("cpu")):
        pass
    assert asked == [where]


@pytest.mark.parametrize("threads", [None, 1])
def test_threads_are_put_back(threads):
    before = torch.get_num_threads()
    condition = Condition(torch.device("cpu"), "fp32", threads, EagerRuntime, 0)
    with made_ready(tiny_backbone(), [], condition, batch_size=2) as ready:
        assert ready.threads == torch.get_num_threads() == (threads or before)
    assert torch.get_num_threads() == before
