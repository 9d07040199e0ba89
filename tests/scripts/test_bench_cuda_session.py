"""The CUDA session against eager at its smallest size, on the CPU, and its judgements by hand."""

from __future__ import annotations

import bench_cuda_session
import pytest
import torch


def test_smallest(call):
    smallest = ("--model", "test_vit", "--device", "cpu", "--rounds", "2", "--max-seconds", "0", "--exits", "1,3")
    called = call("bench_cuda_session", *smallest)
    assert called.status == 0
    assert "no GPU: plain torch on both sides" in called.out
    assert called.figures["gpu"] is None
    assert called.figures["exits"] == ["1:linear", "3:linear", "final"]
    runs = called.figures["runs"]
    assert list(runs) == ["exit 0 (1:linear)", "exit 1 (3:linear)", "exit 2 (final)", "every head"]
    for row in runs.values():
        assert row["ratio"] == pytest.approx(row["eager_ms"] / row["session_ms"])
        assert 0 <= row["largest_difference"] < 1e-5
        assert row["session_ms"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so(capsys):
    assert bench_cuda_session.main([]) == 2
    assert capsys.readouterr().err.startswith("bench_cuda_session: there is no cuda here, found no CUDA device")


def test_an_exit_that_is_no_placement(capsys):
    assert bench_cuda_session.main(["--model", "test_vit", "--device", "cpu", "--exits", "1,99"]) == 2
    assert "--exits are placements of test_vit, 0 to" in capsys.readouterr().err


def row(ratio, apart=0.0):
    return {"ratio": ratio, "largest_difference": apart}


@pytest.mark.parametrize(
    ("final", "judged", "faults"),
    [(row(2.5), True, 0), (row(1.9), True, 1), (row(1.9), False, 0), (row(2.5, 2e-3), True, 1),
     (row(2.5, float("nan")), True, 1)],
)  # fmt: skip
def test_what_is_a_fault(final, judged, faults):
    rows = {"exit 0 (1:linear)": row(1.0), "exit 1 (final)": final, "every head": row(1.0)}
    assert len(bench_cuda_session.faults_of(rows, dtype="fp32", judged=judged)) == faults
