"""Backbone: a timm model, or a module of one's own, cut at every placement.

    backbone = create_backbone("vit_tiny_patch16_224")
    for features in backbone.stream(images):    # features at placement 0, 1, ... and last the backbone's own outputs
        ...

    create_backbone(my_module, placements=["stage1", "stage2"], example_input=torch.randn(1, 3, 64, 64))

A backbone is cut into segments. Segment k takes the state that segment k-1 handed on (segment 0: the input) and hands
on the next one: a tuple of tensors whose first is the features at placement k. `final` turns the last state into the
backbone's outputs. Running all of them in turn is the model's own forward, bit for bit. How the cut is found: `cut.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from exitsearch.errors import InputError, UnavailableError, UnsupportedError
from exitsearch.models import embedded as embedded  # registers the embedded default with timm
from exitsearch.models.checkpoint import load_checkpoint, module_digest
from exitsearch.models.cut import Cut, cut_model
from exitsearch.models.inputs import Batch, main_input
from exitsearch.models.segments import State as State
from exitsearch.specs.backbone import EMBEDDED_NAME, PACKAGED_NAMES, BackboneFacts, Task
from exitsearch.specs.placement import Placement
from exitsearch.specs.side import Size, check_side_inputs


class Segment(nn.Module):
    """The part of a backbone from the state at one placement to the state at the next.

    Attributes:
        cut: which knows the mode that the model is in.
        program: what runs; it holds the modules and weights that it uses.
    """

    def __init__(self, cut: Cut, program: nn.Module) -> None:
        super().__init__()
        self.cut = cut
        self.program = program

    def forward(self, state: State) -> State:
        """Hand on the next state; its first tensor is the features at this segment's placement."""
        following: State = self.cut.run(self.program, state)
        return following


class FinalSegment(nn.Module):
    """The part of a backbone from the last placement's state to its own outputs."""

    def __init__(self, cut: Cut, program: nn.Module) -> None:
        super().__init__()
        self.cut = cut
        self.program = program

    def forward(self, state: State) -> Tensor:
        """Outputs [batch, num_outputs]."""
        outputs: Tensor = self.cut.run(self.program, state)
        return outputs


class Backbone(nn.Module):
    """A model cut at every placement.

    Attributes:
        module: the model itself.
        placements: where exit heads may attach, in execution order.
        segments: the segment that ends at each placement.
        final: the rest, from the last placement to the outputs.
        facts: name, input size, outputs and task.
        weights: where the weights come from (`pretrained:...`, `file:...`, `random:SEED`).
        final_is_trained: whether the final exit fits the asked outputs as it is; a new classifier must be trained.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        placements: tuple[Placement, ...],
        segments: tuple[Segment, ...],
        final: FinalSegment,
        facts: BackboneFacts,
        weights: str,
        final_is_trained: bool,
    ) -> None:
        super().__init__()
        assert len(placements) == len(segments) > 0
        self.module = module
        self.placements = placements
        # Segments hold parts of `module`. Kept out of torch's registration, or every weight would stand in
        # state_dict twice.
        self.__dict__["segments"] = segments
        self.__dict__["final"] = final
        self.facts = facts
        self.weights = weights
        self.final_is_trained = final_is_trained

    segments: tuple[Segment, ...]
    final: FinalSegment

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input."""
        assert self.facts.input_size is not None
        return self.facts.input_size

    @property
    def num_outputs(self) -> int:
        """Classes, or regression targets."""
        assert self.facts.num_outputs is not None
        return self.facts.num_outputs

    @property
    def side_inputs(self) -> dict[str, Size]:
        """(channels, height, width) of each further input that exit heads may read, by name; it reads none itself."""
        return self.facts.side_inputs

    def states(self, x: Batch) -> Iterator[State]:
        """Yield the state at each placement in turn; what is not asked for is not computed."""
        state: State = (main_input(x),)
        for segment in self.segments:
            state = segment(state)
            yield state

    def stream(self, x: Batch) -> Iterator[Tensor]:
        """Yield the features at each placement in turn and last the backbone's own outputs.

        Args:
            x: inputs [batch, channels, height, width]; side inputs beside them are not looked at.
        """
        state: State = ()
        for state in self.states(x):
            yield state[0]
        yield self.final(state)

    def forward(self, x: Batch) -> Tensor:
        """The model's own forward: outputs [batch, num_outputs]."""
        outputs: Tensor = self.module(main_input(x))
        return outputs

    def example_input(self, batch_size: int = 1, *, generator: torch.Generator | None = None) -> Tensor:
        """Random normal inputs [batch, channels, height, width] on the backbone's device and in its dtype.

        Zeros would mislead a measurement: some kernels are faster on them.
        """
        return self._example(batch_size, self.input_size, generator)

    def example_side(self, batch_size: int = 1, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Random normal side inputs [batch, channels, height, width] by name, where `example_input` is."""
        return {name: self._example(batch_size, size, generator) for name, size in self.side_inputs.items()}

    def _example(self, batch_size: int, size: Size, generator: torch.Generator | None) -> Tensor:
        parameter = next(self.module.parameters())
        if parameter.device.type == "meta":
            return torch.empty((batch_size, *size), device="meta", dtype=parameter.dtype)
        return torch.randn((batch_size, *size), generator=generator).to(parameter.device, parameter.dtype)

    def final_classifier(self) -> list[nn.Module]:
        """The last linear layers, which a new number of outputs makes anew (two in a distilled model).

        In a module that is not timm's: the last linear layer with as many outputs as the model, if there is one.
        """
        if hasattr(self.module, "get_classifier"):
            found = self.module.get_classifier()  # type: ignore[operator]
            return list(found) if isinstance(found, tuple | list | nn.ModuleList) else [found]
        linear = (part for part in self.module.modules() if isinstance(part, nn.Linear))
        fitting: list[nn.Module] = [part for part in linear if part.out_features == self.num_outputs]
        return fitting[-1:]


def create_backbone(
    name: str | nn.Module = EMBEDDED_NAME,
    *,
    placements: Sequence[str] | None = None,
    example_input: Tensor | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    num_outputs: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    task: Task = "classification",
    side_inputs: Mapping[str, Size] | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    at_most: int | None = None,
) -> Backbone:
    """Create a timm model, or take a module of one's own, and cut it at every placement. It is in eval mode.

    Args:
        name: timm's name of the model, with or without a tag (`vit_tiny_patch16_224.augreg_in21k_ft_in1k`), or a
            module, which is not copied.
        placements: modules after which exit heads may attach, by their names in the model (`layer2.0`), in the order
            in which they run; None finds the model's blocks.
        example_input: an input [1, channels, height, width] of a module of one's own; not for timm's models, which
            know their input size.
        pretrained: True loads timm's weights (a download), False draws random ones; None loads the packaged weights
            of an embedded backbone and draws random ones for every other model.
        checkpoint: a local safetensors file to load instead.
        num_outputs: classes or regression targets; None keeps the model's own number. A number that is not that of
            the weights gives a new, untrained final classifier.
        image_size: side of the input in pixels, or (height, width); None keeps the model's own.
        in_chans: channels of the input (1 for greys and spectrograms); None keeps the model's own. timm sums the first
            layer's pretrained weights over the channels for 1.
        task: what the outputs mean.
        side_inputs: (channels, height, width) of each further input by name, which exit heads may read beside the
            features and the backbone does not; None means there are none.
        device: where to put it; `meta` builds shapes without memory; None means the CPU, and leaves a module of one's
            own where it is.
        seed: seed of random weights and of a new classifier.
        at_most: how many numbers (parameters and buffers) a timm model may have; a larger one is refused before it
            takes any memory. None sets no limit.

    Raises:
        InputError: unknown name, an option that the model does not take, or a model that is larger than `at_most`.
        UnavailableError: the pretrained weights cannot be had here.
        UnsupportedError: the model cannot be cut.
    """
    if isinstance(name, nn.Module):
        made_with = (pretrained, checkpoint, num_outputs, image_size, in_chans)
        if any(option is not None for option in made_with):
            raise InputError(
                "pretrained, checkpoint, num_outputs, image_size and in_chans are for timm's models, a module is taken "
                "as it is; build and load it before"
            )
        taken = _own_backbone(name, placements=placements, example_input=example_input, task=task, device=device)
        return _with_side_inputs(taken, side_inputs)
    if example_input is not None:
        raise InputError(
            f"example_input is for a module of your own; {name} knows its input size; give another one with image_size"
        )
    _check_name(name)
    if pretrained is None:
        pretrained = checkpoint is None and name.split(".")[0] in PACKAGED_NAMES
    own = _own_config(name)
    arguments: dict[str, Any] = {}
    if num_outputs is not None:
        arguments["num_classes"] = num_outputs
    channels, height, width = own["input_size"]
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if size != (height, width):
            height, width = arguments["img_size"] = size
    if in_chans is not None and in_chans != channels:
        if in_chans < 1:
            raise InputError(
                f"a backbone has 1 input channel or more, found in_chans {in_chans}; give a whole number from 1"
            )
        channels = arguments["in_chans"] = in_chans
    if at_most is not None:
        _check_size(name, arguments, at_most)
    module = _create_module(name, pretrained and checkpoint is None, arguments, device or "cpu", seed)
    weights = _origin(module, pretrained, seed) if checkpoint is None else load_checkpoint(module, Path(checkpoint))
    # A model without a classifier (num_classes 0) answers with its pooled features.
    outputs = num_outputs if num_outputs is not None else int(module.num_classes or module.num_features)
    own_outputs = outputs if checkpoint is not None else int(own["num_classes"] or module.num_features)
    facts = BackboneFacts(name=name.split(".")[0], input_size=(channels, height, width), num_outputs=outputs, task=task)
    cut = cut_model(module.eval(), input_size=(channels, height, width), name=name, modules=placements)
    trained = not weights.startswith("random") and outputs == own_outputs
    return _with_side_inputs(_assembled(module, cut, facts, weights=weights, final_is_trained=trained), side_inputs)


def _origin(module: nn.Module, pretrained: bool, seed: int) -> str:
    """Where the weights of a model come from that timm has just made."""
    if not pretrained:
        return f"random:{seed}"
    made: Any = module.pretrained_cfg
    return f"pretrained:{made['architecture']}.{made['tag']}"


def _with_side_inputs(backbone: Backbone, sizes: Mapping[str, Size] | None) -> Backbone:
    """Let the heads over a backbone read further inputs."""
    if sizes:
        checked = check_side_inputs(sizes)
        backbone.facts = backbone.facts.model_copy(update={"side_inputs": checked})
        told = (placement.model_copy(update={"side_inputs": checked}) for placement in backbone.placements)
        backbone.placements = tuple(told)
    return backbone


def _own_backbone(
    module: nn.Module,
    *,
    placements: Sequence[str] | None,
    example_input: Tensor | None,
    task: Task,
    device: torch.device | str | None,
) -> Backbone:
    """Cut a module that is not timm's."""
    name = type(module).__name__
    if example_input is None or example_input.ndim != 4:
        found = "none" if example_input is None else "x".join(map(str, example_input.shape))
        raise InputError(
            f"to cut {name}, an example_input [batch, channels, height, width] is needed, found {found}; "
            "give a tensor such as torch.zeros(1, 3, 224, 224)"
        )
    if next(module.parameters(), None) is None:
        raise InputError(f"a backbone has weights, and {name} has none; give the model itself")
    if device is not None:
        module = module.to(device)
    channels, height, width = example_input.shape[1:]
    size = (channels, height, width)
    cut = cut_model(module.eval(), input_size=size, name=name, modules=placements)
    if cut.num_outputs is None:
        raise UnsupportedError(
            f"a backbone answers with one tensor [batch, outputs], and {name} does not; wrap it in a module that "
            "returns its logits alone"
        )
    facts = BackboneFacts(name=name, input_size=size, num_outputs=cut.num_outputs, task=task)
    return _assembled(module, cut, facts, weights=f"own:{module_digest(module)}", final_is_trained=True)


def _assembled(module: nn.Module, cut: Cut, facts: BackboneFacts, *, weights: str, final_is_trained: bool) -> Backbone:
    return Backbone(
        module,
        placements=cut.placements,
        segments=tuple(Segment(cut, program) for program in cut.programs[:-1]),
        final=FinalSegment(cut, cut.programs[-1]),
        facts=facts,
        weights=weights,
        final_is_trained=final_is_trained,
    )


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
    hint = f" (did you mean {', '.join(close)}?)" if close else ""
    raise InputError(f"unknown model {name!r}{hint}; models are named as in timm; see exitsearch list models 'vit*'")


def _own_config(name: str) -> dict[str, Any]:
    """timm's pretrained configuration of a model: input size, normalisation, number of classes."""
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise InputError(f"timm has no configuration for {name!r}; name a tag that it knows")
    return dict(config.to_dict())  # type: ignore[no-untyped-call]


def _create_module(
    name: str, pretrained: bool, arguments: dict[str, Any], device: torch.device | str, seed: int
) -> Any:
    device = torch.device(device)
    # Weights are drawn on the CPU, so that a seed gives the same ones on every device.
    with torch.random.fork_rng(devices=[]), torch.device("meta" if device.type == "meta" else "cpu"):
        torch.manual_seed(seed)
        try:
            try:
                module = timm.create_model(name, pretrained=pretrained, **arguments)
            except TypeError as error:
                # Convolutional models take any size and no argument for it.
                if "img_size" not in arguments or "img_size" not in str(error):
                    raise
                torch.manual_seed(seed)
                rest = {key: value for key, value in arguments.items() if key != "img_size"}
                module = timm.create_model(name, pretrained=pretrained, **rest)
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(
                f"timm cannot make {name} with {_shown(arguments)}: {error}; "
                "leave out what it does not take, or name another model"
            ) from None
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnavailableError(
                f"the pretrained weights of {name} cannot be had here ({cause}); use --no-pretrained, or give a local "
                "safetensors file with --checkpoint"
            ) from None
    return module.to(device)


def _check_size(name: str, arguments: dict[str, Any], at_most: int) -> None:
    try:
        state = _create_module(name, False, arguments, "meta", 0).state_dict()
        needed = sum(tensor.numel() for tensor in state.values())
    except (RuntimeError, OverflowError) as error:  # sizes that torch cannot even name
        raise InputError(
            f"timm cannot make {name} with {_shown(arguments)}: {str(error).splitlines()[0]}; "
            "leave out what it does not take, or name another model"
        ) from None
    if needed > at_most:
        raise InputError(
            f"{name} with {_shown(arguments)} has {needed:,} numbers, and at most {at_most:,} are expected; its "
            "weights belong to another model; name that one"
        )


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items()) or "its own options"
