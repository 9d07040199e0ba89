"""ExitOutputs: all that a loss may look at after one forward pass of a multi-exit model.

    outputs = exit_outputs(model, images, needs=LOSSES["joint"].needs)
    terms = LOSSES["joint"].function(outputs, labels, None, step)
    sum(terms.values()).backward()

Only what is asked for is kept: features that no loss reads would cost memory for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.models import features
from exitsearch.models.heads import ExitHead
from exitsearch.models.heads.lgvit import GlobalAggregationHead
from exitsearch.models.inputs import Batch
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.backbone import Task

# What a loss may ask for beside the logits, by the attribute of ExitOutputs that holds it.
NEEDS = frozenset({"bodies", "features", "final_tokens"})

# Rounding of chances that were added up elsewhere.
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class ExitFacts:
    """What a loss may know of a model beside its outputs.

    Attributes:
        task: what the outputs mean.
        placements: of the chosen exits, in order.
        heads: head type of each chosen exit.
        depth: placements of the backbone.
        chances: of each chosen exit and last of the final one, the chance (0 to 1) that its answer is the one in hand
            when the budget strikes; they add up to 1 or less, since there may be no answer in time. None where they
            are not known.
        strides: of each chosen exit, every how many cells of the grid in both directions its body keeps.
        grid: (height, width) of the final tokens, in cells; (0, 0) where there is none.
    """

    task: Task
    placements: tuple[int, ...]
    heads: tuple[str, ...]
    depth: int
    chances: tuple[float, ...] | None = None
    strides: tuple[int, ...] = ()
    grid: tuple[int, int] = (0, 0)

    @property
    def exits(self) -> tuple[str, ...]:
        """A name for each exit in the terms of a loss: `exit_0`, `exit_1`, ... and last `final`."""
        return (*(f"exit_{number}" for number in range(len(self.placements))), "final")


@dataclass(frozen=True, kw_only=True)
class ExitOutputs:
    """What one forward pass of a multi-exit model gave.

    Attributes:
        facts: of the model.
        logits: of the chosen exits in order and last of the final exit, each [batch, num_outputs]; for a regression
            the answers.
        bodies: of each chosen exit, what its head compares with others: for a head of LGViT the body's output
            [batch, tokens, channels], for others what enters the last layer; None for a head that names no last layer.
            Empty unless asked for.
        features: raw, at each chosen placement, in its layout. Empty unless asked for.
        final_tokens: patch tokens behind the last placement [batch, tokens, channels]. None unless asked for.
    """

    facts: ExitFacts
    logits: tuple[Tensor, ...]
    bodies: tuple[Tensor | None, ...] = ()
    features: tuple[Tensor, ...] = ()
    final_tokens: Tensor | None = None


def exit_facts(model: MultiExitModel, *, chances: Sequence[float] | None = None) -> ExitFacts:
    """The facts of a model.

    Args:
        model: a multi-exit model.
        chances: as in `ExitFacts`.

    Raises:
        InputError: when the chances are not one number from 0 to 1 for every exit, or add up to more than 1.
    """
    exits, backbone = model.config.exits, model.backbone
    return ExitFacts(
        task=backbone.facts.task,
        placements=tuple(exit_.placement for exit_ in exits),
        heads=tuple(exit_.head for exit_ in exits),
        depth=len(backbone.placements),
        chances=None if chances is None else _checked_chances(chances, len(exits) + 1),
        strides=tuple(head.stride if isinstance(head, GlobalAggregationHead) else 1 for head in model.heads),
        grid=backbone.placements[-1].grid,
    )


def exit_outputs(
    model: MultiExitModel,
    inputs: Batch,
    *,
    needs: frozenset[str] = frozenset(),
    facts: ExitFacts | None = None,
) -> ExitOutputs:
    """One forward pass, with what a loss needs of it.

    Gradients flow as the model's parameters ask for them. Numbers of half precision are handed on in float32, which
    losses need.

    Args:
        model: in whatever mode it is to be run.
        inputs: [batch, channels, height, width], or all inputs as `Inputs` where heads read side inputs.
        needs: what to keep beside the logits, of `NEEDS`; what is not named is not kept.
        facts: of the model, where they are at hand; None reads them.

    Raises:
        InputError: when a need has no such name.
    """
    if unknown := needs - NEEDS:
        raise InputError(
            f"a loss may need {', '.join(sorted(NEEDS))}, found {', '.join(sorted(unknown))}; name these alone"
        )
    facts = exit_facts(model) if facts is None else facts
    seen = _Seen(len(model.heads))
    with ExitStack() as hooks:
        seen.watch(model, needs, hooks)
        logits = model(inputs)
    last = model.backbone.placements[-1]
    return ExitOutputs(
        facts=facts,
        logits=tuple(_full(one) for one in logits),
        bodies=tuple(None if body is None else _full(body) for body in seen.bodies) if "bodies" in needs else (),
        features=tuple(_full(one) for one in seen.features),
        final_tokens=None if seen.last is None else _full(features.patch_tokens(seen.last, last)),
    )


class _Seen:
    """What passes by in a model's own forward pass: hooks see it there, so that no second way to run a model exists.

    Attributes:
        bodies: of each chosen exit; None where its head names no layer that reads it, or it was not asked for.
        features: at each chosen placement, where they were asked for.
        last: at the last placement, where it was asked for.
    """

    def __init__(self, exits: int) -> None:
        self.bodies: list[Tensor | None] = [None] * exits
        self.features: list[Tensor] = []
        self.last: Tensor | None = None

    def watch(self, model: MultiExitModel, needs: frozenset[str], hooks: ExitStack) -> None:
        """Look at what is needed, and at nothing else, until the hooks are taken off."""

        def keep_body(number: int, args: tuple[Tensor, ...]) -> None:
            self.bodies[number] = args[0]

        def keep_last(args: tuple[tuple[Tensor, ...], ...]) -> None:
            self.last = args[0][0]

        def hook(module: nn.Module, keep: Callable[[Any], None]) -> None:
            hooks.callback(module.register_forward_pre_hook(lambda _module, args: keep(args)).remove)

        for number, head in enumerate(model.heads):
            reader = head.body_reader() if isinstance(head, ExitHead) else None
            if reader is not None and "bodies" in needs:
                hook(reader, partial(keep_body, number))
            if "features" in needs:
                hook(head, lambda args: self.features.append(args[0]))
        if "final_tokens" in needs:
            hook(model.backbone.final, keep_last)


def _full(tensor: Tensor) -> Tensor:
    """A tensor in float32 where it is of half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _checked_chances(chances: Sequence[float], count: int) -> tuple[float, ...]:
    found = tuple(float(chance) for chance in chances)
    if len(found) != count:
        raise InputError(
            f"chances are one number for each of the {count} exits, the final one last, found {len(found)}; give "
            f"{count} numbers"
        )
    for chance in found:
        if not (math.isfinite(chance) and 0 <= chance <= 1 + _TOLERANCE):
            raise InputError(f"a chance is a number from 0 to 1, found {chance}; give shares, not percentages")
    if sum(found) > 1 + _TOLERANCE:
        raise InputError(
            f"of all exits one answer is in hand at most, so chances add up to 1 or less, found {sum(found):.6g}; "
            "divide them by their sum"
        )
    return found
