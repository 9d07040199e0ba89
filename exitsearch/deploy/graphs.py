"""From a unit to an ONNX graph with a batch of any size, and what is changed in it before it is written."""

from __future__ import annotations

from typing import Any

import torch

from exitsearch.deploy.units import GraphUnit
from exitsearch.errors import ExitSearchError, UnavailableError
from exitsearch.measure.runtimes.onnx_export import onnx_program

# Of ONNX's operators: what torch's exporter writes without a conversion, and ONNX Runtime knows from 1.18 on.
OPSET = 20

# Operators that ONNX Runtime computes on its blocked layout of maps, once their input is in it
# (onnxruntime/core/optimizer/nchwc_transformer.cc).
_BLOCKED = {
    "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Mul", "Relu", "LeakyRelu", "Clip", "Sigmoid",
    "HardSigmoid", "Tanh", "Gelu", "BatchNormalization",
}  # fmt: skip
# Channels of one block, on processors with the widest one.
_BLOCK = 16


def graph_of(unit: GraphUnit) -> Any:
    """The graph (`onnx_ir.Model`) of a unit, its weights inside.

    Raises:
        ExitSearchError: torch cannot export it, or only for one batch size.
        UnavailableError: a package is missing.
    """
    check_packages()
    program = onnx_program(
        unit.module,
        unit.example,
        what=unit.name,
        remedy="choose exits at other placements or with other heads",
        input_names=list(unit.inputs),
        output_names=list(unit.outputs),
        dynamic_shapes=(unit.axes,),
        opset_version=OPSET,
    )
    model = program.model
    _check_batch(unit, model.graph)
    _drop_unread(model.graph)
    _keep_blocked(model.graph)
    # torch's traces of where each node comes from: paths of this machine, and several times the size of the graph.
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.producer_name, model.producer_version = "exitsearch", None
    return model


def check_packages() -> None:
    """Whether what the export needs is installed.

    Raises:
        UnavailableError: it is not.
    """
    try:
        import onnx_ir
        import onnxscript
    except ImportError as error:
        raise UnavailableError(
            f"exitsearch export needs packages that are not installed here ({error}); install them with pip install "
            "'exitsearch[onnx]'"
        ) from None
    assert onnx_ir
    assert onnxscript


def _check_batch(unit: GraphUnit, graph: Any) -> None:
    """torch fixes a length silently where a model's own code asks for it as a number."""
    for value, axes in zip(graph.inputs, unit.axes, strict=True):
        for axis in axes:
            if isinstance(value.shape[axis], int):
                raise ExitSearchError(
                    f"torch exports {unit.name} for batches of {unit.example[0].shape[0]} alone: its forward asks for "
                    "the batch size as a number; choose exits at other placements or with other heads"
                )


def _drop_unread(graph: Any) -> None:
    """Take out inputs that nothing reads, as the concatenated features of a DenseNet that only a head needs."""
    for value in list(graph.inputs):
        if not value.uses() and value not in graph.outputs and len(graph.inputs) > 1:
            graph.inputs.remove(value)


def _keep_blocked(graph: Any) -> None:
    """Put a pool of one pixel behind every map that a residual sum reads.

    ONNX Runtime keeps maps in blocks of channels from convolution to convolution. A map that comes from outside is
    not in blocks, and a sum of it and a convolution's result is then computed on plain maps, with conversions on both
    sides, block for block of the network. A pool gives the map in blocks, once. resnet50 with three exits, one thread,
    over its plain backbone as one graph: 1.05 times the processor time without pools, 1.03 times with them.
    """
    import onnx_ir

    for value in list(graph.inputs):
        shape = value.shape
        if shape is None or len(shape) != 4 or not isinstance(shape[1], int) or shape[1] % _BLOCK:
            continue
        if not any(_is_residual_sum(node, value) for node, _ in value.uses()):
            continue
        readers = list(value.uses())
        pooled = onnx_ir.Value(name=f"{value.name}_in_blocks", type=value.type, shape=value.shape)
        pool = onnx_ir.Node(
            "",
            "MaxPool",
            [value],
            [onnx_ir.AttrInt64s("kernel_shape", [1, 1])],
            outputs=[pooled],
            name=f"{value.name}_pool",
        )
        for node, index in readers:
            node.replace_input_with(index, pooled)
        graph.insert_before(graph[0], pool)


def _is_residual_sum(node: Any, value: Any) -> bool:
    """Whether a node adds a value to what a convolution made of maps in blocks."""
    if node.op_type != "Add":
        return False
    others = [other for other in node.inputs if other is not value]
    return len(others) == 1 and _is_blocked(others[0])


def _is_blocked(value: Any, depth: int = 0) -> bool:
    """Whether a value comes out of a convolution, through operators on blocks alone."""
    node = value.producer()
    if node is None or node.op_type not in _BLOCKED or depth > 50:
        return False
    return node.op_type == "Conv" or any(_is_blocked(source, depth + 1) for source in node.inputs if source is not None)


def constant_bytes(model: Any) -> int:
    """Bytes of a graph's weights."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def torch_outputs(unit: GraphUnit, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What a unit gives in torch."""
    with torch.inference_mode():
        found: tuple[torch.Tensor, ...] = unit.module(*state)
    return found
