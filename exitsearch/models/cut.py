"""Cutting a model after each of its blocks: segments that run in turn as the whole would, and facts of each placement.

A block makes a placement when an exit head can read what comes out of it, and when the blocks stand in a row: of
branches that run side by side (HRNet), and of blocks whose output no head can read, the block around them is taken
instead. Where a block hands on several tensors, the features are those with the most channels, of equals those with
the finest grid; where several maps of one grid go on from there (DenseNet), they are concatenated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models.blocks import Blocks, find_blocks
from exitsearch.models.layout import FeatureShape, TokenFacts, read_shape
from exitsearch.models.segments import CutPoint, State, carried_tensors, live_nodes, tensors_in, write_programs
from exitsearch.models.trace import TraceFailure, run_node, trace
from exitsearch.specs.placement import Placement

# Two batch sizes tell which numbers in a forward follow the batch. Both above 1, which models may treat apart.
_BATCHES = (2, 3)

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Cut:
    """A model cut after its blocks.

    Attributes:
        model: the model.
        name: of the model, for messages.
        input_size: (channels, height, width) of one input.
        placements: the placements with their facts.
        leaves: modules that are called and not traced.
        programs: a program for each segment, and last the final one, in eval mode.
        num_outputs: size of the second axis of the outputs; None when they are not one tensor [batch, outputs].
        coarse: placements that stand for blocks inside them, with the reason.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        input_size: tuple[int, int, int],
        placements: tuple[Placement, ...],
        leaves: tuple[str, ...],
        programs: tuple[fx.GraphModule, ...],
        num_outputs: int | None,
        coarse: dict[str, str],
    ) -> None:
        self.model = model
        self.name = name
        self.input_size = input_size
        self.placements = placements
        self.leaves = leaves
        self.programs = programs
        self.num_outputs = num_outputs
        self.coarse = coarse
        self._training_programs: tuple[fx.GraphModule, ...] | None = None

    def run(self, program: nn.Module, state: State) -> Any:
        """Run one of the programs in the mode that the model is in.

        A model's own forward may differ in training mode (dropout, second outputs), so it is traced again there, once.

        Raises:
            UnsupportedError: the model is in training mode, and cannot be traced there.
        """
        if self.model.training:
            if self._training_programs is None:
                self._training_programs = _training_programs(self.model, self)
            index = next(index for index, own in enumerate(self.programs) if own is program)
            program = self._training_programs[index]
        return program.forward(state)

    def forget_training(self) -> None:
        """Trace the model in training mode anew when it is next run there: for who changed its layers."""
        self._training_programs = None


def cut_model(
    model: nn.Module, *, input_size: tuple[int, int, int], name: str, modules: Sequence[str] | None = None
) -> Cut:
    """Cut a model, in eval mode, after each of its blocks.

    Args:
        model: on any device; it is not run. Its shapes are, on the meta device.
        input_size: (channels, height, width) of one input.
        name: of the model, for messages.
        modules: paths of the modules to cut after instead of the blocks.

    Raises:
        InputError: a named module does not exist.
        UnsupportedError: the model has no blocks, cannot be traced, or a named module cannot carry an exit head.
    """
    skeleton = make_skeleton(model).eval()
    blocks = find_blocks(skeleton) if modules is None else _named(skeleton, modules, name)
    coarse: dict[str, str] = {}
    while blocks:
        try:
            graph = trace(skeleton, _example(skeleton, _BATCHES[0], input_size), leaves=blocks)
        except TraceFailure as failure:
            where, why = (
                _failed_block(failure.module, blocks),
                f"its forward cannot be traced: {_first_line(failure.cause)}",
            )
            if where is None or modules is not None:
                raise _cannot_trace(name, failure) from failure
            blocks = _coarsened(blocks, {where: why}, coarse)
            continue
        values = run_graph(graph, skeleton, input_size)
        chosen, refused = _choose(graph, blocks, values, skeleton, input_size)
        if not refused:
            programs = write_programs(
                graph,
                [block.point for block in chosen],
                model=model,
                values=(values[0].nodes, values[1].nodes),
                batches=_BATCHES,
            )
            return Cut(
                model,
                name=name,
                input_size=input_size,
                placements=_describe(graph, chosen, values, input_size),
                leaves=tuple(blocks),
                programs=programs,
                num_outputs=_output_count(graph, values),
                coarse=coarse,
            )
        if modules is not None:
            module, why = next(iter(refused.items()))
            raise UnsupportedError(f"no exit head can stand after {module} of {name}: {why}; name another module")
        blocks = _coarsened(blocks, refused, coarse)
    why = (
        "; ".join(f"{module}: {reason}" for module, reason in list(coarse.items())[:2]) or "it has no repeated modules"
    )
    raise UnsupportedError(
        f"{name} has no blocks after which an exit head can stand ({why}); name the modules yourself with "
        "create_backbone(module, placements=[...], example_input=...)"
    )


def _training_programs(model: nn.Module, cut: Cut) -> tuple[fx.GraphModule, ...]:
    skeleton = make_skeleton(model).train()
    leaves: Blocks = dict.fromkeys(cut.leaves)
    try:
        graph = trace(skeleton, _example(skeleton, _BATCHES[0], cut.input_size), leaves=leaves)
    except TraceFailure as failure:
        raise _cannot_trace(f"{cut.name} in training mode", failure) from failure
    values = run_graph(graph, skeleton, cut.input_size)
    chosen, _ = _choose(graph, leaves, values, skeleton, cut.input_size)
    points = {block.module: block.point for block in chosen}
    return write_programs(
        graph,
        [points[placement.module] for placement in cut.placements],
        model=model,
        values=(values[0].nodes, values[1].nodes),
        batches=_BATCHES,
    )


def make_skeleton(model: ModuleT) -> ModuleT:
    """A copy of a model that has shapes only, made without copying any weight."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


@dataclass(frozen=True)
class GraphValues:
    """Every node's value for one batch size, and the operations counted up to each node."""

    nodes: dict[fx.Node, Any]
    flops: dict[fx.Node, int]


def run_graph(
    graph: fx.Graph, skeleton: nn.Module, input_size: tuple[int, int, int]
) -> tuple[GraphValues, GraphValues]:
    """The values of the trace, and those for a second batch size with the operations on the way."""
    first = {node: node.meta["example"] for node in graph.nodes if node.op != "output"}
    second: dict[fx.Node, Any] = {}
    flops: dict[fx.Node, int] = {}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for node in graph.nodes:
            if node.op == "placeholder":
                second[node] = _example(skeleton, _BATCHES[1], input_size)
            elif node.op != "output":
                second[node] = run_node(skeleton, node, second)
            flops[node] = counter.get_total_flops()
    return GraphValues(first, {}), GraphValues(second, flops)


@dataclass(frozen=True)
class _Chosen:
    """A block that makes a placement."""

    module: str
    point: CutPoint
    shape: FeatureShape


def _choose(
    graph: fx.Graph,
    blocks: Blocks,
    values: tuple[GraphValues, GraphValues],
    skeleton: nn.Module,
    input_size: tuple[int, int, int],
) -> tuple[list[_Chosen], dict[str, str]]:
    """Blocks that make placements, in execution order, and those that do not, with the reason."""
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.target in blocks:
            calls.setdefault(str(node.target), []).append(node)
    refused = {module: "it runs more than once" for module, nodes in calls.items() if len(nodes) > 1}
    # Blocks that never run (auxiliary classifiers of training) make no placement, and need no mention.
    row = [nodes[0] for nodes in calls.values() if len(nodes) == 1]
    for earlier, later in pairwise(row):
        if not _reaches(earlier, later):
            for node in (earlier, later):
                refused[str(node.target)] = "it is one of several branches side by side"
    tokens = TokenFacts.of(skeleton)
    small, large = values[0].nodes, values[1].nodes

    def shape_of(a: Tensor, b: Tensor) -> FeatureShape | None:
        return read_shape(a, b, batches=_BATCHES, image=input_size[1:], tokens=tokens)

    chosen = []
    for node in row:
        pairs = list(zip(tensors_in(small[node]), tensors_in(large[node]), strict=True))
        readable = [(tensor, shape) for tensor, other in pairs if (shape := shape_of(tensor, other)) is not None]
        if not readable:
            found = ", ".join("x".join(map(str, tensor.shape[1:])) for tensor, _ in pairs) or "nothing"
            refused.setdefault(str(node.target), f"its output is neither tokens nor a map, found {found}")
            continue
        tensor, shape = max(readable, key=lambda found: (found[1].channels, found[1].grid))
        together: tuple[Tensor, ...] = (tensor,)
        if shape.layout == "nchw":
            # In execution order, as the model itself would concatenate them.
            alive = [
                a
                for other in live_nodes(graph, node)
                for a, b in zip(tensors_in(small[other]), tensors_in(large[other]), strict=True)
                if (same := shape_of(a, b)) and (same.layout, same.grid) == (shape.layout, shape.grid)
            ]
            together = tuple({id(part): part for part in [*alive, tensor]}.values())
            shape = FeatureShape(shape.layout, sum(part.shape[1] for part in together), shape.grid)
        chosen.append(_Chosen(str(node.target), CutPoint(node, together), shape))
    return chosen, refused


def _reaches(earlier: fx.Node, later: fx.Node) -> bool:
    """Whether a node's value goes, however changed, into another's."""
    seen, waiting = {earlier}, [earlier]
    while waiting:
        for user in waiting.pop().users:
            if user is later:
                return True
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return False


def _describe(
    graph: fx.Graph,
    chosen: list[_Chosen],
    values: tuple[GraphValues, GraphValues],
    input_size: tuple[int, int, int],
) -> tuple[Placement, ...]:
    flops = values[1].flops
    total = max(flops.values()) or 1
    return tuple(
        Placement(
            index=index,
            module=block.module,
            layout=block.shape.layout,
            channels=block.shape.channels,
            grid=block.shape.grid,
            prefix_tokens=block.shape.prefix_tokens,
            class_token=block.shape.class_token,
            reduction=input_size[1] / max(block.shape.grid[0], 1),
            depth=index + 1,
            macs_share=flops[block.point.node] / total,
            carried=[list(tensor.shape[1:]) for tensor in carried_tensors(graph, block.point, values[0].nodes)],
        )
        for index, block in enumerate(chosen)
    )


def _output_count(graph: fx.Graph, values: tuple[GraphValues, GraphValues]) -> int | None:
    returned = list(graph.nodes)[-1].args[0]
    outputs = values[0].nodes[returned] if isinstance(returned, fx.Node) else None
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[0] == _BATCHES[0]:
        return outputs.shape[1]
    return None


def _named(skeleton: nn.Module, modules: Sequence[str], name: str) -> Blocks:
    known = dict(skeleton.named_modules())
    for module in modules:
        if module not in known or not module:
            close = [path for path in known if path.endswith(module.rpartition(".")[2]) and path][:3]
            hint = f"; there are {', '.join(close)}" if close else "; print(module) shows its modules"
            raise InputError(
                f"placements are modules of {name} by name, and it has no {module!r}{hint}; "
                "name modules that it has, as named_modules() lists them"
            )
    return dict.fromkeys(modules)


def _coarsened(blocks: Blocks, refused: dict[str, str], coarse: dict[str, str]) -> Blocks:
    """Put the block around each refused one in its place, or drop it where there is none; notes why in `coarse`."""
    around: Blocks = {}
    for module, why in refused.items():
        outer = blocks[module]
        coarse[outer or module] = why if outer is None else f"inside, at {module}: {why}"
        if outer is not None:
            around[outer] = None
    kept: Blocks = {}
    for module, outer in blocks.items():
        inside = next((path for path in around if module.startswith(f"{path}.")), None)
        if inside is not None:
            kept[inside] = None
        elif module not in refused:
            kept[module] = outer
    return kept


def _failed_block(module: str, blocks: Blocks) -> str | None:
    """A block whose outer block holds the forward that could not be traced."""
    return next((path for path, outer in blocks.items() if outer and f"{module}.".startswith(f"{outer}.")), None)


def _cannot_trace(name: str, failure: TraceFailure) -> UnsupportedError:
    where = f"the forward of {failure.module}" if failure.module else "its forward"
    return UnsupportedError(
        f"{name} cannot be cut: {where} cannot be traced ({_first_line(failure.cause)}); put what depends on the "
        "values of a tensor into a module of its own, which is called and not traced, or name placements further out"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _example(skeleton: nn.Module, batch: int, input_size: tuple[int, int, int]) -> Tensor:
    parameter = next((p for p in skeleton.parameters() if p.is_floating_point()), None)
    return torch.empty((batch, *input_size), device="meta", dtype=parameter.dtype if parameter is not None else None)
