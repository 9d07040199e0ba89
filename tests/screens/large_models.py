"""Documents of models as large as they come, by formulas: nothing is measured or trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from exitsearch.specs.document import write_json
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

HEADS = (
    "linear",
    "mlp",
    "attention_pool",
    "conv",
    "lph",
    "gah",
    "mlp_ee",
    "cnn_ignore_ee",
    "cnn_add_ee",
    "cnn_project_ee",
    "vit_ee",
    "mlp_mixer_ee",
    "resmlp_ee",
    "sl_vit",
)
SAMPLES = 200
CLASSES = 10


def large_profile(name: str, *, blocks: int, module: str = "blocks.{}", seed: int = 1) -> Profile:
    """Every block 12 ms or so, 30 samples each; every head from 0.1 to 1.3 of a block's time."""
    draw = np.random.default_rng(seed)

    def timed(median: float) -> dict[str, object]:
        samples = np.sort(median * (1 + 0.04 * draw.standard_normal(30))).round(6).tolist()
        middle = float(np.median(samples))
        interval = [round(0.99 * middle, 6), round(1.01 * middle, 6)]
        return {"latency_ms": middle, "interval_ms": interval, "samples_ms": samples}

    segments = [
        {
            "placement": place,
            "module": module.format(place),
            "macs": 2_500_000_000,
            "params": 12_596_224,
            **timed(12 + 0.05 * place),
        }
        for place in range(blocks)
    ]
    heads = [
        {
            "placement": place,
            "head": head,
            "macs": 1_000_000 * (number + 1),
            "params": 10_250 * (number + 1),
            **timed(1.2 * (number + 1) + 0.01 * place),
        }
        for number, head in enumerate(HEADS)
        for place in range(blocks)
    ]
    reason = {
        "what": "precision: units whose median is not known to the asked precision",
        "number": 41,
        "remedy": "give more time with --max-seconds, or ask for less with --precision",
    }
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": name, "input_size": [3, 224, 224], "num_outputs": CLASSES},
            "segments": segments,
            "heads": heads,
            "final": {"macs": 1_024_000, "params": 1_025_000, **timed(0.2)},
            "whole": {"macs": 2_500_000_000 * blocks, **timed(12.6 * blocks)},
            "verdict": {"status": "noisy", "reasons": [reason]},
            "protocol": {"not_counted": "aten::add (48), aten::gelu (24), aten::layer_norm (49)"},
        }
    )


def large_outcomes(
    folder: Path, name: str, *, blocks: int, heads: tuple[str, ...] = HEADS, better: int = 0
) -> Outcomes:
    """Two splits of 200 samples of ten classes; deeper exits are right oftener, heads by turns.

    Args:
        better: so many more right answers of every head, as after training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.arange(SAMPLES) % CLASSES
    pairs = [(place, head) for place in range(blocks) for head in heads]
    counts = {
        split: {
            pair: min(
                SAMPLES - 8, round(60 + 125 * (1 - np.exp(-5 * (pair[0] + 1) / blocks)) + (7 * number) % 11) + less
            )
            for number, pair in enumerate(pairs)
        }
        for split, less in (("choice", better), ("report", better - 3))
    }
    final = {"choice": SAMPLES - 10, "report": SAMPLES - 12}

    def outputs(right: int) -> np.ndarray:
        # The samples that are hard are the same for every exit.
        return np.eye(CLASSES, dtype=np.float32)[np.where(np.arange(SAMPLES) < right, labels, (labels + 1) % CLASSES)]

    for split, found in counts.items():
        tensors = {f"{place}/{head}": outputs(count) for (place, head), count in found.items()}
        save_file({**tensors, "labels": labels, "final": outputs(final[split])}, folder / f"{split}.safetensors")
    document = {
        "schema_version": 1,
        "backbone": {"name": name, "input_size": [3, 224, 224], "num_outputs": CLASSES},
        "metric": "accuracy",
        "fallback": 0.0,
        "splits": dict.fromkeys(counts, SAMPLES),
        "source": "trained on my_images over " + name + ", recipe frozen",
        "heads": [
            {"placement": p, "head": h, "scores": {split: found[p, h] / SAMPLES for split, found in counts.items()}}
            for p, h in pairs
        ],
        "final": {"scores": {split: count / SAMPLES for split, count in final.items()}},
    }
    write_json(folder / "outcomes.json", document)
    return Outcomes.load(folder)
