"""ExitOutputs: all that a loss may look at after one forward pass of a multi-exit model.

    outputs = exit_outputs(model, images, needs=LOSSES["joint"].needs)
    terms = LOSSES["joint"].function(outputs, labels, None, step)
    sum(terms.values()).backward()

Only what is asked for is kept: features that no loss reads would cost memory for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.models import features
from exitsearch.models.heads import ExitHead
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
        strides=tuple(int(getattr(head, "stride", 1)) for head in model.heads),
        grid=backbone.placements[-1].grid,
    )


def exit_outputs(
    model: MultiExitModel,
    inputs: Tensor,
    *,
    needs: frozenset[str] = frozenset(),
    facts: ExitFacts | None = None,
) -> ExitOutputs:
    """One forward pass, with what a loss needs of it.

    Gradients flow as the model's parameters ask for them. Numbers of half precision are handed on in float32, which
    losses need.

    Args:
        model: in whatever mode it is to be run.
        inputs: [batch, channels, height, width].
        needs: what to keep beside the logits, of `NEEDS`; what is not named is not kept.
        facts: of the model, where they are at hand; None reads them.

    Raises:
        InputError: when a need has no such name.
    """
    if unknown := needs - NEEDS:
        raise InputError(f"a loss may need {', '.join(sorted(NEEDS))}, found {', '.join(sorted(unknown))}")
    facts = exit_facts(model) if facts is None else facts
    heads = dict(zip(facts.placements, model.heads, strict=True))
    logits: list[Tensor] = []
    bodies: list[Tensor | None] = []
    kept: list[Tensor] = []
    state: tuple[Tensor, ...] = (inputs,)
    for placement, state in enumerate(model.backbone.states(inputs)):
        if placement in heads:
            answer, body = _answer(heads[placement], state[0], with_body="bodies" in needs)
            logits.append(_full(answer))
            bodies.append(body if body is None else _full(body))
            if "features" in needs:
                kept.append(_full(state[0]))
    logits.append(_full(model.backbone.final(state)))
    last = features.patch_tokens(state[0], model.backbone.placements[-1]) if "final_tokens" in needs else None
    return ExitOutputs(
        facts=facts,
        logits=tuple(logits),
        bodies=tuple(bodies) if "bodies" in needs else (),
        features=tuple(kept),
        final_tokens=None if last is None else _full(last),
    )


def _answer(head: nn.Module, features_: Tensor, *, with_body: bool) -> tuple[Tensor, Tensor | None]:
    """Outputs of a head, and where asked for what it compares with others: in one pass, so that dropout agrees."""
    if not with_body:
        outputs: Tensor = head(features_)
        return outputs, None
    with _body_of(head) as seen:
        outputs = head(features_)
    return outputs, seen[0] if seen else None


@contextmanager
def _body_of(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collects a head's body while it runs; nothing where the head names no layer that reads it."""
    seen: list[Tensor] = []
    reader = head.body_reader() if isinstance(head, ExitHead) else None
    if reader is None:
        yield seen
        return
    handle = reader.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        handle.remove()


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
