"""Every runtime must compute what eager does (onnxruntime up to the weights that equal structures share).

The openvino runtime has a file of its own: test_openvino.py.
"""

from __future__ import annotations

import builtins
from types import SimpleNamespace

import pytest
import torch
from simulated_device import Costs, Simulation
from tiny_backbone import EXAMPLE, answers, numbers, tiny_backbone, tiny_heads
from torch import nn

from exitsearch.errors import ExitSearchError, InputError, UnavailableError
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.runtimes import RUNTIMES, cudagraph, onnxruntime
from exitsearch.measure.runtimes.base import heads_by_placement
from exitsearch.measure.timing.clock import HostClock
from exitsearch.measure.timing.latency import measure_rounds
from exitsearch.models.backbone import create_backbone

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def make(name, **arguments):
    return RUNTIMES[name](tiny_backbone(**arguments), tiny_heads(), example=EXAMPLE)


def test_every_runtime_names_itself():
    assert list(RUNTIMES) == ["eager", "compile", "cudagraph", "onnxruntime", "openvino"]
    for name, runtime in RUNTIMES.items():
        assert runtime.name == name
        assert runtime.summary


def test_heads_by_placement():
    assert heads_by_placement({(1, "a"): 0, (0, "b"): 0, (1, "c"): 0}) == {1: [(1, "a"), (1, "c")], 0: [(0, "b")]}


def test_compile_computes_what_eager_does():
    runtime = make("compile")
    other = EXAMPLE.flip(0) + 1
    for x in (EXAMPLE, other):
        for found, wanted in zip(answers(runtime, x), answers(make("eager"), x), strict=True):
            torch.testing.assert_close(numbers(found), numbers(wanted), atol=1e-5, rtol=1e-5)
    assert runtime.preparation["compile_seconds"] > 0
    assert runtime.identity["compile_backend"] == "inductor"


def test_what_cannot_be_compiled_is_one_sentence():
    class Prints(nn.Module):
        def forward(self, features):
            torch._dynamo.graph_break()
            return features

    with pytest.raises(ExitSearchError, match="torch cannot compile Prints as one graph") as caught:
        RUNTIMES["compile"](tiny_backbone(), {(0, "prints"): Prints()}, example=EXAMPLE)
    assert "\n" not in str(caught.value)


def test_compile_without_a_compiler(monkeypatch):
    from torch._inductor.exc import InvalidCxxCompiler

    def none_found():
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none_found)
    with pytest.raises(UnavailableError, match=r"needs a C\+\+ compiler"):
        RUNTIMES["compile"].check(CPU, "fp32")
    RUNTIMES["compile"].check(CUDA, "fp32")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_onnxruntime_computes_what_eager_does(task):
    """The two heads share a structure, so the second runs with the first one's weights: only the first is compared."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    runtime, eager = make("onnxruntime", task=task), make("eager", task=task)
    for x in (EXAMPLE, EXAMPLE.flip(0) + 1):
        found, wanted = answers(runtime, x), answers(eager, x)
        for index in (0, 2, 3):
            torch.testing.assert_close(numbers(found[index]), numbers(wanted[index]), atol=1e-5, rtol=1e-5)
    assert runtime.identity["provider"] == "CPUExecutionProvider"
    assert runtime.preparation["export_and_load_seconds"] > 0


def test_equal_structures_are_exported_once(monkeypatch):
    pytest.importorskip("onnxscript")
    from exitsearch.measure.runtimes import onnx_export

    made = []
    monkeypatch.setattr(onnx_export, "_exported", {})
    monkeypatch.setattr(onnx_export, "_export", lambda unit, argument, path: made.append(unit) or path)
    first, again, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)
    x = torch.ones(1, 2)
    assert onnx_export.export_unit(first, x) == onnx_export.export_unit(again, x) != onnx_export.export_unit(other, x)
    assert onnx_export.export_unit(first, torch.ones(4, 2)) != onnx_export.export_unit(first, x)
    assert made == [first, other, first]


def test_what_cannot_be_exported_is_one_sentence():
    pytest.importorskip("onnxscript")
    from exitsearch.measure.runtimes.onnx_export import export_unit

    class Chooses(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ExitSearchError, match="torch cannot export Chooses to ONNX") as caught:
        export_unit(Chooses(), torch.ones(1, 2))
    assert "\n" not in str(caught.value)


def test_onnxruntime_that_is_not_installed(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnavailableError, match=r"pip install 'exitsearch\[onnx\]'"):
        RUNTIMES["onnxruntime"].check(CPU, "fp32")


def fake_library(**changes):
    return SimpleNamespace(
        **{
            "__version__": "9.9",
            "get_available_providers": lambda: ["CPUExecutionProvider"],
            "SessionOptions": SimpleNamespace,
            "GraphOptimizationLevel": SimpleNamespace(ORT_ENABLE_ALL=99),
            "ExecutionMode": SimpleNamespace(ORT_SEQUENTIAL=0),
            **changes,
        }
    )


def test_what_onnxruntime_refuses(monkeypatch):
    monkeypatch.setattr(onnxruntime, "onnx_library", lambda: fake_library(get_available_providers=lambda: ["Other"]))
    with pytest.raises(UnavailableError, match=r"9\.9 has no CPUExecutionProvider"):
        RUNTIMES["onnxruntime"].check(CPU, "fp32")
    monkeypatch.setattr(onnxruntime, "onnx_library", fake_library)
    with pytest.raises(InputError, match="no bf16 kernels on the CPU"):
        RUNTIMES["onnxruntime"].check(CPU, "bf16")
    RUNTIMES["onnxruntime"].check(CPU, "fp32")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_onnxruntime_refuses_cuda_even_where_its_provider_is_installed(monkeypatch, dtype):
    """Its sessions would run on streams of their own, which the protocol's events do not see."""
    both = fake_library(get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "onnx_library", lambda: both)
    with pytest.raises(InputError, match=r"runs on the CPU, found --device cuda:0; use .*--runtime cudagraph"):
        RUNTIMES["onnxruntime"].check(CUDA, dtype)


def test_a_session_with_another_provider_is_refused(monkeypatch):
    """ONNX Runtime takes another provider in the place of one that fails, and only prints that it did."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    real = onnxruntime.onnx_library()

    class Elsewhere(real.InferenceSession):
        def get_providers(self):
            return ["OtherExecutionProvider", "CPUExecutionProvider"]

    changed = {**vars(real), "InferenceSession": Elsewhere}
    monkeypatch.setattr(onnxruntime, "onnx_library", lambda: SimpleNamespace(**changed))
    with pytest.raises(UnavailableError, match="asked for CPUExecutionProvider, a session took OtherExecutionProvider"):
        make("onnxruntime")


def test_onnxruntime_shares_one_pool_of_threads(monkeypatch):
    monkeypatch.setattr(onnxruntime, "_pool_threads", None)
    pools = []
    library = fake_library(set_global_thread_pool_sizes=lambda intra, inter: pools.append((intra, inter)))
    assert not hasattr(onnxruntime.session_options(library, 1), "use_per_session_threads")
    for _ in range(2):
        assert onnxruntime.session_options(library, 2).use_per_session_threads is False
    assert pools == [(2, 1)]
    with pytest.raises(InputError, match="2 of them, found --threads 3"):
        onnxruntime.session_options(library, 3)


def test_a_recording_warms_up_on_the_side_stream_first():
    """Three runs and the capture on the side stream, none of them on the current one."""
    simulation = Simulation()
    runs = []
    replay, result = cudagraph.Recorder(CUDA, cuda=simulation).record(
        lambda: runs.append(simulation.streams[0]) or simulation.launch(5.0, 0) or "result"
    )
    assert result == "result"
    assert runs == simulation.made_streams * 4
    assert simulation.graphs[0].kernels_us == [5.0]
    replay()
    assert simulation.streams == simulation.defaults


def test_recordings_share_one_side_stream_and_are_uploaded():
    """A stream costs a workspace, and the first replay of a graph an upload: neither belongs into a measurement."""
    simulation = Simulation(Costs(upload=1000.0))
    recorder = cudagraph.Recorder(CUDA, cuda=simulation)
    replays = [recorder.record(lambda: simulation.launch(5.0, 0))[0] for _ in range(4)]
    assert len(simulation.made_streams) == 1
    begin = simulation.host_us
    for replay in replays:
        replay()
    assert simulation.host_us - begin == 4 * simulation.costs.graph_launch


def test_recordings_of_a_device_that_is_not_current():
    simulation = Simulation(devices=2)
    replay, _ = cudagraph.Recorder(torch.device("cuda", 1), cuda=simulation).record(lambda: simulation.launch(5.0, 1))
    assert simulation.graphs[0].kernels_us == [5.0]
    assert simulation.current == 0
    idle, before = (stream.free_us for stream in simulation.streams)
    replay()
    assert simulation.streams[0].free_us == idle
    assert simulation.streams[1].free_us > before


class WritesAgain:
    """Records as a graph does: every replay computes from the same input memory into the same output memory."""

    def record(self, run):
        result = run()

        def replay():
            for old, new in zip(_tensors(result), _tensors(run()), strict=True):
                old.copy_(new)

        return replay, result


def _tensors(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def test_cuda_graphs_chain_through_fixed_memory(monkeypatch):
    monkeypatch.setattr(cudagraph.CudaGraphRuntime, "recorder", staticmethod(lambda device: WritesAgain()))
    runtime, eager = make("cudagraph"), make("eager")
    for x in (EXAMPLE, EXAMPLE.flip(0) + 1, EXAMPLE):
        for found, wanted in zip(answers(runtime, x), answers(eager, x), strict=True):
            torch.testing.assert_close(numbers(found), numbers(wanted))
    with torch.inference_mode():
        first = runtime.begin(EXAMPLE)
        assert runtime.begin(EXAMPLE + 1)[0] is first[0]
        assert runtime.segments[0](first) is runtime.segments[0](first)


def test_what_cannot_be_recorded_is_one_sentence(monkeypatch):
    class Refuses:
        def record(self, run):
            raise RuntimeError("operation not permitted when stream is capturing\nlong story")

    monkeypatch.setattr(cudagraph.CudaGraphRuntime, "recorder", staticmethod(lambda device: Refuses()))
    with pytest.raises(ExitSearchError, match=r"Block cannot be recorded \(operation not permitted .+ capturing\)"):
        make("cudagraph")


def test_cuda_graphs_refuse_the_cpu():
    with pytest.raises(InputError, match="--runtime cudagraph needs a CUDA device, found --device cpu") as caught:
        profile_backbone(create_backbone(pretrained=False), heads=["linear"], runtime="cudagraph")
    assert "--runtime compile" in str(caught.value)


def test_the_protocol_runs_over_onnxruntime():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    samples = measure_rounds(make("onnxruntime"), [EXAMPLE], HostClock(), max_seconds=0.01)
    assert len(samples.whole.host_ms) == samples.rounds >= 3
    assert all(time > 0 for _, unit in samples.units() for time in unit.host_ms)
