"""Tracing a model's forward around its blocks, with an example beside every value.

torch.fx records what a forward does to symbols, and stops where Python must decide something: an `if` on a shape, a
loop over a tuple. Here every symbol carries the value that it has for an example input, computed as the trace goes, on
the meta device, where only shapes exist. So every decision can be made, as the example makes it, while sizes that the
model computes stay symbols: the batch size remains free.

Only the modules around blocks are traced. The blocks themselves and everything beside them are called as they are, so
dropout, drop path, batch norm, checkpointing and hooks work as in the model.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from exitsearch.errors import UnsupportedError
from exitsearch.models.blocks import ancestors

# Functions without effect whose unused results can go: asserts on shapes, and what only fed them.
_PURE = frozenset({getattr, torch._assert} | {getattr(operator, name) for name in operator.__all__ if name[0] != "i"})


class TraceFailure(Exception):
    """A forward that cannot be traced; `module` is the path of the innermost module that was being traced."""

    def __init__(self, module: str, cause: BaseException) -> None:
        self.module = module
        self.cause = cause
        super().__init__(str(cause))


def trace(skeleton: nn.Module, example: Tensor, *, leaves: Collection[str]) -> fx.Graph:
    """Record a forward as a graph of calls of leaf modules and of what happens between them.

    Args:
        skeleton: the model on the meta device.
        example: an input on the meta device, of a batch size greater than 1.
        leaves: paths of modules to call as they are. Of the others those are traced that have a leaf inside.

    Returns:
        The graph; `node.meta["example"]` is each node's value for the example.

    Raises:
        TraceFailure: Python needs a value that no shape tells.
    """
    containers = {container for leaf in leaves for container in ancestors(leaf)}
    tracer = _ExampleTracer(containers, example)
    try:
        with torch.no_grad():
            graph = tracer.trace(skeleton)
    except Exception as error:
        raise TraceFailure(tracer.current, error) from error
    for node in reversed(graph.nodes):
        if not node.users and node.op == "call_function" and node.target in _PURE:
            graph.erase_node(node)
    return graph


def fetch(root: nn.Module, path: str) -> Any:
    """An attribute of a module by its dotted path."""
    value: Any = root
    for name in path.split("."):
        value = getattr(value, name)
    return value


def run_node(root: nn.Module, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """Compute one node (no placeholder or output) from the values of the nodes before it."""
    args, kwargs = _filled_in(node.args, values), _filled_in(node.kwargs, values)
    assert isinstance(node.target, str) or callable(node.target)
    match node.op:
        case "get_attr":
            return fetch(root, str(node.target))
        case "call_module":
            return root.get_submodule(str(node.target))(*args, **kwargs)
        case "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _filled_in(argument: Any, values: dict[fx.Node, Any]) -> Any:
    """An argument with values in place of nodes, in lists of its own: some modules change the list they are given."""
    if isinstance(argument, fx.Node):
        return _filled_in(values[argument], {})
    if isinstance(argument, list):
        return [_filled_in(part, values) for part in argument]
    if type(argument) is tuple:
        return tuple(_filled_in(part, values) for part in argument)
    if isinstance(argument, dict):
        return {key: _filled_in(part, values) for key, part in argument.items()}
    if isinstance(argument, slice):
        return slice(*(_filled_in(part, values) for part in (argument.start, argument.stop, argument.step)))
    return argument


class _ExampleTracer(fx.Tracer):
    """Traces containers, calls everything else, and computes every node's example value."""

    # Buffers of containers are looked up in the model at run time, like its parameters: they may move or change.
    proxy_buffer_attributes = True

    def __init__(self, containers: Collection[str], example: Tensor) -> None:
        super().__init__()
        self.containers = containers
        self.example = example
        self.values: dict[fx.Node, Any] = {}
        self.current = ""
        self._computing = False

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        # The input alone; every further argument of the forward keeps its default.
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.containers

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._computing:
            return forward(*args, **kwargs)
        outside, path = self.current, self.path_of_module(m)
        if not self.is_leaf_module(m, path):
            self.current = path
        result = super().call_module(m, forward, args, kwargs)
        self.current = outside  # on an error it stays, and says where
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._computing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_arg(self, a: Any) -> Any:
        if issubclass(type(a), fx.Proxy):
            return a.node
        if isinstance(a, Tensor):
            known = any(a is tensor for tensor in (*self.root.parameters(), *self.root.buffers()))
            if not known and a not in self.tensor_attrs:
                raise UnsupportedError(
                    "a tensor made without the input cannot be recorded; put what makes it into a module of its own"
                )
        return super().create_arg(a)

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        if kind != "output":
            self._computing = True
            try:
                value = self.example if kind == "placeholder" else run_node(self.root, node, self.values)
            finally:
                self._computing = False
            self.values[node] = node.meta["example"] = value
        return node

    def proxy(self, node: fx.Node) -> Any:
        # `is None` cannot be answered by a symbol, so None stays None.
        return None if self.values[node] is None else _ExampleProxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.values[obj.node])

    def keys(self, obj: fx.Proxy) -> Any:
        return self.values[obj.node].keys()


class _ExampleProxy(fx.Proxy):
    """A symbol that answers Python's questions as its example value would."""

    tracer: _ExampleTracer
    _is_param = False  # how isinstance(..., nn.Parameter) asks

    @property
    def _value(self) -> Any:
        return self.tracer.values[self.node]

    # What isinstance looks at: code that asks whether it holds a tensor or a tuple gets the example's answer.
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._value)

    def __getattr__(self, name: str) -> Any:
        return None if getattr(self._value, name) is None else _ExampleAttribute(self, name)

    def __getitem__(self, key: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, key), {})

    def __iter__(self) -> Iterator[Any]:
        value = self._value
        return iter(value) if isinstance(value, dict) else iter([self[index] for index in range(len(value))])

    def __len__(self) -> int:
        return len(self._value)

    def __contains__(self, item: Any) -> bool:
        return item in self._value

    def __index__(self) -> int:
        return operator.index(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __float__(self) -> float:
        return float(self._value)

    def __hash__(self) -> int:
        return id(self)


class _ExampleAttribute(_ExampleProxy):
    """`symbol.name`: a node once it is used as a value, a method call when it is called."""

    def __init__(self, root: fx.Proxy, name: str) -> None:
        self.__dict__.update(root=root, name=name, tracer=root.tracer)

    def __getattr__(self, name: str) -> Any:
        if name != "node":
            return super().__getattr__(name)
        # Asked for the first time: `node` is an attribute that other symbols have from the start.
        of = (self.__dict__["root"], self.__dict__["name"])
        self.__dict__["node"] = self.tracer.create_proxy("call_function", getattr, of, {}).node
        return self.__dict__["node"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.__dict__["name"], (self.__dict__["root"], *args), kwargs)
