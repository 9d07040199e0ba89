"""MultiExitModel: a backbone with the chosen exit heads, an ordinary module for anybody's training loop.

model = build_model(load_config("chosen.json"))
outputs = model(images)                      # a list: every chosen exit in order, last the final exit
outputs = model(images, audio=sounds)        # where heads read a side input
for outputs in model.iter_exits(images):     # one by one; what is not asked for is not computed
    ...
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from exitsearch.errors import FileError, InputError, MismatchError, shown
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.heads import create_head
from exitsearch.models.hub import CONFIG_FILE as CONFIG_FILE
from exitsearch.models.hub import MODEL_FILE as MODEL_FILE
from exitsearch.models.hub import HubModel
from exitsearch.models.inputs import Batch, gathered, run_head
from exitsearch.models.inputs import side_inputs as side_of
from exitsearch.models.tensors import numbers_in
from exitsearch.models.tensors import read_tensors as read_tensors
from exitsearch.specs.answers.kept import exit_file
from exitsearch.specs.config import ExitChoice, MultiExitConfig
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

HEADS_FOLDER = "heads"
FINAL_FILE = "final.safetensors"
# Of a model that is loaded: 4,096 x 4,096 pixels in four channels.
_LARGEST_INPUT = 4 * 4096 * 4096


class MultiExitModel(HubModel):
    """A backbone and its chosen exit heads.

    Attributes:
        backbone: the backbone, cut at every placement.
        heads: the chosen exit heads in placement order.
        config: what was chosen, and for what.
    """

    def __init__(self, backbone: Backbone, *, heads: list[nn.Module], config: MultiExitConfig) -> None:
        super().__init__()
        assert len(heads) == len(config.exits)
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)
        self.config = config

    def iter_exits(self, x: Batch, **side: Tensor) -> Iterator[Tensor]:
        """Yield the outputs [batch, num_outputs] of each chosen exit in order and last of the final exit.

        Nothing beyond the exit asked for is computed.

        Args:
            x: inputs [batch, channels, height, width]; or all inputs, side inputs among them, as `Inputs`.
            side: side inputs by name, as the model declares them (`backbone.side_inputs`).

        Raises:
            InputError: a side input that a chosen head reads is missing, of another size, or unknown.
        """
        inputs = gathered(x, side, declared=self.backbone.side_inputs)
        beside = side_of(inputs)
        chosen = {exit_.placement: head for exit_, head in zip(self.config.exits, self.heads, strict=True)}
        state: tuple[Tensor, ...] = ()
        for placement, state in enumerate(self.backbone.states(inputs)):
            if placement in chosen:
                yield run_head(chosen[placement], state[0], beside)
        yield self.backbone.final(state)

    def forward(self, x: Batch, **side: Tensor) -> list[Tensor]:
        """Outputs [batch, num_outputs] of every chosen exit in order, and last of the final exit."""
        return list(self.iter_exits(x, **side))

    @classmethod
    def _load(cls, folder: Path, *, device: torch.device | str) -> Self:
        model = load_model(folder, device=device)
        assert isinstance(model, cls)
        return model


def exit_seed(seed: int, placement: int, head: str) -> int:
    """The seed of one head's initial weights: the same whichever other heads are made or trained along."""
    return zlib.crc32(f"{seed}/{placement}/{head}".encode())


def head_file(placement: int, head: str) -> str:
    """Name of the file with one trained head's weights in the folder `heads`."""
    return exit_file(placement, head)


def build_model(
    config: MultiExitConfig,
    *,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    weights: Path | str | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> MultiExitModel:
    """Build the multi-exit model of a configuration, in eval mode.

    Args:
        config: what was chosen.
        pretrained: as in `create_backbone`.
        checkpoint: a safetensors file of the backbone's own weights.
        weights: a safetensors file with the whole multi-exit model (`pretrained` and `checkpoint` are then not looked
            at), or an outcomes folder whose trained heads, and final classifier where it was trained along, are taken;
            None leaves new heads untrained.
        seed: seed of everything that is drawn at random.
        device: where to put it.

    Raises:
        InputError: the configuration names no backbone, or its exits do not fit the backbone.
        FileError: weights that are missing, foreign, or of another model.
        MismatchError: an outcomes folder trained over other weights of the backbone.
    """
    facts = config.backbone
    if facts.name is None:
        raise InputError("the configuration names no backbone (it came from a table); set backbone.name in it")
    whole = weights is not None and not Path(weights).is_dir()
    held = _numbers_held(config, Path(weights)) if whole and weights is not None else None
    backbone = create_backbone(
        facts.name,
        pretrained=False if whole else pretrained,
        checkpoint=None if whole else checkpoint,
        num_outputs=facts.num_outputs,
        image_size=facts.input_size[1:] if facts.input_size else None,
        in_chans=facts.input_size[0] if facts.input_size else None,
        task=facts.task,
        side_inputs=facts.side_inputs,
        device=device,
        seed=seed,
        at_most=held,
    )
    if held is not None:
        _check_heads(backbone, config=config, at_most=held)
    model = attach_exits(backbone, config=config, seed=seed)
    if weights is not None:
        if whole:
            _load_whole(model, Path(weights))
        else:
            load_heads(model, weights)
    return model


def attach_exits(backbone: Backbone, *, config: MultiExitConfig, seed: int = 0) -> MultiExitModel:
    """Attach the exits of a configuration, untrained, to a backbone in memory; in eval mode.

    Args:
        backbone: becomes part of the model.
        config: what was chosen.
        seed: of the heads' initial weights.

    Raises:
        MismatchError: when the configuration is of another backbone.
        InputError: when an exit does not fit.
    """
    facts = config.backbone
    facts.check_same(backbone.facts, mine="the configuration", others="the model")
    device = next(backbone.parameters()).device
    heads: list[nn.Module] = [_exit_head(backbone, exit_, seed=seed).to(device) for exit_ in config.exits]
    return MultiExitModel(backbone, heads=heads, config=config).eval()


def _exit_head(backbone: Backbone, exit_: ExitChoice, *, seed: int, device: str | None = None) -> nn.Module:
    if exit_.placement >= len(backbone.placements):
        raise InputError(
            f"{backbone.facts.name} has placements 0 to {len(backbone.placements) - 1}, the configuration has an exit "
            f"at {exit_.placement}; it was chosen for another backbone; name that one, or search again"
        )
    return create_head(
        exit_.choice,
        placement=backbone.placements[exit_.placement],
        num_outputs=backbone.num_outputs,
        seed=exit_seed(seed, exit_.placement, str(exit_.choice)),
        device=device,
    )


def _numbers_held(config: MultiExitConfig, path: Path) -> int:
    """How many numbers the file of a whole model holds: no model may be larger, whatever its configuration asks for.

    A configuration may come from anywhere; a few bytes of it must not take all memory.
    """
    held = numbers_in(path)
    size = config.backbone.input_size
    if size is not None and math.prod(size) > _LARGEST_INPUT:
        raise FileError(
            path.with_name(CONFIG_FILE), f"an input has at most {_LARGEST_INPUT:,} numbers, found {shown(list(size))}"
        )
    return held


def _check_heads(backbone: Backbone, *, config: MultiExitConfig, at_most: int) -> None:
    """Refuse heads that are larger than the file of the whole model, before they take memory."""
    for exit_ in config.exits:
        head = _exit_head(backbone, exit_, seed=0, device="meta")
        if (needed := sum(tensor.numel() for tensor in head.state_dict().values())) > at_most:
            raise InputError(
                f"the head {exit_.choice} at placement {exit_.placement} has {needed:,} numbers, and the file of the "
                f"whole model holds {at_most:,}; "
                "take the weights that were trained for this configuration"
            )


def load_model(folder: Path | str, *, device: torch.device | str = "cpu") -> MultiExitModel:
    """Load what `exitsearch train` and `save_pretrained` write (`model.safetensors`, `chosen.json`), in eval mode.

    Nothing that the files say is run, and no more memory is taken than for what they hold.

    Raises:
        FileError: when a file is missing, broken, or the weights do not fit the configuration.
        InputError: a model or head that is not known here, or larger than the file of weights.
    """
    folder = Path(folder)
    config = MultiExitConfig.read(folder / CONFIG_FILE)
    return build_model(config, pretrained=False, weights=folder / MODEL_FILE, device=device)


def load_heads(model: MultiExitModel, folder: Path | str) -> None:
    """Take the trained heads of an outcomes folder, and the final classifier where it was trained along.

    Raises:
        FileError: when a head is missing or does not fit.
        MismatchError: when they were trained over other weights of the backbone.
    """
    folder = Path(folder)
    trained_over = Outcomes.load(folder / DOCUMENT_NAME).training.get("weights")
    if trained_over != model.backbone.weights:
        raise MismatchError(
            f"the heads in {folder} were trained over the backbone weights {trained_over}, this model has "
            f"{model.backbone.weights}; give the same --checkpoint or --pretrained, or train the heads again"
        )
    for exit_, head in zip(model.config.exits, model.heads, strict=True):
        load_state(head, folder / HEADS_FOLDER / head_file(exit_.placement, str(exit_.choice)))
    if not model.backbone.final_is_trained:
        load_final(model.backbone, folder)
        model.backbone.final_is_trained = True


def final_parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """Parameters of the backbone's final classifier by their names in its state dict."""
    own = {id(parameter) for part in backbone.final_classifier() for parameter in part.parameters()}
    return {name: parameter for name, parameter in backbone.module.named_parameters() if id(parameter) in own}


def load_final(backbone: Backbone, folder: Path | str) -> None:
    """Take the final classifier that was trained along with the heads.

    Raises:
        FileError: when it is missing or does not fit.
    """
    path = Path(folder) / HEADS_FOLDER / FINAL_FILE
    state, own = read_tensors(path), final_parameters(backbone)
    if state.keys() != own.keys() or any(state[name].shape != own[name].shape for name in own):
        raise FileError(
            path,
            f"not the final classifier of {backbone.facts.name} with {backbone.num_outputs} outputs",
            remedy="train the heads again",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _load_whole(model: MultiExitModel, path: Path) -> None:
    load_state(model, path)
    model.backbone.weights = f"file:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    model.backbone.final_is_trained = True


def load_state(module: nn.Module, path: Path) -> None:
    """Load a safetensors state dict, every tensor of it and no other.

    Raises:
        FileError: when it is missing, broken, or does not fit.
    """
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise FileError(
            path,
            f"the weights do not fit the configuration ({' '.join(lines[1:2]) or lines[0]})",
            remedy="name the folder that was trained for it, or train it again",
        ) from None
