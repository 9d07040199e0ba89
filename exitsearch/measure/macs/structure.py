"""Structure of a module: what decides its operations, without its weights' values.

Two blocks of a transformer, or one head type at two placements, do the same work with other numbers. What only looks at
the work (counting, exporting in order to time) is done once for each structure.

    >>> from torch import nn
    >>> structure(nn.Linear(4, 2)) == structure(nn.Linear(4, 2))
    True
    >>> structure(nn.Linear(4, 2)) == structure(nn.Linear(4, 2, bias=False))
    False
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, fx, nn

from exitsearch.specs.placement import Placement

# What torch keeps in every module's `__dict__` for itself; the parts of it that matter are described by name below.
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"training"}
_PLAIN = (str, int, float, complex, bool, bytes, type(None), torch.dtype, torch.device, torch.layout)


# Of a placement: where it stands, and what passes beside it.
_PLACE = {"index", "module", "depth", "macs_share", "carried"}


class _Itself:
    """Equal to nothing but the same object, which it keeps alive: for values that cannot be described."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def structure(*values: Any) -> Hashable:
    """A key that is equal for modules (tensors, and plain values) of equal structure.

    Classes, plain attributes, code of functions, and shapes and dtypes of tensors are part of it. Weights' values are
    not, and neither is where a placement stands: its `index`, `module`, `depth`, `macs_share` and `carried` are left
    out, so a head whose forward computes differently by these is taken for the same; one that is built differently is
    not. An attribute of a kind that cannot be described makes the key unique.
    """
    return tuple(_describe(value, {}) for value in values)


def _describe(value: Any, seen: dict[int, int]) -> Hashable:
    """One value; `seen` numbers the modules and tensors met so far, so that sharing is part of the structure."""
    if isinstance(value, _PLAIN):
        # 1, 1.0 and True are equal in Python and different here.
        return (type(value), value)
    if isinstance(value, nn.Module | Tensor):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
        if isinstance(value, Tensor):
            return (type(value), tuple(value.shape), value.dtype, value.layout, value.device.type)
        return _describe_module(value, seen)
    if isinstance(value, Placement):
        return ("placement", _describe(value.model_dump(exclude=_PLACE), seen))
    if isinstance(value, dict):
        return (type(value), tuple((_describe(k, seen), _describe(v, seen)) for k, v in value.items()))
    if isinstance(value, tuple | list):
        return (type(value), tuple(_describe(item, seen) for item in value))
    if isinstance(value, set | frozenset) and all(isinstance(item, _PLAIN) for item in value):
        return (type(value), frozenset(value))
    if isinstance(value, types.FunctionType):
        closed_over = inspect.getclosurevars(value).nonlocals
        return ("function", value.__module__, value.__code__, _describe([value.__defaults__, closed_over], seen))
    if isinstance(value, types.MethodType):
        return ("method", value.__func__, _describe(value.__self__, seen))
    if isinstance(value, functools.partial):
        return ("partial", _describe([value.func, value.args, value.keywords], seen))
    if isinstance(value, type | types.BuiltinFunctionType):
        return ("name", value)
    return _Itself(value)


def _describe_module(module: nn.Module, seen: dict[int, int]) -> Hashable:
    if isinstance(module, fx.GraphModule):
        return _describe_graph(module, seen)
    attributes = {key: value for key, value in vars(module).items() if key not in _BOOKKEEPING}
    parts = (module._parameters, module._buffers, module._modules, attributes)
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return (type(module), *(_describe(dict(part), seen) for part in (*parts, *hooks)))


def _describe_graph(module: fx.GraphModule, seen: dict[int, int]) -> Hashable:
    """A graph by its nodes in order; the names of nodes and of submodules (`blocks.3.attn`) are no part of it."""
    number = {node: index for index, node in enumerate(module.graph.nodes)}

    def argument(value: Any) -> Hashable:
        if isinstance(value, fx.Node):
            return ("node", number[value])
        if isinstance(value, tuple | list):
            return (type(value), tuple(argument(item) for item in value))
        if isinstance(value, dict):
            return (type(value), tuple((key, argument(item)) for key, item in value.items()))
        if isinstance(value, slice):
            return ("slice", argument(value.start), argument(value.stop), argument(value.step))
        return _describe(value, seen)

    nodes = []
    for node in module.graph.nodes:
        target: Hashable = node.target
        if node.op in ("call_module", "get_attr"):
            found: Any = module
            for name in str(node.target).split("."):
                found = getattr(found, name)
            target = _describe(found, seen)
        elif node.op == "placeholder":
            target = None
        nodes.append((node.op, target, argument(node.args), argument(node.kwargs)))
    return (fx.GraphModule, module.training, tuple(nodes))
