"""Counting operations on the meta device: shapes only, no weights and no compute, so a ViT-L takes seconds.

Two independent counters run over every unit: fvcore, which reads a traced graph, and torch's own `FlopCounterMode`,
which sees the operators as they are dispatched. They must agree on the multiply-accumulates; where they do not, the
difference is kept and reported. Only on the meta device is torch's counter right about fused attention (on the CPU it
counts 0, pytorch#195460).

A unit (segment, head, final) is counted alone, as a function from tensors to tensors, all of which are results: what
is computed but not returned is dead code in fvcore's graph and would count 0.

    >>> from torch import empty, nn
    >>> count_model(nn.Linear(8, 4), empty(2, 8)).macs
    64
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.measure.macs.engines import run_fvcore, run_torch_counter
from exitsearch.measure.macs.rules import GROUPS
from exitsearch.measure.macs.structure import structure
from exitsearch.models.cut import make_skeleton

# Two exact counters of the same integers differ by nothing; this leaves room for a rule that rounds.
AGREEMENT = 1e-6


@dataclass(frozen=True)
class Counts:
    """What one unit does with one input, and what it holds.

    Attributes:
        macs: multiply-accumulates by fvcore (1 MAC = 2 FLOPs).
        macs_by_torch: the same by torch's counter.
        operators: macs by operator group (`linear`, `conv`, `attention`, `matmul`).
        other_ops: elementwise work of norms, pooling and resizing, as fvcore weighs it.
        not_counted: operators without a rule and how often each ran; all elementwise in the models that were tried.
        params: parameters that the unit uses and no earlier one does.
        weights: elements of such parameters and buffers by bytes per element (0: floating point, of the profile's
            dtype).
        activations: elements that it hands on.
    """

    macs: int
    macs_by_torch: int
    operators: dict[str, int] = field(default_factory=dict)
    other_ops: int = 0
    not_counted: dict[str, int] = field(default_factory=dict)
    params: int = 0
    weights: dict[int, int] = field(default_factory=dict)
    activations: int = 0

    @property
    def counters_agree(self) -> bool:
        """Whether both counters found the same multiply-accumulates."""
        return abs(self.macs - self.macs_by_torch) <= AGREEMENT * max(self.macs, self.macs_by_torch)

    def cost_fields(self, *, element_bytes: int, batch_size: int = 1) -> dict[str, Any]:
        """The counted fields of a profile's `Cost`, for counts made with one input.

        Args:
            element_bytes: bytes of one floating-point number in the profile's dtype.
            batch_size: inputs of one batch.
        """
        return {
            "macs": self.macs,
            "other_ops": self.other_ops,
            "operators": self.operators,
            "params": self.params,
            "weight_bytes": sum((size or element_bytes) * count for size, count in self.weights.items()),
            "activation_bytes": self.activations * element_bytes * batch_size,
        }


def count_model(module: nn.Module, *inputs: Tensor) -> Counts:
    """Count any whole module as it stands; neither it nor the inputs are changed or computed with.

    Args:
        module: any module whose forward takes the inputs and returns a tensor or a tuple of tensors.
        inputs: example inputs on any device; only their shapes matter.

    Raises:
        UnsupportedError: it cannot be traced, or holds an attention operator without a rule.
    """
    return _count(make_skeleton(module).eval(), _on_meta(inputs), set())[0]


def count_head(head: nn.Module, features: Tensor, *, side: Sequence[Tensor] = ()) -> Counts:
    """Count an exit head; every parameter and buffer it has is counted as its own, used or not.

    Args:
        head: called with the features.
        features: what it reads, of one input, on any device.
        side: the side inputs that it reads (`ExitHead.reads`, in that order), of one input.

    Raises:
        UnsupportedError: as in `count_model`.
    """
    counts = count_model(_WithSide(head) if side else head, features, *side)
    return Counts(
        **{
            **vars(counts),
            "params": sum(parameter.numel() for parameter in head.parameters()),
            "weights": _weights([*head.parameters(), *head.buffers()]),
        }
    )


def count_chain(
    segments: Sequence[nn.Module], final: nn.Module, x: Tensor
) -> tuple[list[Counts], Counts, list[Tensor]]:
    """Count a backbone segment by segment.

    Args:
        segments: each takes the state (a tuple of tensors) and hands on the next; the first takes `(x,)`.
        final: takes the last state and returns the outputs.
        x: one input [1, channels, height, width] on any device.

    Returns:
        Counts of each segment, of the final part, and the features at each placement on the meta device. A weight
        that several units use belongs to the first.

    Raises:
        UnsupportedError: as in `count_model`.
    """
    # Copied in one go: segments share the model's modules.
    units = make_skeleton(nn.ModuleList([*segments, final])).eval()
    claimed: set[int] = set()
    state = _on_meta((x,))
    counted, features = [], []
    # Structure to counts, the state handed on, and which of its weights a unit uses, by their position in it.
    known: dict[Hashable, tuple[Counts, tuple[Tensor, ...], list[int]]] = {}
    for unit in units[:-1]:
        key, weights = structure(unit, state), [id(weight) for weight in (*unit.parameters(), *unit.buffers())]
        used = [weights[position] for position in known[key][2]] if key in known else []
        if key in known and claimed.isdisjoint(used):
            # A block like one before it, with weights that are all its own: nothing new to see.
            counts, state, _ = known[key]
            claimed.update(used)
        else:
            before = set(claimed)
            counts, state = _count(_OnTensors(unit), state, claimed)
            own = claimed - before
            if claimed.isdisjoint(set(weights) - own):
                known[key] = counts, state, [weights.index(weight) for weight in own]
        counted.append(counts)
        features.append(state[0])
    return counted, _count(_OnTensors(units[-1]), state, claimed)[0], features


class _WithSide(nn.Module):
    """A head that takes side inputs by name, as a module that takes them in their order."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, *side: Tensor) -> Any:
        return self.head(features, **dict(zip(self.head.reads, side, strict=True)))  # type: ignore[arg-type]


class _OnTensors(nn.Module):
    """A unit that takes a state, as a module that takes tensors: tracing needs these."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, *state: Tensor) -> Any:
        return self.unit(state)


def _count(module: nn.Module, inputs: tuple[Tensor, ...], claimed: set[int]) -> tuple[Counts, tuple[Tensor, ...]]:
    """Count a module on the meta device; weights in `claimed` belong to earlier units, and its own join them."""
    by_torch, outputs, used = run_torch_counter(module, inputs)
    by_fvcore, not_counted = run_fvcore(module, inputs)
    operators: dict[str, int] = {}
    other_ops = 0
    for operator, count in by_fvcore.items():
        if operator in GROUPS:
            operators[GROUPS[operator]] = operators.get(GROUPS[operator], 0) + count
        else:
            other_ops += count
    own = {key: weight for key, weight in used.items() if key not in claimed}
    claimed.update(own)
    counts = Counts(
        macs=sum(operators.values()),
        macs_by_torch=by_torch,
        operators=operators,
        other_ops=other_ops,
        not_counted=not_counted,
        params=sum(weight.numel() for weight in own.values() if isinstance(weight, nn.Parameter)),
        weights=_weights(own.values()),
        activations=sum(tensor.numel() for tensor in outputs),
    )
    return counts, outputs


def _weights(tensors: Any) -> dict[int, int]:
    """Elements by bytes per element; 0 stands for floating point, whose size the profile's dtype decides."""
    found: dict[int, int] = {}
    for tensor in tensors:
        size = 0 if tensor.is_floating_point() else tensor.element_size()
        found[size] = found.get(size, 0) + tensor.numel()
    return found


def _on_meta(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, device="meta") for tensor in tensors)
