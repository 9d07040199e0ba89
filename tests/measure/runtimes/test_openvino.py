"""The openvino runtime must compute what eager does, in the dtype and with the threads that were asked for.

Once OpenVINO has run in a process, torch's inductor may crash in it (seen with OpenVINO 2026.4.1 and torch 2.15: a
segmentation fault while `compile` starts the C++ compiler). So what loads it runs only when asked for, by itself:

    EXITSEARCH_TEST_OPENVINO=1 pytest tests/measure/runtimes/test_openvino.py
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_backbone import EXAMPLE, answers, numbers, tiny_backbone, tiny_heads

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.runtimes import RUNTIMES, onnx_export, openvino
from exitsearch.measure.timing.clock import HostClock
from exitsearch.measure.timing.latency import measure_rounds
from exitsearch.models.backbone import create_backbone

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="module")
def library():
    """The installed openvino."""
    if "EXITSEARCH_TEST_OPENVINO" not in os.environ:
        pytest.skip("OpenVINO is loaded in a run of its own only: set EXITSEARCH_TEST_OPENVINO=1")
    try:
        return openvino.openvino_library()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def runtime(library):
    return make()


def make(name="openvino", *, task="classification", dtype=torch.float32):
    """A runtime whose units are exported with their own weights; in use, equal structures share the first one's."""
    backbone = copy.deepcopy(tiny_backbone(task=task))
    backbone.module.to(dtype)
    heads = {key: head.to(dtype) for key, head in tiny_heads().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "structure", lambda *values: object())
        return RUNTIMES[name](backbone, heads, example=EXAMPLE.to(dtype))


def test_openvino_computes_what_eager_does(runtime):
    # The first input again: its binding must come back.
    for x in (EXAMPLE, EXAMPLE.flip(0) + 1, EXAMPLE):
        for found, wanted in zip(answers(runtime, x), answers(make("eager"), x), strict=True):
            torch.testing.assert_close(numbers(found), numbers(wanted), atol=1e-5, rtol=1e-5)
    assert runtime.preparation["export_and_load_seconds"] > 0


def test_the_decision_of_a_regression_is_the_values(runtime):
    other = copy.copy(runtime)
    other._task = "regression"
    for found, wanted in zip(answers(other, EXAMPLE), answers(make("eager", task="regression"), EXAMPLE), strict=True):
        torch.testing.assert_close(numbers(found), numbers(wanted), atol=1e-5, rtol=1e-5)


def test_openvino_computes_bf16_in_bf16(library):
    if "BF16" not in library.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bf16")
    runtime, eager = make(dtype=torch.bfloat16), make("eager", dtype=torch.bfloat16)
    for x in (EXAMPLE.bfloat16(), EXAMPLE.flip(0).bfloat16() + 1):
        for found, wanted in zip(answers(runtime, x), answers(eager, x), strict=True):
            # bf16 has 8 significant bits.
            torch.testing.assert_close(numbers(found), numbers(wanted), atol=2**-7, rtol=2**-7)
    assert runtime.identity["inference_precision"] == "bf16"


def test_fp32_stays_fp32_where_the_processor_has_bf16(library):
    """A ViT's outputs are right to 1e-5; computed in bf16, which is OpenVINO's own choice, they are off by 1e-3."""
    backbone = create_backbone("test_vit", pretrained=False)
    module, x = backbone.module.eval(), torch.randn(1, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        path, wanted = onnx_export.export_unit(module, x), module(x)
    core = library.Core()

    def worst(options):
        unit = openvino.OpenVinoUnit(core, path, options)
        found = openvino._numbers(unit.first((openvino._shared(library, x),)))
        return (torch.from_numpy(found) - wanted).abs().max().item()

    options = openvino.unit_options("f32", 1)
    assert worst(options) < 1e-5
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        del options["INFERENCE_PRECISION_HINT"]
        assert worst(options) > 1e-4


def test_nothing_is_copied_between_units(runtime):
    start = runtime.begin(EXAMPLE)
    assert start[0].data.ctypes.data == EXAMPLE.data_ptr()
    assert runtime.begin(EXAMPLE)[0] is start[0]
    first, second = runtime.segments
    state = first(start)
    second(state)
    assert first._request.get_input_tensor(0).data.ctypes.data == EXAMPLE.data_ptr()
    for index, tensor in enumerate(state):
        assert second._request.get_input_tensor(index).data.ctypes.data == tensor.data.ctypes.data
    assert all(new is old for new, old in zip(first(start), state, strict=True))


def test_the_protocol_runs_over_openvino(runtime):
    samples = measure_rounds(runtime, [EXAMPLE], HostClock(), max_seconds=0.01)
    assert len(samples.whole.host_ms) == samples.rounds >= 3
    assert all(time > 0 for _, unit in samples.units() for time in unit.host_ms)


def test_a_profile_names_version_and_precision(library):
    profile = profile_backbone(
        create_backbone("test_vit", pretrained=False),
        heads=["linear"],
        placements=[0],
        threads=1,
        runtime="openvino",
        max_seconds=0.1,
    )
    identity = profile.environment.identity
    assert library.__version__.startswith(identity["openvino"])
    assert (identity["runtime"], identity["inference_precision"], identity["threads"]) == ("openvino", "f32", 1)
    assert profile.condition().endswith("__openvino")
    # The parts are compiled apart, so their sum is not held against the plain backbone.
    assert not any(reason.what.startswith("parts") for reason in profile.verdict.reasons)


def test_openvino_is_imported_without_its_telemetry(library, tmp_path):
    """In a process of its own: this one may hold the telemetry of another import, and CI switches it off by itself."""
    code = (
        "import sys; from exitsearch.measure.runtimes import openvino; openvino.openvino_library().Core();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"
    assert list(tmp_path.glob("intel*")) == []


def fake_library(*offered):
    core = SimpleNamespace(get_property=lambda device, name: list(offered))
    return lambda: SimpleNamespace(Core=lambda: core)


def test_what_openvino_refuses(monkeypatch):
    check = RUNTIMES["openvino"].check
    with pytest.raises(InputError, match="openvino runs on the CPU, found --device cuda:0; use --device cpu"):
        check(CUDA, "fp32")
    monkeypatch.setattr(openvino, "openvino_library", fake_library("FP32", "BF16", "INT8"))
    check(CPU, "fp32")
    check(CPU, "bf16")
    with pytest.raises(InputError, match="does not compute in fp16 on this processor, found --dtype fp16"):
        check(CPU, "fp16")


@pytest.mark.parametrize("missing", ["openvino", "onnxscript"])
def test_openvino_that_is_not_installed(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "onnx", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "onnxscript", SimpleNamespace())
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UnavailableError, match=rf"{missing}.+pip install 'exitsearch\[openvino\]'"):
        RUNTIMES["openvino"].check(CPU, "fp32")


def test_fewer_threads_than_asked_are_an_error():
    compiled = SimpleNamespace(get_property=lambda name: 2)
    core = SimpleNamespace(compile_model=lambda path, device, options: compiled)
    with pytest.raises(InputError, match="gives 2 threads where 8 are asked for; use --threads 2"):
        openvino.OpenVinoUnit(core, "unit.onnx", openvino.unit_options("f32", 8))


def test_what_openvino_cannot_load_is_one_sentence(library, tmp_path):
    with pytest.raises(UnavailableError, match=r"cannot load a unit \(.*gone.onnx.*\); try --dtype fp32") as caught:
        openvino.OpenVinoUnit(library.Core(), tmp_path / "gone.onnx", openvino.unit_options("f32", 1))
    assert "\n" not in str(caught.value)
