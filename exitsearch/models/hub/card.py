"""The model card, and the configuration that the Hub reads.

The card says what the exits are worth, when they answer and under which condition that was measured, and how to load
the model; its header is YAML as the Hub defines it (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from timm.data.config import resolve_data_config
from torch import nn

from exitsearch.errors import InputError
from exitsearch.specs.config import MultiExitConfig

LIBRARY = "exitsearch"
TAGS = ["early-exit", "model_hub_mixin", "multi-exit", "timm"]
# Of timm's data configuration, what says how an input is prepared.
_PREPARATION = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")

Scores = Mapping[str, Sequence[float]]

_LOAD = """\
```python
import exitsearch

model = exitsearch.load_model("this folder")  # or of the Hub: MultiExitModel.from_pretrained("user/name")
for outputs in model.iter_exits(images):
    ...  # one exit after the other; stop asking, and no later part is computed
```

`exitsearch.models.multi_exit` has `MultiExitModel`. Nothing in this repository is code: weights are safetensors, and
timm builds the backbone by its name."""


def preparation(module: nn.Module, *, config: MultiExitConfig) -> dict[str, Any]:
    """How inputs are prepared for a backbone, in timm's words.

    Args:
        module: timm's model.
        config: whose input size is used.
    """
    found = dict(resolve_data_config(model=module))  # type: ignore[no-untyped-call]
    size = config.backbone.input_size
    return {**{key: found[key] for key in _PREPARATION if key in found}, **({"input_size": size} if size else {})}


def hub_config(module: nn.Module, *, config: MultiExitConfig) -> dict[str, Any]:
    """The content of `config.json`: nothing that loading needs, and what the Hub and its readers look for there."""
    facts = config.backbone
    return {
        "architectures": ["MultiExitModel"],
        "model_type": LIBRARY,
        "backbone": facts.name,
        "task": facts.task,
        "num_outputs": facts.num_outputs,
        "exits": [exit_.model_dump(mode="json") for exit_ in config.exits],
        "preparation": preparation(module, config=config),
    }


def model_card(
    config: MultiExitConfig,
    *,
    scores: Scores | None = None,
    datasets: Sequence[str] = (),
    preparation: Mapping[str, Any] | None = None,
    **header: Any,
) -> ModelCard:
    """The card of a multi-exit model.

    Args:
        config: what was chosen.
        scores: per split, the metric of each chosen exit in order and last of the final exit, of the model as it was
            trained; None takes the configuration's, which are those that the choice was made by.
        datasets: the Hub's names of the data sets that it was trained on.
        preparation: how inputs are prepared.
        header: further keys of the header, as `license` and `base_model`; they stand over those written here.

    Raises:
        InputError: scores that are not one finite number for every exit and the final one.
    """
    for split, numbers in (scores or {}).items():
        if len(numbers) != len(config.exits) + 1 or not all(map(math.isfinite, numbers)):
            raise InputError(
                f"scores need {len(config.exits) + 1} finite numbers a split (every exit and the final one), found "
                f"{list(numbers)} for {split}; "
                "give as many for each split"
            )
    shown = dict(config.exit_scores if scores is None else scores)
    data = _header(config, scores or {}, list(datasets), header)
    whose = "of this model" if scores is not None else "of heads over the frozen backbone, by which they were chosen"
    body = "\n\n".join(
        [
            f"# {config.backbone.name} with {_count(len(config.exits))}",
            f"Every exit answers by itself; the final exit is the backbone's own. {config.expected.metric} {whose}:",
            _exits_table(config, shown),
            _facts(config, preparation or {}),
            "## How to load it",
            _LOAD,
        ]
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def _header(config: MultiExitConfig, scores: Scores, datasets: list[str], header: dict[str, Any]) -> ModelCardData:
    pictures = config.backbone.task == "classification" and (config.backbone.input_size or (0,))[0] == 3
    own: dict[str, Any] = {
        "library_name": LIBRARY,
        "tags": list(TAGS),
        "datasets": datasets or None,
        "metrics": [config.expected.metric],
        "pipeline_tag": "image-classification" if pictures else None,
    }
    results = _results(config, scores, datasets)
    if results:
        own |= {"model_name": f"{config.backbone.name} with {_count(len(config.exits))}", "eval_results": results}
    return ModelCardData(**{**own, **header})


def _results(config: MultiExitConfig, scores: Scores, datasets: list[str]) -> list[EvalResult]:
    """The Hub's model-index: what was measured on the model itself, where the one data set is named."""
    if len(datasets) != 1 or "report" not in scores:
        return []
    return [
        EvalResult(
            task_type="image-classification" if config.backbone.task == "classification" else "image-regression",
            dataset_type=datasets[0],
            dataset_name=datasets[0],
            dataset_split="report",
            metric_type=config.expected.metric,
            metric_value=float(number),
            metric_name=f"{config.expected.metric} of {name}",
        )
        for name, number in zip(_exit_names(config), scores["report"], strict=True)
    ]


def _exit_names(config: MultiExitConfig) -> list[str]:
    return [*(f"exit {number}" for number in range(len(config.exits))), "the final exit"]


def _exits_table(config: MultiExitConfig, scores: Scores) -> str:
    lines = [
        f"| exit | placement | module | head | answers after{''.join(f' | {split}' for split in scores)} |",
        f"|---|---|---|---|---|{'---|' * len(scores)}",
    ]
    places = [(str(e.placement), f"`{e.module}`" if e.module else "", f"`{e.choice}`") for e in config.exits]
    for number, (place, name) in enumerate(zip([*places, ("", "", "")], _exit_names(config), strict=True)):
        values = [f"{row[number]:.4f}" for row in scores.values()]
        cells = [name, *place, f"{config.latency_ms[number]:.3g} ms", *values]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _facts(config: MultiExitConfig, prepared: Mapping[str, Any]) -> str:
    expected = config.expected
    held_out = "" if expected.held_out is None else f", {expected.held_out:.4f} on samples that took no part in it"
    condition = config.profile.get("condition")
    lines = [
        f"- chosen for budgets `{_cell(config.budget)}` under the policy {config.policy}: expected value "
        f"{expected.value:.4f} on the split {expected.split} of the choice{held_out}",
        f"- times: {_cell(condition)}" if condition else "- times: of a profile that does not say its condition",
    ]
    if source := config.outcomes.get("source"):
        lines.append(f"- heads that the choice was made by: {_cell(source)}")
    if prepared:
        lines.append(f"- inputs: {', '.join(f'{key} {_cell(value)}' for key, value in prepared.items())}")
    return "\n".join(lines)


def _count(exits: int) -> str:
    return f"{exits or 'no'} early exit{'' if exits == 1 else 's'}"


def _cell(value: object) -> str:
    """Text within a line of markdown; it may come from a file of somebody else's."""
    return " ".join(str(value).split()).replace("|", "\\|")
