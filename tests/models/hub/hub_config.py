"""A small configuration that is saved and fetched."""

from __future__ import annotations

from exitsearch.specs.config import MultiExitConfig


def small_config(**changes: object) -> MultiExitConfig:
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "vit_digits_patch1_8", "input_size": (1, 8, 8), "num_outputs": 10},
            "exits": [
                {"placement": 1, "module": "blocks.1", "head": "linear"},
                {"placement": 4, "module": "blocks.4", "head": "mlp_ee"},
            ],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0, 2.25, 3.0],
            "exit_scores": {"choice": [0.25, 0.5, 0.75], "report": [0.2, 0.4, 0.6]},
            "profile": {"identity": "0" * 16, "condition": "cpu, 1 thread"},
            "outcomes": {"identity": "1" * 16, "source": "trained on digits"},
            **changes,
        }
    )
