from __future__ import annotations

import pytest
import torch

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.machine import fingerprint
from exitsearch.measure.profiler import profile_backbone
from exitsearch.models.backbone import create_backbone

CPU = torch.device("cpu")


def test_cpu_is_always_there():
    assert fingerprint.resolve_device("cpu") == torch.device("cpu")


def test_missing_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UnavailableError, match=r"--device cuda: no CUDA device is visible here \(.+\); use --device cpu"
    ):
        fingerprint.resolve_device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UnavailableError, match="CUDA_VISIBLE_DEVICES hides"):
        fingerprint.resolve_device("cuda:0")


def test_gpu_beyond_the_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert fingerprint.resolve_device("cuda") == torch.device("cuda", 0)
    with pytest.raises(UnavailableError, match="has 1 CUDA device, numbered from 0; use --device cuda:0"):
        fingerprint.resolve_device("cuda:3")


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:x", ""])
def test_other_devices_are_refused(name):
    with pytest.raises(InputError, match="a device is written cpu, cuda or cuda:N"):
        fingerprint.resolve_device(name)


def test_dtypes():
    assert fingerprint.resolve_dtype("bf16") == torch.bfloat16
    with pytest.raises(InputError, match="found 'fp8'"):
        fingerprint.resolve_dtype("fp8")


def test_fingerprint_groups():
    environment = fingerprint.fingerprint(
        torch.device("cpu"), dtype="fp32", batch_size=2, input_size=(3, 8, 8), threads=1, runtime="eager"
    )
    identity = environment.identity
    assert (identity["device"], identity["batch_size"], identity["input_size"]) == ("cpu", 2, "3x8x8")
    assert str(torch.__version__).startswith(str(identity["torch"]))
    assert environment.soft["torch_version"] == torch.__version__
    assert not set(identity) & set(environment.soft)


def test_describe_machine_says_why_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    described = fingerprint.describe_machine()
    assert str(described["cuda"]).startswith("none: ")
    assert described["versions"]["torch"] == torch.__version__ or described["versions"]["torch"] in torch.__version__


def test_identity_holds_what_is_so_not_constants():
    """Weights laid out channels first or last, and autocast around the measurement, are facts of the moment."""
    convolutions = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 1))
    assert not fingerprint.is_channels_last(convolutions)
    assert fingerprint.is_channels_last(convolutions.to(memory_format=torch.channels_last))
    assert not fingerprint.is_channels_last(torch.nn.Linear(3, 3))

    def identity(**changes):
        facts = {"dtype": "fp32", "batch_size": 1, "input_size": (3, 8, 8), "threads": 1, "runtime": "eager"}
        return fingerprint.fingerprint(CPU, **{**facts, **changes}).identity

    plain = identity()
    assert (plain["channels_last"], plain["autocast"]) == (False, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        changed = identity(channels_last=True)
    assert (changed["channels_last"], changed["autocast"]) == (True, True)


def test_a_profile_says_how_its_weights_lie():
    backbone = create_backbone("test_resnet", pretrained=False)
    backbone.module.to(memory_format=torch.channels_last)
    profile = profile_backbone(backbone, heads=["linear"], placements=[0], threads=1, max_seconds=0.01)
    assert profile.environment.identity["channels_last"] is True
