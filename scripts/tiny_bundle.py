"""Write a small bundle made by hand, for tests and for the scripts that load and ask bundles: no torch, no training.

Segment k multiplies what the one before gave by a matrix and keeps what is above 0; a head is one matrix. Weights lie
in `weights.safetensors`, at whose byte ranges the graphs point. Beside its features every segment hands on a second
state that has no batch axis, as position tables do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Floats = NDArray[np.float32]

MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
OPSET, IR_VERSION = 18, 10


@dataclass
class _Weights:
    """Tensors on their way into one file."""

    arrays: dict[str, Floats] = field(default_factory=dict)

    def add(self, name: str, array: Floats) -> str:
        self.arrays[name] = array
        return name

    def offsets(self) -> dict[str, tuple[int, int]]:
        """First and last byte of each, from the end of the header on."""
        found, at = {}, 0
        for name, array in self.arrays.items():
            found[name] = (at, at + array.nbytes)
            at += array.nbytes
        return found

    def header(self) -> bytes:
        entries = {
            name: {"dtype": "F32", "shape": list(self.arrays[name].shape), "data_offsets": list(offsets)}
            for name, offsets in self.offsets().items()
        }
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def external(self, name: str) -> TensorProto:
        """A tensor of a graph that points at its bytes in the file."""
        start, end = (offset + len(self.header()) for offset in self.offsets()[name])
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        tensor.dims.extend(self.arrays[name].shape)
        for key, value in (("location", WEIGHTS), ("offset", str(start)), ("length", str(end - start))):
            tensor.external_data.add(key=key, value=value)
        return tensor

    def write(self, path: Path) -> None:
        path.write_bytes(self.header() + b"".join(array.tobytes() for array in self.arrays.values()))


@dataclass(frozen=True)
class TinyBundle:
    """What was written, and what it has to answer.

    Attributes:
        path: the folder.
        weights: name to array, as `segment_0`, `head_0`, `final`.
        steps: how often a segment multiplies by its matrix.
    """

    path: Path
    weights: dict[str, Floats]
    steps: int

    def outputs(self, x: Floats, exit_: int) -> Floats:
        """The outputs [batch, classes] of an exit, by numpy."""
        state = x.reshape(len(x), -1) @ self.weights["into"]
        exits = sum(name.startswith("head_") for name in self.weights)
        for position in range(min(exit_ + 1, exits)):
            for _ in range(self.steps):
                state = np.maximum(state @ self.weights[f"segment_{position}"], 0)
        name = "final" if exit_ == exits else f"head_{exit_}"
        return np.asarray(state @ self.weights[name], dtype=np.float32)


def write_tiny_bundle(
    folder: Path | str,
    *,
    exits: int = 2,
    size: tuple[int, int, int] = (3, 8, 8),
    width: int = 16,
    steps: int = 1,
    classes: int = 4,
    seed: int = 0,
    **changed: Any,
) -> TinyBundle:
    """Write a bundle into a folder that is made where it does not stand.

    Args:
        folder: where to.
        exits: chosen exits, beside the final one.
        size: (channels, height, width) of the input.
        width: of the features.
        steps: how often a segment multiplies by its matrix.
        classes: outputs.
        seed: of the weights.
        changed: keys of the manifest that are put in place of those made here.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> Floats:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]), dtype=np.float32)

    weights = _Weights()
    weights.add("into", matrix(int(np.prod(size)), width))
    for position in range(exits):
        weights.add(f"segment_{position}", matrix(width, width))
        weights.add(f"head_{position}", matrix(width, classes))
    weights.add("final", matrix(width, classes))
    weights.write(path / WEIGHTS)
    for position in range(exits):
        _save(path / f"segment_{position}.onnx", _segment(position, weights, size=size, steps=steps, width=width))
        _save(path / f"head_{position}.onnx", _head(f"features_{position}", f"head_{position}", weights, width))
    last = _head(f"features_{exits - 1}", "final", weights, width) if exits else _whole(weights, size)
    _save(path / "final.onnx", last)
    document = _manifest(exits, size, classes) | changed
    write_manifest(path, document)
    return TinyBundle(path, weights.arrays, steps)


def write_manifest(path: Path, document: dict[str, Any], *, files: bool = True) -> None:
    """Write `bundle.json`, with what every file is now."""
    if files:
        document["files"] = {
            file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
            for file in sorted(path.iterdir())
            if file.name != MANIFEST
        }
    (path / MANIFEST).write_text(json.dumps(document, indent=1))


def _segment(position: int, weights: _Weights, *, size: tuple[int, int, int], steps: int, width: int) -> Any:
    nodes, used = [], [f"segment_{position}"]
    if position == 0:
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "into"], ["at_0"]),
            helper.make_node("Constant", [], ["table_0"], value_floats=[1.0, 2.0, 3.0]),
        ]
        used.append("into")
        takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *size])]
    else:
        nodes = [
            helper.make_node("Identity", [f"features_{position - 1}"], ["at_0"]),
            helper.make_node("Identity", [f"table_{position - 1}"], [f"table_{position}"]),
        ]
        takes = [
            helper.make_tensor_value_info(f"features_{position - 1}", TensorProto.FLOAT, ["batch", width]),
            helper.make_tensor_value_info(f"table_{position - 1}", TensorProto.FLOAT, [3]),
        ]
    for step in range(steps):
        name = f"features_{position}" if step == steps - 1 else f"at_{step + 1}"
        nodes.append(helper.make_node("MatMul", [f"at_{step}", f"segment_{position}"], [f"product_{step}"]))
        nodes.append(helper.make_node("Relu", [f"product_{step}"], [name]))
    gives = [
        helper.make_tensor_value_info(f"features_{position}", TensorProto.FLOAT, ["batch", width]),
        helper.make_tensor_value_info(f"table_{position}", TensorProto.FLOAT, [3]),
    ]
    return helper.make_graph(nodes, "segment", takes, gives, [weights.external(name) for name in used])


def _head(takes: str, name: str, weights: _Weights, width: int) -> Any:
    return helper.make_graph(
        [helper.make_node("MatMul", [takes, name], ["outputs"])],
        "head",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", weights.arrays[name].shape[1]])],
        [weights.external(name)],
    )


def _whole(weights: _Weights, size: tuple[int, int, int]) -> Any:
    """The final part of a bundle without exits."""
    return helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "into"], ["features"]),
            helper.make_node("MatMul", ["features", "final"], ["outputs"]),
        ],
        "whole",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *size])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", weights.arrays["final"].shape[1]])],
        [weights.external(name) for name in ("into", "final")],
    )


def _save(path: Path, graph: Any) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    path.write_bytes(onnx.ModelProto.SerializeToString(model))


def _manifest(exits: int, size: tuple[int, int, int], classes: int) -> dict[str, Any]:
    times = {"median": 1.0, "p90": 1.1, "p99": 1.2}
    segments = [
        {
            "file": f"segment_{position}.onnx",
            "inputs": [f"features_{position - 1}", f"table_{position - 1}"] if position else ["x"],
            "outputs": [f"features_{position}", f"table_{position}"],
        }
        for position in range(exits)
    ]
    last = {"file": "final.onnx", "inputs": [f"features_{exits - 1}"] if exits else ["x"], "outputs": ["outputs"]}
    return {
        "schema_version": 1,
        "kind": "bundle",
        "created": "2026-11-21T21:00:00+00:00",
        "model": {
            "name": "tiny",
            "task": "classification",
            "num_outputs": classes,
            "classes": [f"class {number}" for number in range(classes)],
        },
        "input": {"name": "x", "size": list(size), "dtype": "float32"},
        "preprocessing": {
            "mode": "RGB" if size[0] == 3 else "L",
            "resize": list(size[1:]),
            "interpolation": "bicubic",
            "antialias": True,
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5] * size[0],
            "std": [0.5] * size[0],
        },
        "format": "onnx",
        "precision": "fp32",
        "opset": OPSET,
        "segments": [*segments, last],
        "heads": [
            {"file": f"head_{position}.onnx", "exit": position, "input": f"features_{position}", "output": "outputs"}
            for position in range(exits)
        ],
        "exits": [
            {"placement": 2 * position, "module": None, "head": "linear", "options": {}} for position in range(exits)
        ],
        "latency": {
            "unit": "ms",
            "batch_size": 1,
            "threads": 1,
            "segments": [times] * (exits + 1),
            "heads": [{"median": 0.1, "p90": 0.15, "p99": 0.2}] * exits,
            "slow_down": [0.9, 1.0, 1.1],
        },
        "policy": "confidence" if exits else "interruptible",
        "values": [0.5 + 0.1 * position for position in range(exits + 1)],
        "confidence": {
            "score": "softmax",
            "temperatures": [1.0] * exits,
            "points": [
                {"budget_ms": 2.0, "thresholds": [0.3] * exits, "exit_rates": [0.0] * (exits + 1), "value": 0.5},
                {"budget_ms": 3.0, "thresholds": [0.9] * exits, "exit_rates": [0.0] * (exits + 1), "value": 0.6},
            ],
            "quantile": None,
        }
        if exits
        else None,
        "fallback": 0.0,
        "budget": "uniform:1,5",
        "agreement": [{"agreement": None, "samples": 0, "split": None, "largest_difference": 0.0}] * (exits + 1),
        "request": None,
        "profile": {},
        "outcomes": {},
    }
