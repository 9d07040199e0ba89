"""The two counters: fvcore over a traced graph, and torch's own over the operators as they are dispatched.

fvcore traces with torch.jit, and on the meta device that takes two detours (torch 2.11 to 2.15):

- While torch.jit traces, sizes are 0-dimensional tensors, which meta kernels written in Python refuse. `_UntracedMeta`
  runs every kernel in another thread; tracing is a state of the thread.
- A convolution is recorded below the kernel that the meta device replaces, so it would be missing and would cut the
  graph. `_RecordedConvolution` calls the operator that is recorded.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from exitsearch.errors import UnsupportedError
from exitsearch.measure.macs.rules import RULES, is_attention


def run_fvcore(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Count a module on the meta device with fvcore.

    Returns:
        Operations by fvcore's name of the operator, and the operators without a rule with how often each ran.

    Raises:
        UnsupportedError: it cannot be traced, or holds an attention operator without a rule.
    """
    with _silent():
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(module, inputs).set_op_handle(**RULES)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with _explained(module), ThreadPoolExecutor(1) as thread, _UntracedMeta(thread), _RecordedConvolution():
            counted = {operator: int(count) for operator, count in analysis.by_operator().items()}
            missing = {operator: int(count) for operator, count in analysis.unsupported_ops().items()}
    unruled = sorted(operator for operator in missing if is_attention(operator))
    if unruled:
        raise UnsupportedError(
            f"no rule counts the attention operator {', '.join(unruled)}, so the total would be far too low; add a "
            "rule to exitsearch.measure.macs.rules.RULES"
        )
    return counted, missing


def run_torch_counter(
    module: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[int, tuple[Tensor, ...], dict[int, Tensor]]:
    """Count a module on the meta device with torch's counter.

    Returns:
        Multiply-accumulates, the outputs, and the parameters and buffers that were used by their ids.

    Raises:
        UnsupportedError: it cannot be run on shapes alone.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with _explained(module), FlopCounterMode(display=False) as counter, _UsedWeights(module) as weights:
        outputs = module(*inputs)
    tensors = tuple(leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))
    # torch counts a multiply-accumulate as two operations.
    return counter.get_total_flops() // 2, tensors, weights.used


class _UsedWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which weights are used. A segment may hold the whole model and use only its stem."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {id(weight): weight for weight in (*module.parameters(), *module.buffers())}
        self.used: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if id(leaf) in self.known:
                self.used[id(leaf)] = self.known[id(leaf)]
        return func(*args, **(kwargs or {}))


class _UntracedMeta(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operator's meta kernel in another thread, where nothing is traced."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.thread = thread

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._convolution.default:
            # The same operator without the four switches of cuDNN; it has a meta kernel.
            func, args = torch.ops.aten.convolution.default, args[:9]
        return self.thread.submit(_call_below_autograd, func, args, kwargs or {}).result()


def _call_below_autograd(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    # Results must come back as bare as if they had been made at this point of the first thread's dispatch.
    with torch._C._AutoDispatchBelowADInplaceOrView():
        return func(*args, **kwargs)


class _RecordedConvolution(TorchFunctionMode):
    """Calls `aten::_convolution`, which the trace records, in place of the convolution functions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _CONVOLUTIONS:
            return _convolution(*_CONVOLUTIONS[func], *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


# Function to number of spatial axes and whether it is transposed.
_CONVOLUTIONS: dict[Any, tuple[int, bool]] = {
    torch.conv1d: (1, False),
    torch.conv2d: (2, False),
    torch.conv3d: (3, False),
    torch.conv_transpose1d: (1, True),
    torch.conv_transpose2d: (2, True),
    torch.conv_transpose3d: (3, True),
}


def _convolution(axes: int, transposed: bool, *args: Any, **kwargs: Any) -> Tensor:
    """Bind the arguments of a convolution function and call the operator beneath it."""
    order = ("output_padding", "groups", "dilation") if transposed else ("dilation", "groups")
    names = ("input", "weight", "bias", "stride", "padding", *order)
    given: dict[str, Any] = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
    given |= dict(zip(names, args, strict=False)) | kwargs
    x, weight = given["input"], given["weight"]
    dilation, padding = _per_axis(given["dilation"], axes), given["padding"]
    if padding == "same":
        total = [step * (int(size) - 1) for step, size in zip(dilation, weight.shape[2:], strict=True)]
        # The odd cell goes to the end, as in torch; F.pad takes the last axis first.
        x = nn.functional.pad(x, [cells for amount in reversed(total) for cells in (0, amount % 2)])
        padding = [amount // 2 for amount in total]
    elif padding == "valid":
        padding = 0
    stride, output_padding = _per_axis(given["stride"], axes), _per_axis(given["output_padding"], axes)
    switches = (False, False, False, False)
    result: Tensor = torch._convolution(
        x, weight, given["bias"], stride, _per_axis(padding, axes), dilation, transposed, output_padding,
        given["groups"], *switches,
    )  # fmt: skip
    return result


def _per_axis(value: Any, axes: int) -> list[int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return values * axes if len(values) == 1 else values


@contextmanager
def _explained(module: nn.Module) -> Iterator[None]:
    """Run a module without gradients, and say in a sentence why it cannot be run on shapes alone."""
    try:
        with torch.no_grad():
            yield
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
        unit = getattr(module, "unit", module)
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedError(
            f"{type(unit).__name__} cannot be counted: torch could not run it on shapes alone ({cause}); let it take "
            "and return tensors, decide nothing by their values, and not be compiled"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """torch.jit announces its end, and fvcore logs; neither is news to the user of a count."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
