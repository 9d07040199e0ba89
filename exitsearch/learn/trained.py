"""trained_outcomes: what a trained multi-exit model answers, as an outcomes folder beside the model.

    OUT/outcomes/outcomes.json      scores of every chosen exit and of the final one
    OUT/outcomes/answers/           what each answered to every sample of `choice` and `report`
    OUT/outcomes/heads/             weights of the exit heads

It is written as the bank writes its own, so whatever reads outcomes reads these: the search may be asked again. A
document of outcomes names the weights of the backbone that its heads stand on. Where training has moved the backbone,
these are `trained:` and a digest of the weights as they are now, so that nothing takes heads of the frozen backbone and
heads of this one for each other's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exitsearch.errors import ExitSearchError
from exitsearch.learn.answers import write_answers
from exitsearch.learn.bank.identity import weights_digest
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, check_data
from exitsearch.learn.scored import document, write_weights
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.document import unwritable
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes, Scalar

OUTCOMES_FOLDER = "outcomes"
# Before the digest of weights that training has moved.
MOVED = "trained:"


def trained_outcomes(
    model: MultiExitModel,
    data: DataSplits,
    *,
    out: Path | str,
    recipe_facts: Mapping[str, Scalar] | None = None,
    start: str | None = None,
    keep_logits: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Outcomes:
    """Let a trained model answer the held-out splits, and write scores and answers, whole or not at all.

    Answers go to disk block by block, so memory does not grow with the samples.

    Args:
        model: answers in the targets' own unit; is left as it is, modes and all.
        data: made by `load_data` for its backbone.
        out: the folder of the trained model; an earlier `outcomes` in it is replaced.
        recipe_facts: how it was trained, for the document: `recipe`, `epochs` (of all stages together), `seed` and
            whatever else is worth knowing.
        start: `weights_digest` of the backbone before training. Where the backbone still has it, its weights keep their
            name, and the heads may be searched together with others over it; None takes it for moved.
        keep_logits: whether the outputs of a classification are kept too, in float16.
        progress: called after every block with the share that is done and words.

    Raises:
        UnsupportedError: the data are of another task or number of outputs than the model.
        FileError: a file cannot be written.
        ExitSearchError: an exit answers with numbers that are not finite; names it.
    """
    backbone = model.backbone
    check_data(backbone, data)
    folder = Path(out) / OUTCOMES_FOLDER
    made = Path(out) / f".{OUTCOMES_FOLDER}.partial"
    shutil.rmtree(made, ignore_errors=True)  # what a killed run left
    heads = {
        (exit_.placement, str(exit_.choice)): head for exit_, head in zip(model.config.exits, model.heads, strict=True)
    }
    digest = weights_digest(backbone)
    device = next(backbone.parameters()).device
    try:
        with _left_as_it_is(model):
            # The recipe only says how many samples answer at once.
            trainer = HeadTrainer(backbone, heads, get_head_recipe("frozen"), seed=0, device=device, train_final=False)
            dropped = write_answers(trainer, data, made, keep_logits=keep_logits, progress=progress)
            if dropped:
                raise ExitSearchError(f"{dropped[0]}; train with a lower learning rate")
            found = document(trainer, data, made, exits=list(heads))
        weights = backbone.weights if digest == start else f"{MOVED}{digest}"
        facts = {**(recipe_facts or {}), "data": found.training["data"], "weights": weights}
        facts |= {key: found.training[key] for key in ("device", "threads")}
        how = f", recipe {facts['recipe']}" if "recipe" in facts else ""
        found = found.model_copy(
            update={
                "source": f"the trained multi-exit model on {data.name} over {backbone.facts.name} ({weights}){how}",
                "training": facts,
            }
        )
        write_weights(backbone, heads, made)
        found.write(made / DOCUMENT_NAME)
        _replace(folder, made)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return Outcomes.load(folder)


def moved_backbone(outcomes: Outcomes) -> bool:
    """Whether outcomes are of a backbone whose weights training has moved."""
    return str(outcomes.training.get("weights", "")).startswith(MOVED)


@contextmanager
def _left_as_it_is(model: MultiExitModel) -> Iterator[None]:
    """Give a model its modes back, and its parameters what they had of gradients."""
    modes = [(module, module.training) for module in model.modules()]
    learn = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, needed in learn:
            parameter.requires_grad_(needed)


def _replace(folder: Path, made: Path) -> None:
    """Put a folder that is whole in another's place."""
    old = folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.replace(old)
        made.replace(folder)
    except OSError as error:
        raise unwritable(folder, error) from None
    shutil.rmtree(old, ignore_errors=True)
