from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pytest
import torch
from fake_units import FakeRuntime

from exitsearch.errors import InputError, MismatchError, UnsupportedError
from exitsearch.measure.compare import compare_profiles
from exitsearch.measure.memory import peak_rss_bytes, unit_scratch_bytes
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import HostClock
from exitsearch.models.backbone import create_backbone
from exitsearch.specs.memory import path_memory
from exitsearch.specs.profile import Profile


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("vit_digits_patch1_8", pretrained=False)


@pytest.fixture(scope="module")
def counted(backbone):
    return profile_backbone(backbone, heads=["linear", "mlp_ee"], placements=[0, 5], counts_only=True)


def test_counts_only_needs_no_weights(counted):
    on_meta = create_backbone("vit_digits_patch1_8", pretrained=False, device="meta")
    again = profile_backbone(on_meta, heads=["linear", "mlp_ee"], placements=[0, 5], counts_only=True)
    assert not again.is_timed
    assert again.verdict.status == "unmeasured"
    assert again.segments == counted.segments
    assert again.heads == counted.heads


def test_counts_by_hand(counted, backbone):
    """Width 64, 65 tokens: a block is 65 * 64 * 64 * 12 in linear layers and 2 * 65 * 65 * 64 in attention."""
    block = 65 * 64 * 64 * 12 + 2 * 65 * 65 * 64
    assert counted.segments[5].macs == block
    assert counted.segments[0].macs == block + 64 * 64
    assert counted.final.macs == 640
    assert counted.segments[5].activation_bytes == 65 * 64 * 4
    whole = sum(segment.params for segment in counted.segments) + counted.final.params
    assert whole == sum(parameter.numel() for parameter in backbone.module.parameters())
    assert [(head.placement, head.head) for head in counted.heads] == [
        (0, "linear"), (0, "mlp_ee"), (5, "linear"), (5, "mlp_ee"),
    ]  # fmt: skip
    assert counted.protocol["macs_disagreement"] is None


def test_published_totals_of_vit_base_at_384():
    """Totals up to each exit from another framework's counter, which adds norms, biases and activations: 0.5% more."""
    table = resources.files("exitsearch.specs") / "published" / "mevit_vit_b16_384_gmacs.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    published = {(int(r["placement"]), r["head"]): float(r["gmacs_to_exit"]) for r in rows if r["head"]}
    assert len(published) == 77
    large = create_backbone("vit_base_patch16_384", pretrained=False, device="meta", num_outputs=10)
    heads = sorted({head for _, head in published})
    profile = profile_backbone(large, heads=heads, placements=range(11), counts_only=True)
    assert len(profile.heads) == 77
    arrival = np.cumsum([segment.macs for segment in profile.segments])
    for cost in profile.heads:
        total = (arrival[cost.placement] + cost.macs) / 1e9
        assert 0.995 < total / published[cost.placement, cost.head] < 1.0


def test_the_backbone_is_left_as_it_is():
    """A block that somebody froze in evaluation mode inside a model in training stays so."""
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False)
    backbone.module.train()
    backbone.module.blocks[0].eval()
    before = {name: module.training for name, module in backbone.module.named_modules()}
    profile_backbone(backbone, heads=["linear"], placements=[0], threads=1, max_seconds=0.01)
    assert {name: module.training for name, module in backbone.module.named_modules()} == before


def test_bytes_follow_dtype_and_batch(backbone, counted):
    half = profile_backbone(backbone, heads=["linear"], placements=[0], counts_only=True, dtype="bf16", batch_size=3)
    assert half.segments[1].macs == counted.segments[1].macs
    assert half.segments[1].weight_bytes * 2 == counted.segments[1].weight_bytes
    assert half.segments[1].activation_bytes * 2 == counted.segments[1].activation_bytes * 3


def test_a_real_profile_from_end_to_end(backbone, tmp_path):
    """The shortest run there is; nothing here depends on how fast it was."""
    threads = torch.get_num_threads()
    before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    seen = []
    profile = profile_backbone(
        backbone,
        heads=["linear", "mlp_ee"],
        placements=[0, 5],
        threads=1,
        batch_size=2,
        dtype="bf16",
        max_seconds=0.01,
        progress=lambda done, text: seen.append(done),
    )
    assert profile.is_timed
    assert seen == sorted(seen)
    assert profile.environment.identity["threads"] == 1
    assert profile.condition() == "vit_digits_patch1_8__cpu__bf16__bs2__eager"
    rounds = profile.protocol["rounds"]
    assert len(profile.whole.samples_ms) == len(profile.slowdown) == rounds >= 6
    for head in profile.heads:
        assert 3 <= len(head.samples_ms) <= rounds
    for cost in (*profile.segments, *profile.heads, profile.final, profile.whole):
        levels = statistics.machine_speeds(profile.slowdown)[cost.rounds or slice(None)]
        times = np.array(cost.samples_ms) / (1 if cost is profile.whole else levels)
        assert cost.latency_ms == pytest.approx(np.median(times), abs=1e-5)
    path = profile.write(tmp_path / "profile.json")
    assert Profile.read(path) == profile
    # The backbone and torch's threads are as they were.
    assert torch.get_num_threads() == threads
    after = backbone.module.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())


def test_several_batch_sizes_in_one_file(backbone, tmp_path):
    seen = []
    profile = profile_backbone(
        backbone,
        heads=["linear"],
        placements=[0, 5],
        threads=1,
        batch_size=[1, 2],
        max_seconds=0.01,
        progress=lambda done, text: seen.append(done),
    )
    assert profile.batch_sizes == [1, 2]
    assert profile.condition() == "vit_digits_patch1_8__cpu__fp32__bs1-2__eager"
    assert seen == sorted(seen)
    assert Profile.read(profile.write(tmp_path / "profile.json")) == profile
    one, two = profile.at_batch(), profile.at_batch(2)
    assert one == profile.at_batch(1)
    assert one.segments == profile.segments
    assert two.segments == profile.batches[0].segments
    assert two.segments[3].activation_bytes == 2 * one.segments[3].activation_bytes
    assert two.condition() == "vit_digits_patch1_8__cpu__fp32__bs2__eager"
    assert (one.batches, two.batches) == ([], [])
    assert two.environment.identity == {**one.environment.identity, "batch_size": 2}
    assert two.environment.state == profile.batches[0].state
    with pytest.raises(InputError, match="--batch-size 8 is not in this profile, which holds 1, 2"):
        profile.at_batch(8)


def test_a_pause_before_every_pass_is_a_condition_of_its_own(backbone, monkeypatch):
    rests = []
    monkeypatch.setattr(HostClock, "_rest", lambda clock: rests.append(clock.rest_s))
    profile = profile_backbone(backbone, heads=["linear"], placements=[5], threads=1, max_seconds=0.01, pause_ms=33.0)
    assert profile.condition() == "vit_digits_patch1_8__cpu__fp32__bs1__eager__pause33"
    assert profile.environment.identity["pause_ms"] == 33.0
    assert set(rests) == {0.033}
    assert len(rests) >= 2 * profile.protocol["rounds"]
    plain = profile_backbone(backbone, heads=["linear"], placements=[5], threads=1, max_seconds=0.01)
    assert "pause_ms" not in plain.environment.identity
    with pytest.raises(MismatchError, match=r"pause_ms 33\.0 and 0\.0"):
        compare_profiles(profile, plain)


def test_all_heads_that_fit_are_the_default():
    tokenless = create_backbone("vit_digits_patch1_8", pretrained=False)
    profile = profile_backbone(tokenless, placements=[3], counts_only=True)
    names = {head.head for head in profile.heads}
    assert {"linear", "mlp_ee", "vit_ee", "cnn_ignore_ee"} <= names
    assert all(head.placement == 3 for head in profile.heads)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "--batch-size must be from 1"),
        ({"batch_size": [1, 8, 1]}, "each batch size once"),
        ({"threads": 0}, "--threads must be from 1"),
        ({"precision": 0.0}, "--precision must be above 0"),
        ({"max_seconds": -1.0}, "--max-seconds must be above 0"),
        ({"pause_ms": -1.0}, "--pause-ms must be from 0 to 60000, found -1.0"),
        ({"pause_ms": float("nan")}, "--pause-ms must be from 0 to 60000, found nan"),
        ({"placements": [12]}, "run from 0 to 11, found 12"),
        ({"heads": ["linaer"]}, "linear"),
        ({"dtype": "fp8"}, "--dtype"),
        ({"device": "tpu"}, "cpu, cuda or cuda:N"),
        ({"runtime": "eagre"}, "did you mean 'eager'"),
    ],
)
def test_wrong_options(backbone, options, words):
    with pytest.raises(InputError, match=words):
        profile_backbone(backbone, **{"heads": ["linear"], **options})


def test_a_named_head_that_fits_nowhere(backbone, monkeypatch):
    monkeypatch.setattr("exitsearch.models.heads.fitting.check_fits", lambda head, placement: "needs wings")
    with pytest.raises(UnsupportedError, match="linear fits none of the placements: needs wings"):
        profile_backbone(backbone, heads=["linear"], counts_only=True)


def test_meta_weights_cannot_be_timed():
    on_meta = create_backbone("vit_digits_patch1_8", pretrained=False, device="meta")
    with pytest.raises(InputError, match="no weights to run"):
        profile_backbone(on_meta, heads=["linear"], placements=[0])


class FakeAllocator:
    """Each unit of `FakeRuntime` takes a byte for every microsecond that it runs, and gives half of it back."""

    def __init__(self, runtime):
        self.runtime = runtime

    def synchronize(self, device):
        self.held = self.runtime.now_ns / 2000

    def reset_peak_memory_stats(self, device):
        self.start_ns = self.runtime.now_ns

    def memory_allocated(self, device):
        return self.held

    def max_memory_allocated(self, device):
        return self.start_ns / 2000 + (self.runtime.now_ns - self.start_ns) / 1000


def test_scratch_memory_of_units():
    """Segments of 2, 3 and 4 ms, a head of 0.5 ms, final 1 ms, whole 10 ms: so many thousand bytes."""
    runtime = FakeRuntime(heads={(1, "a"): 0.5})
    found = unit_scratch_bytes(runtime, "x", torch.device("cuda"), cuda=FakeAllocator(runtime))
    assert found == {
        ("segment", 0): 2000, ("segment", 1): 3000, (1, "a"): 500, ("segment", 2): 4000, ("final", 0): 1000,
        ("whole", 0): 10000,
    }  # fmt: skip


def test_device_peak_by_hand(counted):
    """Segments 100 bytes of scratch, heads 10 and 20 beside features of 16640: a block beside its input holds most."""
    assert path_memory(counted, []).device_peak_bytes is None
    with_scratch = counted.model_copy(
        update={
            "segments": [cost.model_copy(update={"scratch_bytes": 100}) for cost in counted.segments],
            "heads": [cost.model_copy(update={"scratch_bytes": 200}) for cost in counted.heads],
            "final": counted.final.model_copy(update={"scratch_bytes": 10}),
        }
    )
    plain = path_memory(with_scratch, [])
    assert plain.device_peak_bytes == plain.weight_bytes + 16640 + 100
    path = path_memory(with_scratch, [(5, "linear")])
    assert path.device_peak_bytes == path.weight_bytes + 16640 + 200


def test_path_memory_by_hand(counted):
    """Features are 65 * 64 floats, 16640 bytes; a block holds its input and its output, more than any head or end."""
    plain = path_memory(counted, [])
    assert plain.activation_bytes == 2 * 16640
    with_head = path_memory(counted, [(5, "linear")])
    assert with_head.weight_bytes - plain.weight_bytes == counted.head(5, "linear").weight_bytes
    assert peak_rss_bytes() > 0
