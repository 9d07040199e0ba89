"""A profile and an outcomes folder with samples, small enough to work out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from exitsearch.specs.document import write_json
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": 2}
# Right answers of each exit among ten samples: choice split, report split.
RIGHT = {(0, "a"): (6, 5), (0, "b(k=2)"): (7, 7), (1, "a"): (8, 6)}
FINAL = (9, 8)


def toy_profile(
    *, slowdown: tuple[float, ...] = (), status: str = "ok", reasons: tuple[dict[str, Any], ...] = ()
) -> Profile:
    """Placements at 2 and 5 ms, heads of 1 ms (b: 2 ms), final at 8 ms."""
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": BACKBONE,
            "segments": [
                {"placement": 0, "module": "blocks.0", "latency_ms": 2.0},
                {"placement": 1, "module": "blocks.1", "latency_ms": 3.0},
            ],
            "heads": [
                {"placement": 0, "head": "a", "latency_ms": 1.0, "params": 10},
                {"placement": 0, "head": "b(k=2)", "latency_ms": 2.0, "params": 20},
                {"placement": 1, "head": "a", "latency_ms": 1.0, "params": 10},
            ],
            "final": {"latency_ms": 3.0},
            "slowdown": list(slowdown),
            "verdict": {"status": status, "reasons": list(reasons)},
        }
    )


def toy_outcomes(folder: Path) -> Outcomes:
    """Ten samples a split of two classes; the first n answers of an exit are right."""
    splits = ("choice", "report")

    def scores(counts: tuple[int, int]) -> dict[str, float]:
        return {split: count / 10 for split, count in zip(splits, counts, strict=True)}

    for index, split in enumerate(splits):
        labels = np.arange(10) % 2
        tensors = {"labels": labels, "final": _outputs(labels, FINAL[index])}
        for (placement, head), counts in RIGHT.items():
            tensors[f"{placement}/{head}"] = _outputs(labels, counts[index])
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / f"{split}.safetensors")
    write_json(
        folder / "outcomes.json",
        {
            "schema_version": 1,
            "backbone": BACKBONE,
            "metric": "accuracy",
            "fallback": 0.0,
            "splits": {"choice": 10, "report": 10},
            "source": "toy samples",
            "heads": [{"placement": p, "head": h, "scores": scores(counts)} for (p, h), counts in RIGHT.items()],
            "final": {"scores": scores(FINAL)},
        },
    )
    return Outcomes.load(folder)


def _outputs(labels: np.ndarray, right: int) -> np.ndarray:
    answers = np.where(np.arange(len(labels)) < right, labels, 1 - labels)
    return np.eye(2, dtype=np.float32)[answers]
