"""Programs from a traced forward: the graph cut at given nodes, with what is still needed carried in the state.

What is computed before a cut and needed after it travels in the state, the features first: skip connections, relative
positions, a second branch. Numbers travel as numbers: what does not change with the batch size is a constant, what
grows with it is computed from the features. A program shares its modules and weights with the model.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from exitsearch.errors import UnsupportedError
from exitsearch.models.trace import fetch

State = tuple[Tensor, ...]
Values = Mapping[fx.Node, Any]


@dataclass(frozen=True)
class CutPoint:
    """Where a graph is cut, and what the features there are.

    Attributes:
        node: the last node before the cut.
        features: example values (of the first batch) of the tensors that make up the features: one, or several maps
            of one grid that are concatenated on their channels.
    """

    node: fx.Node
    features: tuple[Tensor, ...]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def live_nodes(graph: fx.Graph, after: fx.Node) -> list[fx.Node]:
    """Nodes up to and including `after` whose values later nodes use; weights, which need no carrying, left out."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    cut = order[after]
    return [
        node
        for node in graph.nodes
        if order[node] <= cut and node.op != "get_attr" and any(order[user] > cut for user in node.users)
    ]


def carried_tensors(graph: fx.Graph, point: CutPoint, values: Values) -> list[Tensor]:
    """Example values of the state at a cut, after the features."""
    single = point.features[0] if len(point.features) == 1 else None
    found: dict[int, Tensor] = {}
    for node in live_nodes(graph, point.node):
        for tensor in tensors_in(values[node]):
            if tensor is not single:
                found[id(tensor)] = tensor
    return list(found.values())


def write_programs(
    graph: fx.Graph,
    points: Sequence[CutPoint],
    *,
    model: nn.Module,
    values: tuple[Values, Values],
    batches: tuple[int, int],
) -> tuple[fx.GraphModule, ...]:
    """One program for each cut, from the state before to the state there, and one from the last to the outputs.

    Args:
        graph: the traced forward.
        points: the cuts, in the graph's order.
        model: whose modules and weights the programs use.
        values: value of each node for an example of each batch size.
        batches: the two batch sizes.

    Raises:
        UnsupportedError: a value is needed across a cut that is neither a tensor nor a number.
    """
    nodes = list(graph.nodes)
    programs: list[fx.GraphModule] = []
    incoming = [values[0][nodes[0]]]  # the state before the first segment is the input
    start = 1
    for point in [*points, None]:
        stop = len(nodes) - 1 if point is None else nodes.index(point.node) + 1
        part = _Part(incoming, values, batches)
        part.copy(nodes[start:stop])
        if point is None:
            part.graph.output(part.resolve(nodes[-1].args[0]))
        else:
            carried = carried_tensors(graph, point, values[0])
            live = [*live_nodes(graph, point.node), point.node]
            features = [part.emit(tensor, live) for tensor in point.features]
            first = features[0] if len(features) == 1 else part.graph.call_function(torch.cat, (features, 1))
            part.graph.output((first, *(part.emit(tensor, live) for tensor in carried)))
            joined = point.features[0] if len(features) == 1 else None
            incoming = [joined, *carried]
            start = stop
        programs.append(_bound(part.graph, model))
    return tuple(programs)


class _Part:
    """The graph of one segment while it is written."""

    def __init__(self, incoming: Sequence[Any], values: tuple[Values, Values], batches: tuple[int, int]) -> None:
        self.graph = fx.Graph()
        self.values = values
        self.batches = batches
        self.state = self.graph.placeholder("state")
        # The order of the state, and the node of each of its tensors once it was taken out.
        self.order = {id(tensor): index for index, tensor in enumerate(incoming) if tensor is not None}
        self.taken: dict[int, fx.Node] = {}
        self.known: dict[fx.Node, Any] = {}

    def copy(self, nodes: Sequence[fx.Node]) -> None:
        """Add nodes of the traced graph."""
        for node in nodes:
            args, kwargs = self.resolve((node.args, dict(node.kwargs)))
            if node.target is operator.getitem and isinstance(args[0], tuple | list | dict):
                self.known[node] = args[0][args[1]]  # out of a structure that was put together again
            else:
                self.known[node] = self.graph.create_node(node.op, node.target, args, kwargs, node.name)

    def resolve(self, argument: Any) -> Any:
        """An argument of the traced graph in terms of this one."""
        return fx.map_arg(argument, self.lookup)

    def lookup(self, node: fx.Node) -> Any:
        """A value of the traced graph: computed here, a weight, or put together again from the state."""
        if node not in self.known:
            if node.op == "get_attr":
                self.known[node] = self.graph.get_attr(str(node.target))
            else:
                self.known[node] = self._rebuilt(self.values[0][node], self.values[1][node])
        return self.known[node]

    def emit(self, tensor: Tensor, live: Sequence[fx.Node]) -> Any:
        """The node of a tensor that lives across the cut, by its example value."""
        for node in live:
            path = _path_to(tensor, self.values[0][node])
            if path is not None:
                value = self.lookup(node)
                for key in path:
                    structure = isinstance(value, tuple | list | dict)
                    value = value[key] if structure else self.graph.call_function(operator.getitem, (value, key))
                return value
        raise AssertionError("a carried tensor belongs to no live node")

    def _rebuilt(self, small: Any, large: Any) -> Any:
        if isinstance(small, Tensor):
            return self._from_state(self.order[id(small)])
        if isinstance(small, tuple | list):
            parts = [self._rebuilt(a, b) for a, b in zip(small, large, strict=True)]
            return parts if isinstance(small, list) else tuple(parts)
        if isinstance(small, dict):
            return {key: self._rebuilt(small[key], large[key]) for key in small}
        if isinstance(small, int) and not isinstance(small, bool) and small != large:
            each, rest = divmod(small, self.batches[0])
            if rest == 0 and large == each * self.batches[1]:
                batch = self.graph.call_method("size", (self._from_state(0), 0))
                return batch if each == 1 else self.graph.call_function(operator.mul, (batch, each))
        if isinstance(small, torch.device):
            return self.graph.call_function(getattr, (self._from_state(0), "device"))
        if small is None or (isinstance(small, bool | int | float | str | torch.dtype) and small == large):
            return small
        raise UnsupportedError(
            f"only tensors and numbers can be carried from block to block, found {type(small).__name__} ({small}); "
            "put what makes it into a module of its own, or name placements further out"
        )

    def _from_state(self, index: int) -> fx.Node:
        if index not in self.taken:
            self.taken[index] = self.graph.call_function(operator.getitem, (self.state, index))
        return self.taken[index]


def _path_to(tensor: Tensor, value: Any) -> tuple[Any, ...] | None:
    """Keys that lead to a tensor (the very same) in nested structures; None when it is not there."""
    if value is tensor:
        return ()
    items: Any = ()
    if isinstance(value, tuple | list):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    for key, part in items:
        rest = _path_to(tensor, part)
        if rest is not None:
            return (key, *rest)
    return None


def _bound(graph: fx.Graph, model: nn.Module) -> fx.GraphModule:
    """The graph as a module that holds what it uses of the model, under flat names."""
    used: dict[str, Any] = {}
    buffers = dict(model.named_buffers())
    for node in graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        path = str(node.target)
        node.target = path.replace(".", "_")
        if path in buffers:
            node.op, node.args = "call_module", ()
            used[node.target] = _Buffer(model, path)
        else:
            used[node.target] = fetch(model, path)
    return fx.GraphModule(used, graph, class_name="Program")


class _Owner:
    """Keeps a module out of torch's registration: its weights belong to the segments that use them."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module


class _Buffer(nn.Module):
    """A buffer of the model, fetched anew each time: moving the model to a device replaces its buffers."""

    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__()
        owner, _, self.name = path.rpartition(".")
        self.owner = _Owner(model.get_submodule(owner))

    def forward(self) -> Tensor:
        buffer: Tensor = getattr(self.owner.module, self.name)
        return buffer
