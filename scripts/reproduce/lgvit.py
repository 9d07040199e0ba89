"""LGViT: what its heads cost at the paper's places, and what its speed-up in blocks is in time with heads paid for."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from exitsearch.measure.macs.units import count_units
from exitsearch.models.backbone import create_backbone
from exitsearch.specs.load import load_profile
from exitsearch.specs.profile import Profile
from reproduce.page import Figures

LPH, PLAIN, GAH1, GAH2, GAH3 = "lph", "lph(depthwise=false)", "gah(stride=1)", "gah(stride=2)", "gah(stride=3)"
# Exits after blocks 4 to 11 (Swin: 4, 7, 10, ..., 22, 23), as the README of the authors' code has them (GitHub
# falcon-xu/LGViT, commit 3147fb8); which head is where, from `modeling_highway_deit.py` and `modeling_highway_swin.py`.
VIT_EXITS = tuple(zip(range(3, 11), (LPH, LPH, PLAIN, PLAIN, GAH2, GAH2, GAH3, GAH3), strict=True))
SWIN_EXITS = tuple(zip((*range(3, 22, 3), 22), (LPH, LPH, PLAIN, PLAIN, GAH1, GAH1, GAH2, GAH2), strict=True))
MODELS = {
    "vit_base_patch16_224": VIT_EXITS,
    "deit_base_distilled_patch16_224": VIT_EXITS,
    "swin_base_patch4_window7_224": SWIN_EXITS,
}
OUTPUTS = 100
MEASURED = "vit_base_patch16_224"
PROFILE = Path("profiles/amd-epyc-2-cores") / f"{MEASURED}__cpu__fp32__bs1__eager.json"

# Parameters of each head of a public re-implementation (GitHub ionymikler/early_exit_vit, commit 1566268,
# results_to_keep/model_analysis/eevit_param_analysis.json; ViT-B/16, 100 classes).
PUBLISHED_PARAMS = {LPH: 1_270_372, PLAIN: 1_261_156, GAH2: 2_436_964, GAH3: 2_436_964}
# Bytes of the authors' file of weights, as its page says (Hugging Face FALcon6/LGViT-DeiT-Cifar100: 408 MB).
CHECKPOINT_MODEL, CHECKPOINT_BYTES = "deit_base_distilled_patch16_224", 408_000_000
# The abstract (arXiv 2308.00255): "approximately 1.8 x speed-up".
CLAIMED = 1.8
# How many of the 10,000 test images of CIFAR-100 left after blocks 4 to 12 at three thresholds on confidence, what
# share was right, the speed-up in blocks stated, and the mean milliseconds after each of these blocks on its author's
# GPU: the same re-implementation, results_to_keep/threshold_analysis, `result_metrics.json` of each.
LEFT = {
    "0.8": (4330, 1556, 943, 894, 1136, 498, 236, 94, 313),
    "0.9": (3234, 1481, 878, 991, 1539, 675, 317, 174, 711),
    "0.99": (1149, 1105, 663, 999, 2103, 1087, 539, 316, 2039),
}
RIGHT = {"0.8": 0.8731, "0.9": 0.8941, "0.99": 0.9036}
STATED = {"0.8": 2.0784, "0.9": 1.8591, "0.99": 1.4809}
GPU_MS = {
    "0.8": (19.4455, 24.3939, 30.0953, 34.1976, 38.8037, 43.3119, 47.9036, 52.4211, 56.387),
    "0.9": (19.4231, 24.3226, 29.2563, 34.1032, 38.7193, 43.2491, 49.4371, 52.299, 56.2792),
    "0.99": (18.6602, 23.4305, 28.2775, 33.0564, 37.558, 42.0393, 46.4022, 50.9245, 55.3043),
}
BLOCKS = 12
LAST_BLOCKS = tuple(placement + 1 for placement, _ in VIT_EXITS)


def find(profile: Path) -> Figures:
    """Counts of the heads for three backbones, and speed-ups by blocks, by operations and by measured time.

    Args:
        profile: of ViT-B/16 at 224 with the eight heads at their places.
    """
    counts = {model: _counts(model) for model in MODELS}
    measured = load_profile(profile)
    return {"counts": counts, "checkpoint": _checkpoint(counts), **speeds(measured, counts[MEASURED], profile.name)}


def _counts(model: str) -> Figures:
    backbone = create_backbone(model, num_outputs=OUTPUTS, pretrained=False, device="meta")
    counted = count_units(backbone, MODELS[model], lambda done, text: None)
    segments = [counted["segment", place.index] for place in backbone.placements]
    whole = [*segments, counted["final", 0]]
    heads = [
        {
            "placement": placement,
            "head": head,
            "macs": counted[placement, head].macs,
            "params": counted[placement, head].params,
            "published_params": PUBLISHED_PARAMS.get(head) if model == MEASURED else None,
        }
        for placement, head in MODELS[model]
    ]
    return {
        "heads": heads,
        "backbone": {"macs": sum(part.macs for part in whole), "params": sum(part.params for part in whole)},
        "segments": [part.macs for part in segments],
    }


def _checkpoint(counts: Figures) -> Figures:
    """Bytes of fp32 weights of the backbone and its heads, beside the size of the authors' file."""
    model = counts[CHECKPOINT_MODEL]
    weights = model["backbone"]["params"] + sum(head["params"] for head in model["heads"])
    return {"bytes": 4 * weights, "published_bytes": CHECKPOINT_BYTES, "ratio": 4 * weights / CHECKPOINT_BYTES}


def speeds(profile: Profile, counts: Figures, source: str) -> Figures:
    """What images that leave after some block gain, by what is counted.

    Args:
        profile: of the backbone, timed, with the eight heads.
        counts: of the same backbone.
        source: name of the profile.
    """
    exits = list(VIT_EXITS)
    paid = profile.path_ms(exits)
    free = [float(profile.arrival_ms[placement]) for placement, _ in exits] + [profile.full_ms]
    steps = list(accumulate(counts["segments"]))
    delays = list(accumulate(head["macs"] for head in counts["heads"]))
    macs = [steps[placement] + delay for (placement, _), delay in zip(exits, delays, strict=True)]
    macs.append(counts["backbone"]["macs"] + delays[-1])
    ends = [
        {
            "block": block,
            "blocks": BLOCKS / block,
            "macs": counts["backbone"]["macs"] / cost,
            "time_heads_free": profile.full_ms / without,
            "time": profile.full_ms / with_heads,
        }
        for block, cost, without, with_heads in zip((*LAST_BLOCKS, BLOCKS), macs, free, paid, strict=True)
    ]
    thresholds = {name: _mixed(ends, shares=_shares(name)) | _stated(name) for name in LEFT}
    return {
        "profile": source,
        "verdict": profile.verdict.status,
        "head_shares": [_share(profile, placement, head) for placement, head in exits],
        "by_block": ends,
        "thresholds": thresholds,
        "claimed": _as_claimed(ends, thresholds),
    }


def _share(profile: Profile, placement: int, head: str) -> Figures:
    """What a head takes, in parts of a block and of the full model."""
    # The first segment holds the embedding too.
    times = sorted(segment.latency_ms or 0.0 for segment in profile.segments[1:])
    own = profile.head_ms(placement, head)
    return {
        "placement": placement,
        "head": head,
        "of_a_block": own / times[len(times) // 2],
        "of_the_model": own / profile.full_ms,
    }


def _shares(threshold: str) -> list[float]:
    left = LEFT[threshold]
    return [number / sum(left) for number in left]


def _mixed(ends: list[Figures], *, shares: list[float]) -> dict[str, float]:
    """Speed-ups of the mean over images: how long all take without exits over how long they take with them."""
    kinds = ("blocks", "macs", "time_heads_free", "time")
    return {kind: 1 / sum(share / end[kind] for share, end in zip(shares, ends, strict=True)) for kind in kinds}


def _stated(threshold: str) -> dict[str, float]:
    """What the re-implementation reports: speed-up in blocks, and its own times, in parts of its own last answer."""
    times, shares = GPU_MS[threshold], _shares(threshold)
    mean = sum(share * ms for share, ms in zip(shares, times, strict=True))
    return {"stated_blocks": STATED[threshold], "right": RIGHT[threshold], "theirs_over_last": times[-1] / mean}


def _as_claimed(ends: list[Figures], thresholds: Figures) -> dict[str, float]:
    """The abstract's speed-up, from the two thresholds around it mixed so that it is theirs in blocks."""
    above = min((name for name in LEFT if thresholds[name]["blocks"] >= CLAIMED), key=lambda n: thresholds[n]["blocks"])
    below = max((name for name in LEFT if thresholds[name]["blocks"] < CLAIMED), key=lambda n: thresholds[n]["blocks"])
    high, low = (1 / thresholds[name]["blocks"] for name in (above, below))
    weight = (low - 1 / CLAIMED) / (low - high)
    pairs = zip(_shares(above), _shares(below), strict=True)
    return _mixed(ends, shares=[weight * a + (1 - weight) * b for a, b in pairs])
