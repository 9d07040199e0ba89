"""The conformance test of exit heads, to be inherited by the tests of a user's own head.

    from exitsearch.models.heads import load_plugin
    from exitsearch.testing import HeadConformance

    load_plugin("my_heads.py")

    class TestMyHead(HeadConformance):
        head = "my_head"
        options = {"dropout": 0.1}

pytest runs every `test_...` method; none needs pytest itself, so any other runner does as well.
"""

from __future__ import annotations

import importlib.util
import math
import unittest
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models.heads import ExitHead, check_fits, create_head, get_head_type
from exitsearch.models.inputs import run_head
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.placement import Layout, Placement
from exitsearch.specs.side import Size


def _placement(
    layout: Layout, channels: int, grid: tuple[int, int], prefix_tokens: int = 0, class_token: bool = False
) -> Placement:
    return Placement(
        index=0,
        module="blocks.0",
        layout=layout,
        channels=channels,
        grid=grid,
        prefix_tokens=prefix_tokens,
        class_token=class_token,
        reduction=16,
        depth=1,
    )


# One small placement of every kind that timm's backbones offer: with and without class token, distillation token and
# registers; square, odd and one-cell grids; all three layouts.
LAYOUTS: Mapping[str, Placement] = {
    "tokens": _placement("tokens", 32, (4, 4), prefix_tokens=1, class_token=True),
    "tokens_odd_grid": _placement("tokens", 48, (5, 3), prefix_tokens=1, class_token=True),
    "tokens_distilled": _placement("tokens", 32, (4, 4), prefix_tokens=2, class_token=True),
    "tokens_registers": _placement("tokens", 32, (3, 3), prefix_tokens=5, class_token=True),
    "tokens_no_class": _placement("tokens", 32, (4, 4)),
    "tokens_registers_no_class": _placement("tokens", 32, (4, 4), prefix_tokens=4),
    "tokens_no_grid": _placement("tokens", 32, (0, 0), prefix_tokens=1, class_token=True),
    "nchw": _placement("nchw", 24, (6, 6)),
    "nchw_large_grid": _placement("nchw", 8, (20, 18)),
    "nchw_one_cell": _placement("nchw", 32, (1, 1)),
    "nhwc": _placement("nhwc", 24, (5, 7)),
}

# Layers that may act otherwise in training than in use; nn.MultiheadAttention holds its dropout inside.
_MODE_DEPENDENT = ("Dropout", "DropPath", "BatchNorm", "InstanceNorm", "MultiheadAttention")


def example_features(placement: Placement, *, batch_size: int = 1, seed: int = 0) -> Tensor:
    """Random normal features in a placement's layout.

    Args:
        placement: where they would come from.
        batch_size: first axis.
        seed: seed of the values.
    """
    shape: tuple[int, ...]
    match placement.layout:
        case "tokens":
            shape = (batch_size, placement.token_count, placement.channels)
        case "nchw":
            shape = (batch_size, placement.channels, *placement.grid)
        case "nhwc":
            shape = (batch_size, *placement.grid, placement.channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def example_side(features: Tensor, sizes: Mapping[str, Size]) -> dict[str, Tensor]:
    """Side inputs beside features, each sample's made of its own features' numbers, so that they belong together.

    Args:
        features: as of `example_features`.
        sizes: (channels, height, width) by name.
    """
    flat = features.flatten(1)
    return {
        name: flat.repeat(1, -(-math.prod(size) // flat.shape[1]))[:, : math.prod(size)].reshape(-1, *size)
        for name, size in sizes.items()
    }


def answer(head: nn.Module, features: Tensor) -> Tensor:
    """What a head answers to features, and to `example_side` where it reads side inputs."""
    sizes = head.reads if isinstance(head, ExitHead) else {}
    return run_head(head, features, example_side(features, sizes))


class HeadConformance:
    """What every head type must hold to. Subclass it with a name that pytest collects (`Test...`).

    Attributes:
        head: name of the head type; registered before the tests run.
        options: options of the head type under test.
        layouts: placements to test at, by name.
        num_outputs: outputs of the heads under test.
        side_inputs: (channels, height, width) of each side input that the model has, by name.
    """

    head: ClassVar[str]
    options: ClassVar[Mapping[str, Option]] = {}
    layouts: ClassVar[Mapping[str, Placement]] = LAYOUTS
    num_outputs: ClassVar[int] = 7
    side_inputs: ClassVar[Mapping[str, Size]] = {}

    @property
    def places(self) -> dict[str, Placement]:
        """The layouts, with the model's side inputs."""
        told = {"side_inputs": dict(self.side_inputs)}
        return {name: placement.model_copy(update=told) for name, placement in self.layouts.items()}

    @property
    def choice(self) -> HeadChoice:
        """Head type and options in one."""
        return HeadChoice(self.head, dict(self.options))

    def make(self, placement: Placement, *, seed: int = 0) -> ExitHead:
        """A new head at a placement, in eval mode."""
        return create_head(self.choice, placement=placement, num_outputs=self.num_outputs, seed=seed).eval()

    def fitting(self) -> Iterator[tuple[str, Placement]]:
        """Name and placement of every layout that the head fits."""
        found = [(name, at) for name, at in self.places.items() if check_fits(self.choice, at) is None]
        assert found, f"{self.choice} fits none of the layouts {', '.join(self.layouts)}"
        yield from found

    def one_of_each_layout(self) -> Iterator[tuple[str, Placement]]:
        """The first fitting placement of each layout (tokens, nchw, nhwc), for the slower tests."""
        first: dict[str, tuple[str, Placement]] = {}
        for name, placement in self.fitting():
            first.setdefault(placement.layout, (name, placement))
        yield from first.values()

    def test_describes_itself(self) -> None:
        """The head type has a description, and its own defaults are allowed values."""
        head_type = get_head_type(self.head)
        assert head_type.description, f"head type {self.head} needs a description"
        given = {name: value for name, value in head_type.options.items() if isinstance(value, Option)}
        assert isinstance(check_fits(HeadChoice(self.head, given), self.layouts["tokens"]), str | None)

    def test_output_shape(self) -> None:
        """Outputs are [batch, num_outputs] and finite on every fitting layout, for batch sizes 1 and 3."""
        for name, placement in self.fitting():
            head = self.make(placement)
            for batch_size in (1, 3):
                with torch.no_grad():
                    outputs = answer(head, example_features(placement, batch_size=batch_size))
                assert tuple(outputs.shape) == (batch_size, self.num_outputs), f"{name}: {tuple(outputs.shape)}"
                assert bool(torch.isfinite(outputs).all()), f"{name}: outputs are not finite"

    def test_single_output(self) -> None:
        """One output (regression) keeps its axis."""
        for name, placement in self.one_of_each_layout():
            head = create_head(self.choice, placement=placement, num_outputs=1, seed=0).eval()
            assert tuple(answer(head, example_features(placement, batch_size=3)).shape) == (3, 1), name

    def test_has_parameters(self) -> None:
        """There is something to train, and the weights under the L2 penalty are among it."""
        for name, placement in self.fitting():
            head = self.make(placement)
            own = {id(parameter) for parameter in head.parameters() if parameter.numel() > 0}
            assert own, f"{name}: no parameters"
            assert {id(parameter) for parameter in head.decay_parameters()} <= own, f"{name}: foreign decay_parameters"

    def test_gradients_reach_every_parameter(self) -> None:
        """Every parameter has a finite gradient everywhere, and one other than zero on some layout.

        In eval mode, where batch norm hides no bias. With one lonely token attention is constant in its query, so
        not every layout alone can give every parameter a gradient other than zero.
        """
        seen: set[str] = set()
        silent: set[str] = set()
        for name, placement in self.fitting():
            head = self.make(placement)
            torch.autograd.backward(answer(head, example_features(placement, batch_size=3)).square().sum())
            for key, parameter in head.named_parameters():
                assert parameter.grad is not None, f"{name}: no gradient reaches {key}"
                assert bool(torch.isfinite(parameter.grad).all()), f"{name}: the gradient of {key} is not finite"
                (seen if bool(parameter.grad.any()) else silent).add(key)
        assert not silent - seen, f"the gradient of {', '.join(sorted(silent - seen))} is zero on every layout"

    def test_inputs_are_independent(self) -> None:
        """In eval mode one input's outputs do not depend on the others in the batch."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            with torch.no_grad():
                alone = answer(head, features[1:2])
                _assert_close(answer(head, features)[1:2], alone, f"{name}: the batch changes an answer")

    def test_eval_is_deterministic(self) -> None:
        """In eval mode the same features give the same outputs, and they are left as they were."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            before = features.clone()
            with torch.no_grad():
                first, second = answer(head, features), answer(head, features)
            assert torch.equal(first, second), f"{name}: two passes differ"
            assert torch.equal(features, before), f"{name}: the head changes its input"

    def test_training_mode_differs_only_by_its_layers(self) -> None:
        """Training mode differs from eval mode only by dropout and batch norm layers."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            with torch.no_grad():
                expected = answer(head, features)
                head.train()
                for module in head.modules():
                    if any(kind in base.__name__ for base in type(module).__mro__ for kind in _MODE_DEPENDENT):
                        module.eval()
                _assert_close(answer(head, features), expected, f"{name}: training mode differs without dropout")

    def test_seed(self) -> None:
        """A seed fixes the weights, another changes them, and torch's own generator is left alone."""
        _, placement = next(self.fitting())
        before = torch.get_rng_state()
        first, again, other = (self.make(placement, seed=seed).state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before), "the seed leaks into torch's generator"
        assert all(torch.equal(first[key], again[key]) for key in first), "one seed gives two sets of weights"
        assert any(not torch.equal(first[key], other[key]) for key in first), "two seeds give the same weights"

    def test_state_round_trip(self) -> None:
        """The state after a training pass, through safetensors and into another head, gives the same outputs."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            with torch.no_grad():
                answer(head.train(), features)  # moves the running statistics of batch norm, if any
                expected = answer(head.eval(), features)
                written = safetensors.torch.save(head.state_dict())
                other = self.make(placement, seed=1)
                other.load_state_dict(safetensors.torch.load(written))
                again = answer(other, features)
                assert torch.equal(again, expected), f"{name}: the state does not hold all of the head"

    def test_affine_of_the_outputs(self) -> None:
        """Tripling what the `output_layers` give and adding 5 does so to the outputs; or an `OutputScale` does."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            with torch.no_grad():
                expected = 3 * answer(head, features) + 5
                for layer in head.output_layers():
                    assert layer.bias is not None, f"{name}: a layer of output_layers() has no bias"
                    layer.weight.mul_(3)
                    layer.bias.mul_(3).add_(5)
                if not head.output_layers():
                    behind = head.attach_output_scale()
                    behind.scale.fill_(3)
                    behind.shift.fill_(5)
                _assert_close(answer(head, features), expected, f"{name}: output_layers() do not carry the outputs")
                other = self.make(placement, seed=1)
                other.load_state_dict(head.state_dict())
                _assert_close(answer(other, features), expected, f"{name}: the state does not hold scale and shift")

    def test_meta_device(self) -> None:
        """The head is built and run on the meta device, where parameters and MACs are counted without memory."""
        for name, placement in self.fitting():
            head = create_head(self.choice, placement=placement, num_outputs=self.num_outputs, device="meta").eval()
            outputs = answer(head, example_features(placement, batch_size=3).to("meta"))
            assert tuple(outputs.shape) == (3, self.num_outputs), name

    def test_side_inputs(self) -> None:
        """Every side input that the head says it reads changes its answers, and one that is missing is refused."""
        for name, placement in self.fitting():
            head, features = self.make(placement), example_features(placement, batch_size=3)
            side = example_side(features, head.reads)
            for key, values in side.items():
                with torch.no_grad():
                    changed = run_head(head, features, {**side, key: values + 1})
                assert not torch.equal(answer(head, features), changed), f"{name}: {key} makes no difference"
                refusal = None
                try:
                    run_head(head, features, {other: value for other, value in side.items() if other != key})
                except InputError as error:
                    refusal = str(error)
                assert refusal is not None, f"{name}: without {key} the head answers"
                assert key in refusal, f"{name}: {refusal!r} does not name {key}"

    def test_export(self) -> None:
        """torch.export takes the head with a free batch size, and the program gives the same outputs."""
        for name, placement in self.one_of_each_layout():
            head = self.make(placement)
            with torch.no_grad():
                program = _exported(head, placement)
                for batch_size in (1, 3):
                    features = example_features(placement, batch_size=batch_size, seed=1)
                    found = program.module()(features, *example_side(features, head.reads).values())
                    _assert_close(found, answer(head, features), f"{name}: the exported program differs")

    def test_compile(self) -> None:
        """torch.compile takes the head as one graph with a free batch size, and it gives the same outputs."""
        name, placement = next(self.fitting())
        head = self.make(placement)
        # The `eager` backend: what is tested is tracing, and it needs no compiler on the machine.
        compiled = torch.compile(head, backend="eager", fullgraph=True, dynamic=True)
        with torch.no_grad():
            for batch_size in (2, 3):
                features = example_features(placement, batch_size=batch_size, seed=1)
                found = compiled(features, **example_side(features, head.reads))
                _assert_close(found, answer(head, features), f"{name}: the compiled head differs")

    def test_onnx(self) -> None:
        """Where onnx and onnxscript are installed, ONNX export takes the head, and its checker the file."""
        if any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxscript")):
            raise unittest.SkipTest("onnx and onnxscript are not installed")
        import onnx

        _, placement = next(self.fitting())
        with torch.no_grad():
            exported = _exported(self.make(placement), placement)
            program = torch.onnx.export(exported, dynamo=True, optimize=False, verbose=False)
        assert program is not None
        model = program.model_proto
        onnx.checker.check_model(model, full_check=True)
        batch, outputs = model.graph.output[0].type.tensor_type.shape.dim
        assert batch.dim_param, "the batch size of the ONNX model is fixed"
        assert outputs.dim_value == self.num_outputs

    def test_refusal(self) -> None:
        """Where the head does not fit, a sentence says so and names what would do."""
        for name, placement in self.places.items():
            reason = check_fits(self.choice, placement)
            if reason is None:
                continue
            assert len(reason.split()) >= 4, f"{name}: {reason!r} is no sentence"
            refusal = None
            try:
                self.make(placement)
            except UnsupportedError as error:
                refusal = str(error)
            assert refusal is not None, f"{name}: check_fits refuses what create_head makes"
            assert reason in refusal, f"{name}: {refusal!r} does not say {reason!r}"


class _InOrder(nn.Module):
    """A head that takes side inputs one after the other: exported programs name none of their own."""

    def __init__(self, head: ExitHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, *side: Tensor) -> Tensor:
        outputs: Tensor = self.head(features, **dict(zip(self.head.reads, side, strict=True)))
        return outputs


def _exported(head: ExitHead, placement: Placement) -> Any:
    # An example batch of 2 or more: torch.export takes a 1 for a fixed size.
    features = example_features(placement, batch_size=2)
    free, side = {0: torch.export.Dim("batch")}, tuple(example_side(features, head.reads).values())
    if not side:
        return torch.export.export(head, (features,), dynamic_shapes=(free,), strict=False)
    shapes = (free, (free,) * len(side))
    return torch.export.export(_InOrder(head), (features, *side), dynamic_shapes=shapes, strict=False)


def _assert_close(found: Tensor, expected: Tensor, message: str) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda detail: f"{message}\n{detail}")
