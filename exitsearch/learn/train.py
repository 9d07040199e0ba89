"""train_config: train the heads of a chosen configuration and write the multi-exit model.

It is a bank of the chosen heads alone: with the recipe and seed of `train-heads`, every head lands where it did there.

    OUT/model.safetensors, OUT/chosen.json      what `load_model` reads
    OUT/outcomes/                               scores and answers of the trained exits
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from exitsearch.errors import MismatchError
from exitsearch.learn.answers import HELD_OUT
from exitsearch.learn.bank.recipe import HeadRecipe, get_head_recipe
from exitsearch.learn.bank.train import Note, Progress
from exitsearch.learn.data import DataSplits, data_outputs, load_data
from exitsearch.learn.engine.folder.files import OUTCOMES_FOLDER as OUTCOMES_FOLDER
from exitsearch.learn.engine.folder.files import write_model
from exitsearch.learn.engine.legs.heads_first import train_heads_first
from exitsearch.models.backbone import Backbone
from exitsearch.models.multi_exit import attach_exits, build_model
from exitsearch.specs.config import MultiExitConfig


@dataclass(frozen=True)
class TrainResult:
    """What was trained.

    Attributes:
        folder: holds the model; read it with `load_model`.
        scores: per split, the metric of each chosen exit in order and last of the final exit.
    """

    folder: Path
    scores: dict[str, list[float]]


def train_config(
    config: MultiExitConfig,
    *,
    data: DataSplits | str,
    out: Path | str,
    recipe: str | HeadRecipe = "frozen",
    seed: int = 0,
    backbone: Backbone | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    device: torch.device | str = "cpu",
    restart: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> TrainResult:
    """Build the multi-exit model of a configuration, train its heads over the frozen backbone, and write it.

    Args:
        config: what was chosen.
        data: a data set, or its name for `load_data`.
        out: the folder to write, or to go on in.
        recipe: how to train, or its name.
        seed: of initial weights, order and dropout.
        backbone: the backbone to attach the exits to; None makes the configuration's.
        pretrained: as in `create_backbone`.
        checkpoint: a safetensors file of the backbone's own weights.
        device: where to train.
        restart: throw away an earlier training in `out`.
        progress: as in `train_bank`.
        note: as in `train_bank`.

    Raises:
        InputError: a configuration, data set or recipe that cannot be used; the message says why.
        MismatchError: data of another number of outputs than the configuration's.
        ExitSearchError: a chosen head whose loss or answers are not finite.
    """
    out = Path(out)
    outputs = data_outputs(data, task=config.backbone.task) if isinstance(data, str) else data.num_outputs
    if config.backbone.num_outputs is None:
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"num_outputs": outputs})})
    elif config.backbone.num_outputs != outputs:
        raise MismatchError(
            f"the configuration is for {config.backbone.num_outputs} outputs, the data has {outputs}; take the data "
            "that it was chosen for, or set backbone.num_outputs in it"
        )
    if backbone is None:
        model = build_model(config, pretrained=pretrained, checkpoint=checkpoint, seed=seed, device=device)
    else:
        model = attach_exits(backbone.to(device), config=config, seed=seed)
    if isinstance(data, str):
        data = load_data(data, backbone=model.backbone)
    outcomes = train_heads_first(
        model,
        data,
        out=out / OUTCOMES_FOLDER,
        recipe=get_head_recipe(recipe),
        seed=seed,
        device=device,
        restart=restart,
        progress=progress,
        note=note,
    )
    write_model(model, out)
    exits = [(exit_.placement, str(exit_.choice)) for exit_ in config.exits]
    found = {(outcome.placement, outcome.head): outcome.scores for outcome in outcomes.heads}
    return TrainResult(
        folder=out,
        scores={split: [*(found[exit_][split] for exit_ in exits), outcomes.final.scores[split]] for split in HELD_OUT},
    )
