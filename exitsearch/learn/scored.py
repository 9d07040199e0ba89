"""What trained heads answer on the held-out splits, as an outcomes document with or without every sample's answers."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from exitsearch.errors import MismatchError
from exitsearch.learn.checkpoint import save_tensors
from exitsearch.learn.data import DataSplits, check_data
from exitsearch.learn.data.tiles import picture_count, picture_labels
from exitsearch.learn.losses import fallback_score, metric_of, score
from exitsearch.learn.recipes import get_recipe
from exitsearch.learn.trainer import FINAL, HeadTrainer
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.models.multi_exit import FINAL_FILE, HEADS_FOLDER, final_parameters, head_file, load_final, load_state
from exitsearch.specs.outcomes import DOCUMENT_NAME, FinalOutcome, HeadOutcome, Outcomes

HELD_OUT = ("choice", "report")


def scored(trainer: HeadTrainer, data: DataSplits, *, samples: Path | None = None) -> Outcomes:
    """Scores of every head as it stands, and of the final exit.

    Args:
        samples: a folder for every sample's answers; None keeps the scores alone.

    Raises:
        ExitSearchError: an output that is not finite; names the head.
    """
    backbone, recipe = trainer.backbone, trainer.recipe
    scores: dict[str, dict[str, float]] = {}
    for name in HELD_OUT:
        outputs, labels = trainer.answers(data.split(name))
        if samples is not None:
            save_tensors(samples / f"{name}.safetensors", {**outputs, "labels": labels})
        for key, found in outputs.items():
            scores.setdefault(key, {})[name] = score(found, labels, task=data.task)
    return Outcomes(
        schema_version=Outcomes.current_version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        backbone=backbone.facts,
        metric=metric_of(data.task),
        fallback=fallback_score(picture_labels(data.heads), picture_labels(data.choice), task=data.task),
        splits={name: picture_count(data.split(name)) for name in HELD_OUT},
        source=f"trained on {data.name} over {backbone.facts.name} ({backbone.weights}), recipe {recipe.name}",
        training={
            "recipe": recipe.name,
            "epochs": recipe.epochs,
            "seed": trainer.seed,
            "data": f"{data.name} {data.identity}",
            "weights": backbone.weights,
            "device": trainer.device.type,
            "threads": torch.get_num_threads(),
        },
        heads=[
            HeadOutcome(
                placement=placement,
                module=backbone.placements[placement].module,
                head=head,
                scores=scores[f"{placement}/{head}"],
            )
            for placement, head in sorted(trainer.heads, key=lambda pair: pair[0])
        ],
        final=FinalOutcome(scores=scores[FINAL]),
        constant_errors=_constant_errors(data),
    )


def _constant_errors(data: DataSplits) -> dict[str, float]:
    """Per split, the error of the median of the training targets; none of a classification."""
    if data.task == "classification":
        return {}
    trained_on = picture_labels(data.heads)
    return {name: fallback_score(trained_on, picture_labels(data.split(name)), task=data.task) for name in HELD_OUT}


def write_weights(backbone: Backbone, heads: dict[tuple[int, str], nn.Module], out: Path) -> None:
    """Write every head's weights, and the final classifier's where it was trained along."""
    for (placement, head), module in heads.items():
        save_tensors(out / HEADS_FOLDER / head_file(placement, head), dict(module.state_dict()))
    if not backbone.final_is_trained:
        save_tensors(out / HEADS_FOLDER / FINAL_FILE, dict(final_parameters(backbone)))


def score_banks(
    backbone: Backbone,
    data: DataSplits,
    *,
    banks: Sequence[Path | str],
    out: Path | str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Outcomes:
    """Let the heads of several trainings answer in some dtype, as one outcomes folder.

    The heads were trained over the same weights; weights are written as they were trained. What stands in `out` is
    returned at once, so its name must stand for all arguments.

    Args:
        backbone: is left as it is.
        data: made by `load_data` for this backbone.
        banks: outcomes folders that `train_bank` finished; no (placement, head) in two of them.
        out: the folder to write.
        dtype: of weights and inputs while they answer; labels and answers are kept as ever.
        device: where to compute.

    Raises:
        FileError: weights that are missing or do not fit.
        MismatchError: heads that were trained over other weights or on other data.
        ExitSearchError: an output that is not finite; names the head.
    """
    out, folders = Path(out), [Path(bank) for bank in banks]
    if (out / DOCUMENT_NAME).exists():
        return Outcomes.load(out)
    check_data(backbone, data)
    documents = [Outcomes.load(folder) for folder in folders]
    mine = {"weights": backbone.weights, "data": f"{data.name} {data.identity}"}
    for folder, document in zip(folders, documents, strict=True):
        for key, wanted in mine.items():
            if document.training.get(key) != wanted:
                raise MismatchError(
                    f"the heads in {folder} were trained with {key} {document.training.get(key)}, here it is {wanted}; "
                    "train them again, or give what they were trained with"
                )
    heads: dict[tuple[int, str], nn.Module] = {}
    for folder, document in zip(folders, documents, strict=True):
        for outcome in document.heads:
            placement = backbone.placements[outcome.placement]
            head = create_head(outcome.head, placement=placement, num_outputs=backbone.num_outputs)
            load_state(head, folder / HEADS_FOLDER / head_file(outcome.placement, outcome.head))
            heads[outcome.placement, outcome.head] = head
    answering = copy.deepcopy(backbone)
    if not answering.final_is_trained:
        load_final(answering, folders[0])
    write_weights(answering, heads, out)
    # The recipe only says how many samples answer at once.
    recipe = get_recipe("frozen")
    answering.module.to(dtype)
    trainer = HeadTrainer(
        answering, {key: head.to(dtype) for key, head in heads.items()}, recipe, seed=0, device=torch.device(device)
    )
    found = scored(trainer, data, samples=out)
    words = str(dtype).removeprefix("torch.")
    first = documents[0]
    found = found.model_copy(
        update={"source": f"{first.source}, answers in {words}", "training": {**first.training, "answers": words}}
    )
    found.write(out / DOCUMENT_NAME)
    return Outcomes.load(out)


def merged_scores(parts: Sequence[Outcomes]) -> Outcomes:
    """The heads of several documents in one, their scores alone."""
    merged = parts[0].model_copy(update={"heads": [head for part in parts for head in part.heads]})
    merged._folder = None  # the first one's folder, which a copy keeps, has no answers of the other heads
    return merged
