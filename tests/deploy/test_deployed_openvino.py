"""A bundle for OpenVINO, in a run of its own as tests/measure/runtimes/test_openvino.py is and for the same reason:

EXITSEARCH_TEST_OPENVINO=1 pytest tests/deploy/test_deployed_openvino.py
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from export_models import family_model

from exitsearch.deploy.deployed import DEPLOYED, DeployedGraphs
from exitsearch.deploy.export import Knowledge, export_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    if "EXITSEARCH_TEST_OPENVINO" not in os.environ:
        pytest.skip("OpenVINO is loaded in a run of its own only: set EXITSEARCH_TEST_OPENVINO=1")
    pytest.importorskip("openvino")
    torch.set_num_threads(1)
    model, made = family_model("resnet"), {}
    for precision in ("fp32", "fp16"):
        out = tmp_path_factory.mktemp("openvino") / precision
        made[precision] = export_bundle(
            model,
            out=out,
            knowledge=Knowledge(values=[0.5, 0.6], values_from="a test"),
            format="openvino",
            precision=precision,
            max_seconds=0.2,
        )
    return model, made


def test_graphs_are_openvinos_own_files(bundles):
    _, made = bundles
    names = set(made["fp32"].bundle.files)
    assert names == {
        f"{graph}.{ending}" for graph in ("segment_0", "segment_1", "head_0") for ending in ("xml", "bin")
    } | {"README.md"}
    assert made["fp32"].bundle.format == "openvino"
    assert all(exit_.largest_difference <= 1e-4 for exit_ in made["fp32"].bundle.agreement)


def test_half_weights_take_half(bundles):
    _, made = bundles
    sizes = {
        key: sum(facts.bytes for name, facts in m.bundle.files.items() if name.endswith("bin"))
        for key, m in made.items()
    }
    assert sizes["fp16"] < 0.55 * sizes["fp32"]


@pytest.mark.parametrize("batch", [1, 4])
def test_every_exit_is_that_of_torch(bundles, batch):
    model, made = bundles
    bundle, folder = made["fp32"].bundle, made["fp32"].folder
    graphs = DeployedGraphs(
        folder, bundle.input.name, bundle.segments, bundle.heads, folder / "segment_0.xml", bundle.model.task
    )
    runtime = DEPLOYED["openvino"](graphs, threads=1, batch_size=batch)
    for seed in range(2):
        x = model.backbone.example_input(batch, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            wanted = model(x)
        for mine, theirs in zip(runtime.answers(x.numpy()), wanted, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4, rtol=0)
