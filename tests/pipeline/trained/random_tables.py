"""Random profiles and outcomes with samples, for what must hold of all of them."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

from exitsearch.specs.document import write_json
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": 3}
SAMPLES = 40


def random_profile(rng, *, noise=True):
    """Up to four placements with two heads each."""
    places = int(rng.integers(2, 5))
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": BACKBONE,
            "segments": [{"placement": k, "latency_ms": float(rng.uniform(0.5, 3))} for k in range(places)],
            "heads": [
                {"placement": k, "head": head, "latency_ms": float(rng.uniform(0.1, 1)), "params": 5}
                for k in range(places)
                for head in ("a", "b")
            ],
            "final": {"latency_ms": float(rng.uniform(0.2, 1))},
            "slowdown": rng.lognormal(0, 0.2, size=5).tolist() if noise else [],
            "verdict": {"status": "ok"},
        }
    )


def random_outcomes(rng, profile, folder, *, metric="accuracy", source=""):
    """Random answers of every head of a profile to forty samples a split; the scores are theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"{cost.placement}/{cost.head}" for cost in profile.heads] + ["final"]
    scores = {key: {} for key in keys}
    for split in ("choice", "report"):
        if metric == "mae":
            labels = rng.uniform(0, 10, size=SAMPLES).astype(np.float32)
            outputs = {key: (labels + rng.normal(0, 1, SAMPLES)).astype(np.float32)[:, None] for key in keys}
            found = {key: float(np.abs(outputs[key][:, 0].astype(float) - labels).mean()) for key in keys}
        else:
            labels = rng.integers(0, 3, size=SAMPLES)
            outputs = {
                key: (rng.normal(0, 1, (SAMPLES, 3)) + rng.uniform(0, 3) * np.eye(3)[labels]).astype(np.float32)
                for key in keys
            }
            found = {key: float((outputs[key].argmax(1) == labels).mean()) for key in keys}
        save_file({"labels": labels, **outputs}, folder / f"{split}.safetensors")
        for key, score in found.items():
            scores[key][split] = score
    heads = [{"placement": cost.placement, "head": cost.head} for cost in profile.heads]
    document = {
        "schema_version": 1,
        "backbone": {**BACKBONE, "task": "regression" if metric == "mae" else "classification"},
        "metric": metric,
        "fallback": 4.0 if metric == "mae" else 0.0,
        "splits": {"choice": SAMPLES, "report": SAMPLES},
        "source": source,
        "heads": [{**head, "scores": scores[key]} for head, key in zip(heads, keys, strict=False)],
        "final": {"scores": scores["final"]},
    }
    write_json(folder / "outcomes.json", document)
    return Outcomes.load(folder)
