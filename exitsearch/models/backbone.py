"""Backbone: a timm model cut at every placement. The only place that knows timm's models.

    backbone = create_backbone("vit_tiny_patch16_224")
    for features in backbone.stream(images):    # features at placement 0, 1, ... and last the backbone's own outputs
        ...

A backbone is cut into segments. Segment k takes the state that segment k-1 handed on (segment 0: the input) and hands
on the next one: a tuple of tensors whose first is the features at placement k. `final` turns the last state into the
backbone's outputs. Running all of them in turn is timm's own forward, bit for bit.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from exitsearch.errors import InputError, UnavailableError, UnsupportedError
from exitsearch.models import embedded as embedded  # registers the embedded default with timm
from exitsearch.specs.backbone import EMBEDDED_NAME, BackboneFacts, Task
from exitsearch.specs.placement import Placement

State = tuple[Tensor, ...]

# timm's modules all of whose models are flat vision transformers; only for listing, cutting looks at the model itself.
_FLAT_VIT_MODULES = ("deit", "vision_transformer", "vision_transformer_hybrid")


class Segment(nn.Module):
    """The part of a backbone from the state at one placement to the state at the next."""

    def forward(self, state: State) -> State:
        """Hand on the next state; its first tensor is the features at this segment's placement."""
        raise NotImplementedError


class FinalSegment(nn.Module):
    """The part of a backbone from the last placement's state to its own outputs."""

    def forward(self, state: State) -> Tensor:
        """Outputs [batch, num_outputs]."""
        raise NotImplementedError


class Backbone(nn.Module):
    """A model cut at every placement.

    Attributes:
        module: timm's own model.
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

    def states(self, x: Tensor) -> Iterator[State]:
        """Yield the state at each placement in turn; what is not asked for is not computed."""
        state: State = (x,)
        for segment in self.segments:
            state = segment(state)
            yield state

    def stream(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the features at each placement in turn and last the backbone's own outputs.

        Args:
            x: inputs [batch, channels, height, width].
        """
        state: State = (x,)
        for state in self.states(x):
            yield state[0]
        yield self.final(state)

    def forward(self, x: Tensor) -> Tensor:
        """timm's own forward: outputs [batch, num_outputs]."""
        outputs: Tensor = self.module(x)
        return outputs

    def example_input(self, batch_size: int = 1, *, generator: torch.Generator | None = None) -> Tensor:
        """Random normal inputs [batch, channels, height, width] on the backbone's device and in its dtype.

        Zeros would mislead a measurement: some kernels are faster on them.
        """
        parameter = next(self.module.parameters())
        shape = (batch_size, *self.input_size)
        if parameter.device.type == "meta":
            return torch.empty(shape, device="meta", dtype=parameter.dtype)
        return torch.randn(shape, generator=generator).to(parameter.device, parameter.dtype)

    def final_classifier(self) -> list[nn.Module]:
        """The last linear layers, which a new number of outputs makes anew (two in a distilled model)."""
        found = self.module.get_classifier()  # type: ignore[operator]
        return list(found) if isinstance(found, tuple) else [found]


def create_backbone(
    name: str = EMBEDDED_NAME,
    *,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    num_outputs: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    task: Task = "classification",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Backbone:
    """Create a timm model and cut it at every placement. It is in eval mode.

    Args:
        name: timm's name of the model, with or without a tag (`vit_tiny_patch16_224.augreg_in21k_ft_in1k`).
        pretrained: True loads timm's weights (a download), False draws random ones; None loads the packaged weights
            of the embedded default and draws random ones for every other model.
        checkpoint: a local safetensors file to load instead.
        num_outputs: classes or regression targets; None keeps the model's own number. A number that is not that of
            the weights gives a new, untrained final classifier.
        image_size: side of the input in pixels, or (height, width); None keeps the model's own.
        task: what the outputs mean.
        device: where to put it; `meta` builds shapes without memory.
        seed: seed of random weights and of a new classifier.

    Raises:
        InputError: unknown name, or an option that the model does not take.
        UnavailableError: the pretrained weights cannot be had here.
        UnsupportedError: the model cannot be cut.
    """
    if not timm.is_model(name):
        base = name.split(".")[0]
        known = timm.list_models()
        close = difflib.get_close_matches(base, known, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see exitsearch list models 'vit*'"
        raise InputError(f"unknown model {name!r}; models are named as in timm: {hint}")
    if pretrained is None:
        pretrained = checkpoint is None and name.split(".")[0] == EMBEDDED_NAME
    own = _own_config(name)
    arguments: dict[str, Any] = {}
    if num_outputs is not None:
        arguments["num_classes"] = num_outputs
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if size != tuple(own["input_size"][1:]):
            arguments["img_size"] = size
    module = _create_module(name, pretrained and checkpoint is None, arguments, device, seed)
    weights = f"random:{seed}"
    if checkpoint is not None:
        weights = _load_checkpoint(module, Path(checkpoint))
    elif pretrained:
        weights = f"pretrained:{module.pretrained_cfg['architecture']}.{module.pretrained_cfg['tag']}"
    # A model without a classifier (num_classes 0) answers with its pooled features.
    outputs = num_outputs if num_outputs is not None else int(module.num_classes or module.num_features)
    own_outputs = outputs if checkpoint is not None else int(own["num_classes"] or module.num_features)
    channels = own["input_size"][0]
    height, width = arguments.get("img_size", own["input_size"][1:])
    facts = BackboneFacts(
        name=name.split(".")[0], input_size=(channels, height, width), num_outputs=outputs, task=task
    )
    trained = not weights.startswith("random") and outputs == own_outputs
    return _cut(module.eval(), facts, weights=weights, final_is_trained=trained)


@dataclass(frozen=True)
class BackboneEntry:
    """A model that `create_backbone` can cut: its name, timm's module it is from, and its pretrained tags."""

    name: str
    family: str
    tags: tuple[str, ...]


def list_backbones() -> list[BackboneEntry]:
    """Every model that can be cut, the embedded default first."""
    entries = [BackboneEntry(EMBEDDED_NAME, "embedded", ("digits",))]
    for family in _FLAT_VIT_MODULES:
        for name in timm.list_models(module=family):
            tags = tuple(full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*"))
            entries.append(BackboneEntry(name, family, tags))
    return entries


def _own_config(name: str) -> dict[str, Any]:
    """timm's pretrained configuration of a model: input size, normalisation, number of classes."""
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise InputError(f"timm has no configuration for {name!r}; name a tag that it knows")
    return dict(config.to_dict())


def _create_module(
    name: str, pretrained: bool, arguments: dict[str, Any], device: torch.device | str, seed: int
) -> Any:
    device = torch.device(device)
    # Weights are drawn on the CPU, so that a seed gives the same ones on every device.
    with torch.random.fork_rng(devices=[]), torch.device("meta" if device.type == "meta" else "cpu"):
        torch.manual_seed(seed)
        try:
            module = timm.create_model(name, pretrained=pretrained, **arguments)
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(f"timm cannot make {name} with {_shown(arguments)}: {error}") from None
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnavailableError(
                f"the pretrained weights of {name} cannot be had here ({cause}); use --no-pretrained, or give a local "
                "safetensors file with --checkpoint"
            ) from None
    return module.to(device)


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items()) or "its own options"


def _load_checkpoint(module: nn.Module, path: Path) -> str:
    """Load a safetensors state dict strictly; returns the weights' identity."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: a checkpoint is a safetensors file; this one cannot be read: {error}") from None
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise InputError(
            f"{path}: the weights do not fit the model ({' '.join(lines[1:2]) or lines[0]}); check --model, "
            "--num-outputs and the image size"
        ) from None
    return f"file:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _cut(module: nn.Module, facts: BackboneFacts, *, weights: str, final_is_trained: bool) -> Backbone:
    """Cut a model at every placement, by what it offers."""
    if _is_flat_vit(module):
        placements, segments, final = _cut_flat_vit(module)
    else:
        raise UnsupportedError(
            f"{facts.name} ({type(module).__name__}) cannot be cut yet: this version cuts flat vision transformers "
            "(timm's VisionTransformer: vit_*, deit_*, ...); see exitsearch list models"
        )
    return Backbone(
        module,
        placements=placements,
        segments=segments,
        final=final,
        facts=facts,
        weights=weights,
        final_is_trained=final_is_trained,
    )


def _is_flat_vit(module: nn.Module) -> bool:
    """Whether a model runs exactly as timm's VisionTransformer does: stem, blocks in a row, norm, classifier."""
    base = timm.models.vision_transformer.VisionTransformer
    own = type(module)
    return (
        isinstance(module, base)
        and own.forward is base.forward
        and own.forward_features is base.forward_features
        and len(module.blocks) > 0
    )


class _FlatVitSegment(Segment):
    """One block of a flat vision transformer; the first segment runs the stem too."""

    def __init__(self, module: Any, index: int) -> None:
        super().__init__()
        self.block = module.blocks[index]
        self.model = module if index == 0 else None

    def forward(self, state: State) -> State:
        (x,) = state
        if self.model is not None:
            # Images [batch, channels, height, width] to tokens [batch, prefix + patches, width]: the lines that
            # precede the blocks in timm's forward_features.
            x = self.model.patch_embed(x)
            x = self.model._pos_embed(x)
            x = self.model.patch_drop(x)
            x = self.model.norm_pre(x)
        return (self.block(x),)


class _FlatVitFinal(FinalSegment):
    """Norm, pooling and classifier of a flat vision transformer."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.model = module

    def forward(self, state: State) -> Tensor:
        outputs: Tensor = self.model.forward_head(self.model.norm(state[0]))
        return outputs


def _cut_flat_vit(module: Any) -> tuple[tuple[Placement, ...], tuple[Segment, ...], FinalSegment]:
    height, width = module.patch_embed.grid_size
    placements = tuple(
        Placement(
            index=index,
            module=f"blocks.{index}",
            layout="tokens",
            channels=module.embed_dim,
            grid=(height, width),
            prefix_tokens=module.num_prefix_tokens,
            class_token=module.cls_token is not None,
            reduction=module.patch_embed.img_size[0] / height,
            depth=index + 1,
        )
        for index in range(len(module.blocks))
    )
    segments = tuple(_FlatVitSegment(module, index) for index in range(len(module.blocks)))
    return placements, segments, _FlatVitFinal(module)
