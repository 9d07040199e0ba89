"""train_bank: every candidate exit head at every placement over the frozen backbone, in one pass; writes outcomes.

    OUT/outcomes.json                       scores of every head on `choice` and `report`
    OUT/answers/<split>/...                 labels, and what every head answered to every sample
    OUT/heads/<placement>__<head>...        weights; heads/final.safetensors where the final classifier was trained
    OUT/training.json                       what was trained; while it runs, where it stands
    OUT/outcomes-<epoch>.json               scores after an epoch that it was asked to stop at

A killed run goes on from its last finished epoch, with the weights, moments, rates, order and dropout that an
uninterrupted run has there. On the CPU, with one version of torch and one number of threads, both end bit for bit the
same. On CUDA that is not promised: cuBLAS and cuDNN may choose other algorithms in another process, and some backward
passes add in no fixed order, so that even two uninterrupted runs of one seed may differ in their last bits, and by more
the longer they train. Where that must not be, a program of one's own sets CUBLAS_WORKSPACE_CONFIG=:4096:8 in the
environment and calls torch.use_deterministic_algorithms(True) before `train_bank`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.answers import drop_answers
from exitsearch.learn.checkpoint import CHECKPOINT_FILE, Checkpoint, drop_tensors, restore, save_checkpoint
from exitsearch.learn.data import DataSplits, check_data, shuffled
from exitsearch.learn.recipes import Recipe, get_recipe
from exitsearch.learn.scored import scored, with_logits, write_weights
from exitsearch.learn.trainer import FINAL, HeadTrainer
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head, fitting_exits
from exitsearch.models.multi_exit import HEADS_FOLDER, exit_seed, final_parameters, load_final
from exitsearch.specs.candidates import Candidates
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

# (share of all steps that is done, words for where it stands)
Progress = Callable[[float, str], None]


def train_bank(
    backbone: Backbone,
    data: DataSplits,
    *,
    out: Path | str,
    heads: Iterable[str] | None = None,
    placements: Iterable[int] | None = None,
    exits: Iterable[tuple[int, str]] | None = None,
    recipe: str | Recipe = "frozen",
    seed: int = 0,
    device: torch.device | str = "cpu",
    restart: bool = False,
    keep_logits: bool = False,
    until: int | None = None,
    progress: Progress | None = None,
) -> Outcomes:
    """Train candidate heads over the frozen backbone and write the outcomes folder.

    A backbone whose final exit is not trained (a new classifier, random weights) gets it trained along, in place; the
    rest of the backbone is never changed. Outcomes that already stand in `out` and fit exactly are returned at once.

    Args:
        backbone: is moved to `device`.
        data: made by `load_data` for this backbone.
        out: the folder to write, or to go on in.
        heads: head texts; None takes every registered head type wherever it fits.
        placements: None takes all.
        exits: exact (placement, head) pairs instead of `heads` and `placements`; may be empty.
        recipe: how to train, or its name.
        seed: of initial weights, order and dropout.
        device: where to train.
        restart: throw away what stands in `out`, whatever it is of.
        keep_logits: keep the outputs of a classification beside the answers, in float16. Heads that stand finished
            without them answer again.
        until: stop after so many epochs of the recipe, to go on when asked again; None trains to the end. A training
            that is further already stays as it is.
        progress: called after every step with the share that is done and words; what it raises ends the run.

    Returns:
        The outcomes, read back from `out`; of a training that stopped early the scores where it stands.

    Raises:
        InputError: heads or placements that do not exist.
        MismatchError: `out` holds a training of something else; says what differs.
        UnsupportedError: a head that fits nowhere, or data for other outputs.
        ExitSearchError: a loss or an output that is not finite; names the head.
    """
    out, recipe, device = Path(out), get_recipe(recipe), torch.device(device)
    check_data(backbone, data)
    if exits is None:
        pairs = fitting_exits(backbone.placements, Candidates.of(heads=heads, placements=placements))
        if not pairs:
            raise InputError(f"no head over {backbone.facts.name} was asked for; see exitsearch list heads")
    else:
        pairs = sorted({(placement, str(HeadChoice.parse(head))) for placement, head in exits})
    identity = _identity(backbone, data, pairs, recipe, seed)
    if restart:
        _clear(out)
    checkpoint = Checkpoint.load(out)
    if checkpoint is None and (out / DOCUMENT_NAME).exists():
        raise MismatchError(
            f"{out} holds outcomes that were not trained here ({CHECKPOINT_FILE} is missing); choose another --out, or "
            "start afresh with --restart"
        )
    if checkpoint is not None:
        checkpoint.check_same(identity, out)
        if until is not None and _early_file(out, until).exists():
            return Outcomes.read(_early_file(out, until))
        if checkpoint.finished:
            if not backbone.final_is_trained:
                load_final(backbone, out)
            finished = Outcomes.load(out)
            return with_logits(finished, backbone.to(device), data, recipe=recipe) if keep_logits else finished

    flags = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    try:
        trainer = HeadTrainer(backbone, _create_heads(backbone, pairs, seed), recipe, seed, device)
        reached = _train(trainer, data, out, identity=identity, checkpoint=checkpoint, until=until, progress=progress)
        if until is not None and reached < recipe.epochs:
            early = scored(trainer, data)
            if reached == until:
                early.write(_early_file(out, until))
            return early
        _write(trainer, data, out, identity=identity, keep_logits=keep_logits)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    return Outcomes.load(out)


def _identity(
    backbone: Backbone, data: DataSplits, pairs: list[tuple[int, str]], recipe: Recipe, seed: int
) -> dict[str, Any]:
    """Everything that the result depends on, as JSON would give it back."""
    return {
        "backbone": backbone.facts.model_dump(mode="json"),
        "weights": f"{backbone.weights} {weights_digest(backbone)}",
        "final_is_trained": backbone.final_is_trained,
        "data": f"{data.name} {data.identity}",
        "heads": [f"{placement}/{head}" for placement, head in sorted(pairs)],
        "recipe": {key: value for key, value in dataclasses.asdict(recipe).items() if key != "description"},
        "seed": seed,
        "libraries": {"torch": torch.__version__.split(".")[0], "timm": timm.__version__.split(".")[0]},
    }


def bank_digest(
    backbone: Backbone, data: DataSplits, *, exits: Iterable[tuple[int, str]], recipe: Recipe, seed: int
) -> str:
    """12 hexadecimal digits that stand for everything that `train_bank` of these arguments depends on."""
    identity = _identity(backbone, data, list(exits), recipe, seed)
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def weights_digest(backbone: Backbone) -> str:
    """Digest of the backbone's weights, a new final classifier left out: `file:...` says no more after fine-tuning."""
    own = set() if backbone.final_is_trained else set(final_parameters(backbone))
    digest = hashlib.sha256()
    for name, tensor in backbone.module.state_dict().items():
        if name not in own:
            # Viewed as bytes, since numpy knows no bfloat16.
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(data.numpy())
    return digest.hexdigest()[:16]


def _create_heads(backbone: Backbone, pairs: list[tuple[int, str]], seed: int) -> dict[tuple[int, str], nn.Module]:
    """Heads with initial weights that depend on seed, placement and head alone; a new final classifier likewise."""
    heads: dict[tuple[int, str], nn.Module] = {}
    for placement, head in pairs:
        if not 0 <= placement < len(backbone.placements):
            raise InputError(
                f"placements of {backbone.facts.name} run from 0 to {len(backbone.placements) - 1}, found {placement}"
            )
        heads[placement, head] = create_head(
            head,
            placement=backbone.placements[placement],
            num_outputs=backbone.num_outputs,
            seed=exit_seed(seed, placement, head),
        )
    if not backbone.final_is_trained:
        # Drawn anew, so that training twice over one backbone in memory starts twice from the same classifier.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(exit_seed(seed, -1, FINAL))
            for parameter in final_parameters(backbone).values():
                fresh = torch.empty(parameter.shape)
                nn.init.normal_(fresh, std=_FINAL_STD) if fresh.ndim > 1 else nn.init.zeros_(fresh)
                parameter.data.copy_(fresh)
    return heads


# timm's own standard deviation for the weights of a vision transformer's new classifier.
_FINAL_STD = 0.02


def _clear(out: Path) -> None:
    """Remove what an earlier training wrote, and nothing else."""
    for name in (DOCUMENT_NAME, CHECKPOINT_FILE):
        (out / name).unlink(missing_ok=True)
    drop_answers(out)
    drop_tensors(out)
    for path in (*(out / HEADS_FOLDER).glob("*.safetensors"), *out.glob("outcomes-*.json")):
        path.unlink()


def _train(
    trainer: HeadTrainer,
    data: DataSplits,
    out: Path,
    *,
    identity: dict[str, Any],
    checkpoint: Checkpoint | None,
    until: int | None,
    progress: Progress | None,
) -> int:
    """Train from the last checkpoint, or from the start, to an epoch or the end of the recipe; returns the epoch.

    Where nothing is left to learn, that is the end.
    """
    recipe, first = trainer.recipe, 0
    if not trainer.trainees:
        return recipe.epochs
    if checkpoint is not None and checkpoint.tensors is not None:
        restore(out, trainer, checkpoint)
        first = checkpoint.epoch
    loss: float | None = None
    last = recipe.epochs if until is None else min(recipe.epochs, max(until, first))
    for epoch in range(first, last):
        if not trainer.learning:
            return recipe.epochs
        order = shuffled(len(data.heads), recipe.batch_size, seed=trainer.seed, epoch=epoch)
        words = f"epoch {epoch + 1}/{recipe.epochs}" + ("" if loss is None else f", loss {loss:.3f}")
        behind, total = epoch * len(order), recipe.epochs * len(order)

        def tell(step: int, behind: int = behind, total: int = total, words: str = words) -> None:
            if progress is not None:
                progress((behind + step) / total, words)

        loss = trainer.train_epoch(data.heads, epoch=epoch, order=order, after_step=tell)
        if recipe.schedule == "plateau":
            _look(trainer, data)
        save_checkpoint(out, trainer, identity=identity, epoch=epoch + 1)
    return last


def _look(trainer: HeadTrainer, data: DataSplits) -> None:
    """Let every head learn from its loss on the choice split."""
    losses = trainer.losses(data.choice)
    for trainee in trainer.learning:
        trainee.learn_from(losses[trainee.key], trainer.recipe)


def _write(trainer: HeadTrainer, data: DataSplits, out: Path, *, identity: dict[str, Any], keep_logits: bool) -> None:
    """Write weights, answers and scores; `outcomes.json` after all that it speaks of."""
    write_weights(trainer.backbone, trainer.heads, out)
    scored(trainer, data, samples=out, keep_logits=keep_logits).write(out / DOCUMENT_NAME)
    Checkpoint(
        schema_version=Checkpoint.current_version, identity_of=identity, epoch=trainer.recipe.epochs, finished=True
    ).write(out / CHECKPOINT_FILE)
    drop_tensors(out)


def _early_file(out: Path, epoch: int) -> Path:
    return out / f"outcomes-{epoch}.json"
