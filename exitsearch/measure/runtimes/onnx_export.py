"""ONNX graphs from torch modules, and files of single units for timing them in other engines.

`onnx_program` is what every export goes through, a bundle's (`deploy/graphs.py`) too.

Exporting a unit takes about a second, and a profile has hundreds of units of a dozen structures. So a unit is exported
once for each structure in a process, and the file with its weights serves all of that structure: the engine does the
same work on the same shapes, and every session holds weights of its own in memory. The outputs of a chain of such
sessions are therefore no model's outputs; the files are for timing, not for deployment.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import tempfile
import warnings
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError
from exitsearch.measure.macs.structure import structure

# protobuf, and so an ONNX file with its weights inside, ends at 2 GiB; beyond this they go into a file beside it.
_LARGEST_INLINE_BYTES = 2**30

_exported: dict[Hashable, Path] = {}


class _OnTensors(nn.Module):
    """A unit that takes a state, as a module that takes tensors."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, *state: Tensor) -> object:
        return self.unit(state)


def export_unit(unit: nn.Module, argument: Tensor | tuple[Tensor, ...]) -> Path:
    """The ONNX file of a unit of this structure, made now or earlier in this process.

    Args:
        unit: called with one tensor, or with one state (a tuple of tensors).
        argument: an example of it; its shapes are fixed in the file.

    Raises:
        ExitSearchError: torch cannot export it.
    """
    key = structure(unit, argument)
    if key not in _exported:
        _exported[key] = _export(unit, argument, _folder() / f"unit{len(_exported)}.onnx")
    return _exported[key]


def onnx_program(
    module: nn.Module, inputs: tuple[Tensor, ...], *, what: str, remedy: str, **options: Any
) -> torch.onnx.ONNXProgram:
    """A module in eval mode as an ONNX program.

    Args:
        inputs: examples of its arguments.
        what: the module in words, for the error.
        remedy: what to do where torch cannot export it.
        options: further keywords of `torch.onnx.export`; without any, shapes are fixed.

    Raises:
        ExitSearchError: torch cannot export it.
    """
    try:
        with _silent(), torch.no_grad():
            program = torch.onnx.export(module.eval(), inputs, dynamo=True, verbose=False, **options)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExitSearchError(f"torch cannot export {what} to ONNX ({cause}); {remedy}") from error
    assert program is not None
    return program


def _export(unit: nn.Module, argument: Tensor | tuple[Tensor, ...], path: Path) -> Path:
    module, inputs = (unit, (argument,)) if isinstance(argument, Tensor) else (_OnTensors(unit), argument)
    inside = sum(p.numel() * p.element_size() for p in unit.parameters()) <= _LARGEST_INLINE_BYTES
    remedy = "leave that head out, or use --runtime compile"
    program = onnx_program(module, inputs, what=type(unit).__name__, remedy=remedy)
    try:
        with _silent():
            program.save(path, external_data=not inside)
    except RuntimeError as error:
        raise ExitSearchError(f"{type(unit).__name__} cannot be saved as ONNX ({error}); {remedy}") from error
    return path


@functools.cache
def _folder() -> Path:
    """A folder that ends with the process."""
    folder = tempfile.TemporaryDirectory(prefix="exitsearch-onnx-")
    _keep_alive.append(folder)
    return Path(folder.name)


_keep_alive: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints its steps and warns of things that are no fault of the user's."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
