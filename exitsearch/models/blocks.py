"""Finding the blocks of a model by its structure: repeated modules that each hold a good part of the work.

    find_blocks(resnet50)    # {"layer1.0": None, "layer1.1": None, ..., "layer4.2": None}

No names of model families here. A block is a child of a list (`nn.Sequential`, `nn.ModuleList`), or one of several
children of one class, that holds at least two dense layers: less is a layer. A stage is a block with blocks inside;
the innermost count, as long as they hold most of the parameters around them.
"""

from __future__ import annotations

from collections import Counter

from torch import nn

# Path of each block to that of the block around it; None where there is none.
Blocks = dict[str, str | None]

# A block gives way to the blocks inside it when they hold this share of its parameters: LeViT's stages give way to
# their blocks, a bottleneck does not give way to its squeeze-excitation.
_MOST = 0.5


def find_blocks(model: nn.Module) -> Blocks:
    """Blocks of a model with the block around each, in the order of registration.

    A model that is one row of layers (VGG) has none; there every layer with weights, with the norm, activation and
    pooling that follow it, counts as a block, named by its last module.
    """
    found = _in_list(model, "", None) if _is_list(model) else _in_module(model, "", None, in_list=False)
    return found or _in_row_of_layers(model)


def ancestors(path: str) -> list[str]:
    """Paths of the modules around a module, the model itself (`""`) first.

    >>> ancestors("layers.2.blocks")
    ['', 'layers', 'layers.2']
    """
    parts = path.split(".")
    return ["", *(".".join(parts[:length]) for length in range(1, len(parts)))]


def _in_list(container: nn.Module, path: str, around: str | None) -> Blocks:
    """Blocks among the children of a list; none when they are layers."""
    found: Blocks = {}
    for name, child in container.named_children():
        if _dense_layers(child) < 2:
            continue
        where = _join(path, name)
        if _is_list(child):
            found.update(_in_list(child, where, _around(child, where, around)) or {where: around})
        else:
            found.update(_refined(child, where, around, in_list=True))
    return found


def _in_module(module: nn.Module, path: str, around: str | None, *, in_list: bool) -> Blocks:
    """Blocks inside a module with a forward of its own."""
    children = [(name, child) for name, child in module.named_children() if _dense_layers(child) >= 2]
    plain = [(name, child) for name, child in children if not _is_list(child)]
    classes = Counter(type(child) for _, child in plain)
    # Twins inside a block from a list are its layers (two attentions, two MLPs); elsewhere they are blocks, and so is
    # what stands between them (Inception's reductions).
    twins = [name for name, child in plain if classes[type(child)] > 1 and not in_list]
    order = [name for name, _ in children]
    found: Blocks = {}
    for name, child in children:
        where = _join(path, name)
        if _is_list(child):
            found.update(_in_list(child, where, _around(child, where, around)))
        elif twins and order.index(twins[0]) <= order.index(name) <= order.index(twins[-1]):
            found.update(_refined(child, where, around, in_list=False))
        else:
            found.update(_in_module(child, where, around, in_list=in_list))
    return found


def _refined(block: nn.Module, path: str, around: str | None, *, in_list: bool) -> Blocks:
    """The blocks inside a block where they hold most of it, else the block itself."""
    inner = _in_module(block, path, path, in_list=in_list)
    held = {
        id(parameter): parameter.numel()
        for name in inner
        for parameter in block.get_submodule(name.removeprefix(f"{path}.")).parameters()
    }
    if sum(held.values()) >= _MOST * sum(parameter.numel() for parameter in block.parameters()) and inner:
        return inner
    return {path: around}


def _in_row_of_layers(model: nn.Module) -> Blocks:
    """The last module of each run that starts with a layer with weights, in the list with most of such runs."""
    rows = [_runs(module, path) for path, module in model.named_modules() if isinstance(module, nn.Sequential)]
    longest: list[str] = max(rows, key=len, default=[])
    return dict.fromkeys(longest) if len(longest) > 1 else {}


def _runs(row: nn.Module, path: str) -> list[str]:
    """The last module of each run of one weighty layer and those without dense weights after it."""
    ends: list[str] = []
    for name, child in row.named_children():
        if _dense_layers(child):
            ends.append("")
        if ends:
            ends[-1] = _join(path, name)
    return ends


def _dense_layers(module: nn.Module) -> int:
    """How many layers inside have a weight matrix. Depthwise convolutions only go with the dense layer beside them."""
    count = 0
    for part in module.modules():
        depthwise = getattr(part, "groups", 1) != 1 and getattr(part, "groups", 1) == getattr(part, "in_channels", 0)
        count += sum(
            weight.ndim >= 2 and weight.shape[0] > 1 and name.endswith("weight") and not depthwise
            for name, weight in part.named_parameters(recurse=False)
        )
    return count


def _is_list(module: nn.Module) -> bool:
    """Whether a module is a list of others, with or without a forward that runs them."""
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def _around(container: nn.Module, path: str, around: str | None) -> str | None:
    """The block around the children of a list: the list itself where it has a forward of its own (DenseNet's)."""
    plain = (nn.Sequential.forward, nn.Module.forward)
    return around if type(container).forward in plain else path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
