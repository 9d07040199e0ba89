"""What a head does with its side input is counted, and is done anew in every measured pass."""

from __future__ import annotations

import pytest
import torch
from tiny_backbone import EXAMPLE, tiny_backbone
from torch import nn

from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.runtimes import RUNTIMES, cudagraph
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import ExitHead
from exitsearch.models.inputs import run_head
from exitsearch.specs.profile import Profile

SIDE = {"audio": (1, 16, 32)}
SEEING, HEARING = "sl_vit", "sl_vit(side=audio,side_patch_size=8)"


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs=SIDE)


def test_macs_by_hand(backbone):
    """8 tokens more, of 64 channels, beside 1 + 64 others.

    Embedding: 8 patches x 8*8*1 numbers x 64. Layer: 8 tokens x (3 + 1 + 4 + 4) x 64*64 of its linear layers, and in
    its attention (queries times keys, and weights times values) 2 x 64 x (73^2 - 65^2).
    """
    exits = [(3, SEEING), (3, HEARING)]
    profile = profile_backbone(backbone, exits=exits, counts_only=True)
    seeing, hearing = (profile.head(*key) for key in exits)
    embedding, layer, attention = 8 * 64 * 64, 8 * 12 * 64 * 64, 2 * 64 * (73**2 - 65**2)
    assert seeing.macs is not None
    assert hearing.macs == seeing.macs + embedding + layer + attention
    assert hearing.params == (seeing.params or 0) + 64 * 64 + 64 + 8 * 64
    assert profile.protocol["macs_disagreement"] is None


def test_a_profile_says_which_side_inputs_it_is_of(backbone, tmp_path):
    exits = [(3, SEEING), (3, HEARING)]
    profile = profile_backbone(backbone, exits=exits, max_seconds=0.1, threads=1)
    assert profile.environment.identity["side_inputs"] == "audio=1x16x32"
    assert profile.backbone.side_inputs == SIDE
    assert all(profile.head_ms(*key) > 0 for key in exits)
    assert Profile.read(profile.write(tmp_path / "p.json")) == profile


class Hears(ExitHead):
    """A head small enough to be exported and compiled in a test."""

    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.read_side("audio")
        self.seen, self.heard = nn.Linear(3, num_outputs), nn.Linear(3, num_outputs)

    def forward(self, features, **side):
        return self.seen(features) + self.heard(side["audio"].flatten(1))


def _tensor(values):
    """A runtime's own values as a tensor of their own."""
    values = values[0] if isinstance(values, tuple) else values
    if isinstance(values, torch.Tensor):
        return values.clone()
    return torch.tensor(values.numpy() if hasattr(values, "numpy") else values.data)


@pytest.mark.parametrize("name", ["eager", "compile", "onnxruntime", "openvino"])
def test_every_runtime_hands_it_to_the_head(name):
    """Answers follow the side input that stands in memory; an engine that took it for a constant would not see it."""
    if name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
    backbone = tiny_backbone()
    at = backbone.placements[1].model_copy(update={"side_inputs": {"audio": (1, 1, 3)}})
    with torch.random.fork_rng():
        torch.manual_seed(2)
        head, sound = Hears(at, 4).eval(), torch.randn(2, 1, 1, 3)
    with torch.inference_mode():
        runtime = RUNTIMES[name](backbone, {(1, "hears"): head}, example=EXAMPLE, side={"audio": sound})
        state = runtime.begin(EXAMPLE)
        for segment in runtime.segments:
            state = segment(state)
        found = []
        for change in (0.0, 1.0):
            sound.add_(change)
            wanted = run_head(head, _tensor(runtime.features(state)), {"audio": sound})
            found.append(_tensor(runtime.heads[1, "hears"](runtime.features(state))))
            torch.testing.assert_close(found[-1], wanted, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(*found, atol=1e-3)


def test_graphs_replay_it_from_memory(monkeypatch):
    """A recorded head reads the buffer of the side input, as it reads that of the features."""

    class Replays:
        def record(self, run):
            return (lambda: None), run()

    monkeypatch.setattr(cudagraph.CudaGraphRuntime, "recorder", staticmethod(lambda device: Replays()))
    backbone = tiny_backbone()
    at = backbone.placements[0].model_copy(update={"side_inputs": {"audio": (1, 1, 3)}})
    head, sound = Hears(at, 4).eval(), torch.ones(2, 1, 1, 3)
    runtime = cudagraph.CudaGraphRuntime(backbone, {(0, "hears"): head}, example=EXAMPLE, side={"audio": sound})
    state = runtime.segments[0](runtime.begin(EXAMPLE))
    found = runtime.heads[0, "hears"](runtime.features(state))
    torch.testing.assert_close(found, run_head(head, state[0], {"audio": sound}))
