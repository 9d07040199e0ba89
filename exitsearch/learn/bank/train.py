"""train_bank: candidate exit heads at every placement over the frozen backbone, in one pass; writes outcomes.

    OUT/outcomes.json                       scores of every head on `choice` and `report`
    OUT/answers/<split>/...                 labels, and what each head answered (`specs/answers/kept.py`)
    OUT/heads/<placement>__<head>...        weights; heads/final.safetensors where the final classifier was trained
    OUT/training.json, OUT/training/        what was trained; while it runs, where each head stands (`checkpoint.py`)
    OUT/outcomes-<epoch>.json               scores after an epoch that it was asked to stop at

Every head is a unit of its own: what it ends as depends on the backbone, the data, the recipe and the seed, and on no
other head. Asked again for other heads, the folder keeps those that it has as they are and gets those that are missing.
A head whose loss or answers are not finite is dropped: the outcomes name it and why, and it is not tried again.

A killed run goes on from the last checkpoint of each head, with the weights, moments, rates, order and dropout that an
uninterrupted run has there. On the CPU, with one version of torch and one number of threads, both end bit for bit the
same, and so do several processes that share the heads. On CUDA that is not promised: cuBLAS and cuDNN may choose other
algorithms in another process, and some backward passes add in no fixed order, so that even two uninterrupted runs of
one seed may differ in their last bits, and by more the longer they train. Where that must not be, a program of one's
own sets CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment and calls torch.use_deterministic_algorithms(True) before
`train_bank`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from exitsearch.allocator import keep_freed_memory
from exitsearch.errors import InputError
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.epochs import CHECKPOINT_MINUTES
from exitsearch.learn.bank.epochs import Progress as Progress
from exitsearch.learn.bank.folder import BankFolder
from exitsearch.learn.bank.identity import bank_digest as bank_digest
from exitsearch.learn.bank.identity import bank_identity
from exitsearch.learn.bank.identity import weights_digest as weights_digest
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.recipe import HeadRecipe, get_head_recipe
from exitsearch.learn.bank.run import BankRun
from exitsearch.learn.data import DataSplits, check_data
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import fitting_exits
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.candidates import Candidates

# A sentence that a person should know.
Note = Callable[[str], None]


def train_bank(
    backbone: Backbone,
    data: DataSplits,
    *,
    out: Path | str,
    heads: Iterable[str] | None = None,
    placements: Iterable[int] | None = None,
    exits: Iterable[tuple[int, str]] | None = None,
    recipe: str | HeadRecipe = "frozen",
    seed: int = 0,
    device: torch.device | str = "cpu",
    restart: bool = False,
    until: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    keep_logits: bool = False,
    processes: Processes | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Outcomes:
    """Train candidate heads over the frozen backbone and write the outcomes folder.

    A backbone whose final exit is not trained (a new classifier, random weights) gets it trained along, in place; the
    rest of the backbone is never changed. Heads that stand in `out` already, of the same backbone, data, recipe and
    seed, are kept as they are, whether or not they are asked for now.

    From then on the process keeps its freed memory (`allocator.py`).

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
        until: stop after so many epochs of the recipe, to go on when asked again; None trains to the end. A head that
            is further already stays as it is. Not with several processes.
        checkpoint_minutes: where each head stands is written at the end of every epoch, and after so many minutes (0:
            after every step) within one.
        keep_logits: keep the outputs of a classification beside the answers, in float16. Heads that stand finished
            without them answer again.
        processes: who else trains its share of these heads, each called with the same arguments; None: nobody.
        progress: called after every step with the share that is done and words; what it raises ends the run.
        note: called with a sentence about every head that is dropped; None gives a warning of Python's.

    Returns:
        The outcomes of all heads that stand in `out`, read back from there; of a training that stopped early the scores
        where it stands. Of several processes all but the first have the scores alone.

    Raises:
        InputError: heads or placements that do not exist, a number that is out of range.
        MismatchError: `out` holds a training of something else; says what differs.
        UnsupportedError: a head that fits nowhere, or data for other outputs.
        ExitSearchError: every head has been dropped, the final classifier cannot be trained, or another process ended.
    """
    keep_freed_memory()
    recipe, processes = get_head_recipe(recipe), processes or Processes()
    check_data(backbone, data)
    _check(until=until, checkpoint_minutes=checkpoint_minutes, processes=processes)
    run = BankRun(
        backbone=backbone,
        data=data,
        folder=BankFolder(Path(out), bank_identity(backbone, data, recipe=recipe, seed=seed)),
        recipe=recipe,
        seed=seed,
        device=torch.device(device),
        processes=processes,
        checkpoint_minutes=checkpoint_minutes,
        keep_logits=keep_logits,
        progress=progress,
        note=note or (lambda sentence: warnings.warn(sentence, stacklevel=2)),
    )
    pairs = _asked(backbone, heads, placements, exits)
    flags = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    try:
        with processes.together(), denormals_flushed():
            if until is not None:
                return run.early(pairs, until=until, restart=restart)
            return run.whole(pairs, restart=restart)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _check(*, until: int | None, checkpoint_minutes: float, processes: Processes) -> None:
    """Refuse numbers that are out of range, or do not go together."""
    if not checkpoint_minutes >= 0:
        raise InputError(f"checkpoint_minutes must be at least 0, found {checkpoint_minutes}; give minutes from 0")
    if until is not None and processes.count > 1:
        raise InputError(f"scores after an epoch are for one process, found {processes.count}; leave out `until`")


def _asked(
    backbone: Backbone,
    heads: Iterable[str] | None,
    placements: Iterable[int] | None,
    exits: Iterable[tuple[int, str]] | None,
) -> list[tuple[int, str]]:
    """The (placement, head) pairs that are asked for, each once."""
    if exits is not None:
        return sorted({(placement, str(HeadChoice.parse(head))) for placement, head in exits})
    pairs = fitting_exits(backbone.placements, Candidates.of(heads=heads, placements=placements))
    if not pairs:
        raise InputError(f"no head over {backbone.facts.name} was asked for; see exitsearch list heads")
    return pairs
