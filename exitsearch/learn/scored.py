"""What trained heads answer on the held-out splits, as an outcomes document with or without every sample's answers."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from exitsearch.errors import ExitSearchError, MismatchError
from exitsearch.learn.answers import HELD_OUT, answers_file, drop_leftovers, write_answers
from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.recipe import HeadRecipe, get_head_recipe
from exitsearch.learn.bank.trainee import FINAL, NotFiniteError
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, check_data
from exitsearch.learn.data.tiles import picture_count, picture_labels
from exitsearch.learn.losses import fallback_score, metric_of, score, score_sum
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.models.multi_exit import FINAL_FILE, HEADS_FOLDER, final_parameters, head_file, load_final, load_state
from exitsearch.specs.answers.calibration import calibration_of
from exitsearch.specs.answers.kept import ANSWERS_FOLDER, KeptOutputs, parse_exit_file, read_kept, read_targets
from exitsearch.specs.outcomes import DOCUMENT_NAME, DroppedHead, FinalOutcome, HeadOutcome, Outcomes


class TrainedBy(Protocol):
    """Who trained heads: a `HeadTrainer`, or whoever knows as much."""

    backbone: Backbone
    recipe: HeadRecipe
    seed: int
    device: torch.device


@denormals_flushed()
def scored(
    trainer: HeadTrainer, data: DataSplits, *, samples: Path | None = None, keep_logits: bool = False
) -> Outcomes:
    """Scores of every head as it stands, and of the final exit.

    Args:
        samples: a folder of outcomes for every sample's answers; None keeps the scores alone.
        keep_logits: whether the outputs of a classification are kept too.

    Raises:
        FileError: an answer cannot be written.
        ExitSearchError: an output that is not finite where scores alone are wanted, or of the final exit; names the
            head.
    """
    if samples is None:
        return _outcomes(trainer, data, _streamed_scores(trainer, data), order=list(trainer.heads), dropped=())
    dropped = write_answers(trainer, data, samples, keep_logits=keep_logits)
    lost = {(head.placement, head.head) for head in dropped}
    return document(trainer, data, samples, exits=[key for key in trainer.heads if key not in lost], dropped=dropped)


def document(
    trained: TrainedBy,
    data: DataSplits,
    out: Path | str,
    *,
    exits: Iterable[tuple[int, str]] | None = None,
    dropped: Sequence[DroppedHead] = (),
) -> Outcomes:
    """The outcomes of the heads whose answers stand in a folder; nothing is computed but scores, nothing is written.

    What a killed run left half written is removed: no other process may be writing there.

    Args:
        trained: a trainer, or whatever else has its `backbone`, `recipe`, `seed` and `device`.
        data: whose held-out splits they answered.
        out: the folder of outcomes.
        exits: (placement, head) of those that are meant, in the order of their columns in tables; None takes all.
        dropped: heads that came to nothing.

    Raises:
        FileError: an answer is missing, or cannot be read.
    """
    folder = Path(out) / ANSWERS_FOLDER
    drop_leftovers(out)
    if exits is None:
        # A killed run may have named one file of a head and not the other.
        names = [{path.name for path in (folder / name).glob("*.safetensors")} for name in HELD_OUT]
        exits = sorted(pair for name in set.intersection(*names) if (pair := parse_exit_file(name)) is not None)
    order = list(exits)
    targets = {name: picture_labels(data.split(name)) for name in HELD_OUT}
    labels = {name: found.numpy() for name, found in targets.items()}
    found: dict[str, FinalOutcome] = {}
    for key in [f"{placement}/{head}" for placement, head in order] + [FINAL]:
        paths = {name: answers_file(folder / name, key) for name in HELD_OUT}
        if data.task == "classification":
            kept = {name: read_kept(path) for name, path in paths.items()}
            scores = {name: float((kept[name].prediction == labels[name]).mean()) for name in HELD_OUT}
            found[key] = FinalOutcome(scores=scores, calibration=calibration_of(kept, labels))
        else:
            answers = {name: torch.from_numpy(read_targets(path)) for name, path in paths.items()}
            scores = {name: score(answers[name], targets[name], task=data.task) for name in HELD_OUT}
            found[key] = FinalOutcome(scores=scores)
    return _outcomes(trained, data, found, order=order, dropped=dropped)


def _streamed_scores(trainer: HeadTrainer, data: DataSplits) -> dict[str, FinalOutcome]:
    """Scores of every exit, by key."""
    totals: dict[str, dict[str, float]] = {}
    for name in HELD_OUT:
        labels = picture_labels(data.split(name))
        for block, key, outputs in trainer.stream_answers(data.split(name)):
            if not bool(outputs.isfinite().all()):
                words = {trainee.key: trainee.words for trainee in trainer.trainees if trainee.key != FINAL}
                raise NotFiniteError(
                    f"{words.get(key, 'the final exit')} answers with numbers that are not finite; train it again or "
                    "leave it out",
                    key=key,
                )
            mine = totals.setdefault(key, dict.fromkeys(HELD_OUT, 0.0))
            mine[name] += score_sum(outputs, labels[block], task=data.task)
    return {
        key: FinalOutcome(scores={name: total / picture_count(data.split(name)) for name, total in mine.items()})
        for key, mine in totals.items()
    }


def _outcomes(
    trained: TrainedBy,
    data: DataSplits,
    found: Mapping[str, FinalOutcome],
    *,
    order: Iterable[tuple[int, str]],
    dropped: Sequence[DroppedHead],
) -> Outcomes:
    """The document of what exits were found to score, by key."""
    backbone, recipe = trained.backbone, trained.recipe
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
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            **({"augment": ",".join(recipe.augment)} if recipe.augment else {}),
            "seed": trained.seed,
            "data": f"{data.name} {data.identity}",
            "weights": backbone.weights,
            "device": trained.device.type,
            "threads": torch.get_num_threads(),
        },
        heads=[
            HeadOutcome(
                placement=placement,
                module=backbone.placements[placement].module,
                head=head,
                scores=found[f"{placement}/{head}"].scores,
                calibration=found[f"{placement}/{head}"].calibration,
            )
            for placement, head in sorted(order, key=lambda pair: pair[0])
        ],
        final=found[FINAL],
        dropped=list(dropped),
        constant_errors=_constant_errors(data),
    )


def with_logits(outcomes: Outcomes, backbone: Backbone, data: DataSplits, *, recipe: HeadRecipe) -> Outcomes:
    """Finished outcomes with the outputs of their heads, which answer again if only answers were kept.

    Args:
        outcomes: of a folder, with the weights of its heads.
        backbone: that they were trained over, its final classifier included; is left as it is.
        data: that they were trained on.
        recipe: that they were trained with.

    Raises:
        FileError: weights that are missing or do not fit, or an answer that cannot be written.
        ExitSearchError: an output that is not finite; names the head.
    """
    samples, folder = outcomes.samples(outcomes.choice_split), outcomes.folder
    assert samples is not None
    assert folder is not None
    if not isinstance(samples.final, KeptOutputs) or samples.final.load is not None:
        return outcomes
    answering, device = copy.deepcopy(backbone), next(backbone.parameters()).device
    trainer = HeadTrainer(answering, _load_heads(backbone, folder, outcomes), recipe, seed=0, device=device)
    found = scored(trainer, data, samples=folder, keep_logits=True)
    if found.dropped:
        raise ExitSearchError(f"{found.dropped[0]}; start afresh with --restart")
    # What was chosen from the earlier ones still names them.
    again = outcomes.model_copy(update={"heads": found.heads, "final": found.final})
    again.write(folder / DOCUMENT_NAME)
    return Outcomes.load(folder)


def _load_heads(backbone: Backbone, folder: Path, document: Outcomes) -> dict[tuple[int, str], nn.Module]:
    """The trained heads of a folder of outcomes."""
    heads: dict[tuple[int, str], nn.Module] = {}
    for outcome in document.heads:
        placement = backbone.placements[outcome.placement]
        head = create_head(outcome.head, placement=placement, num_outputs=backbone.num_outputs)
        load_state(head, folder / HEADS_FOLDER / head_file(outcome.placement, outcome.head))
        heads[outcome.placement, outcome.head] = head
    return heads


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
        heads |= _load_heads(backbone, folder, document)
    answering = copy.deepcopy(backbone)
    if not answering.final_is_trained:
        load_final(answering, folders[0])
    write_weights(answering, heads, out)
    # The recipe only says how many samples answer at once.
    recipe = get_head_recipe("frozen")
    answering.module.to(dtype)
    trainer = HeadTrainer(
        answering, {key: head.to(dtype) for key, head in heads.items()}, recipe, seed=0, device=torch.device(device)
    )
    found = scored(trainer, data, samples=out)
    if found.dropped:
        # A search compares settings by the same heads.
        raise ExitSearchError(f"{found.dropped[0]}; leave it out, or choose another dtype")
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


def joined(earlier: Outcomes, later: Outcomes) -> Outcomes:
    """The heads of two documents in one, and the rest of the later one; of a head in both, the earlier outcome."""
    known = {(head.placement, head.head) for head in earlier.heads}
    heads = [*earlier.heads, *(head for head in later.heads if (head.placement, head.head) not in known)]
    return later.model_copy(update={"heads": sorted(heads, key=lambda head: head.placement)})
