"""refine: the best choice after training, as a model of its own."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from exitsearch.errors import InputError
from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.trained import OUTCOMES_FOLDER
from exitsearch.models.heads import create_head
from exitsearch.models.multi_exit import (
    CONFIG_FILE,
    HEADS_FOLDER,
    MODEL_FILE,
    MultiExitModel,
    head_file,
    load_model,
    load_state,
)
from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.question import exit_pairs


def refine(after: AfterTraining, *, out: Path | str, model: MultiExitModel | None = None) -> Path:
    """Write the best choice of now as a model of its own, with the exits that it keeps and no others.

    OUT/chosen.json, OUT/model.safetensors      what `load_model` reads
    OUT/outcomes/                               what it was chosen from, so that its proof can be repeated

    Args:
        after: of a trained model of which the search could be asked again.
        out: the folder to write.
        model: the trained model; None loads it from its folder.

    Returns:
        The folder.

    Raises:
        InputError: the search could not be asked again; says why.
        FileError: a file is missing or cannot be written.
    """
    if after.again is None or after.together is None:
        why = after.notes[-1] if after.notes else "there are no exits to choose from"
        raise InputError(f"--refine needs the search to be asked again, and it could not be: {why}; leave --refine out")
    out, config = Path(out), after.again.config
    model = model or load_model(after.folder, device="cpu")
    trained = dict(zip(exit_pairs(model.config), model.heads, strict=True))
    heads: list[nn.Module] = []
    for exit_ in config.exits:
        pair = (exit_.placement, str(exit_.choice))
        if pair in trained:
            heads.append(trained[pair])
            continue
        placement = model.backbone.placements[exit_.placement]
        head = create_head(exit_.choice, placement=placement, num_outputs=model.backbone.num_outputs)
        load_state(head, after.together.home(pair) / HEADS_FOLDER / head_file(*pair))
        heads.append(head.to(next(model.backbone.parameters()).device))
    refined = MultiExitModel(model.backbone, heads=heads, config=config)
    after.together.save(out / OUTCOMES_FOLDER)
    save_tensors(out / MODEL_FILE, dict(refined.state_dict()))
    config.write(out / CONFIG_FILE)
    return out
