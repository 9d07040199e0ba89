"""The batches of a training: which samples, changed how, and what they are to be answered with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.augment import augment
from exitsearch.learn.data import DataSplits
from exitsearch.learn.data.transform import per_channel
from exitsearch.learn.recipes.recipe import Stage
from exitsearch.learn.targets import TargetScale
from exitsearch.models.backbone import Backbone
from exitsearch.models.inputs import Batch, Inputs, main_input
from exitsearch.specs.side import side_text

# Inputs that are images lie in 0..1 once their normalisation is undone; resizing may overshoot a little.
_OVERSHOOT = 0.25


@dataclass(frozen=True)
class Normalisation:
    """How a backbone's inputs come from images in 0..1.

    Attributes:
        mean: one number per channel.
        std: the same.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, backbone: Backbone) -> Normalisation:
        """By timm's `pretrained_cfg`, as data for that backbone are prepared."""
        config: dict[str, Any] = getattr(backbone.module, "pretrained_cfg", None) or {}
        channels = backbone.input_size[0]
        return cls(
            per_channel(config.get("mean", (0.5,)), channels),
            per_channel(config.get("std", (0.5,)), channels),
        )

    def undo(self, inputs: Tensor) -> Tensor:
        """Images in 0..1 of inputs [batch, channels, height, width]."""
        mean, std = self._like(inputs)
        return inputs * std + mean

    def apply(self, images: Tensor) -> Tensor:
        """Inputs of images in 0..1 [batch, channels, height, width]."""
        mean, std = self._like(images)
        return (images - mean) / std

    def _like(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (tensor.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        return mean, std


class Changes:
    """What a stage does to its batches: augmentation, mixing, soft or standardised targets.

    Args:
        stage: which names it.
        data: of the training.
        backbone: for which inputs are normalised.
        scale: that regression targets are learnt in; None: in their own.

    Raises:
        InputError: changes that do not go with the task or with the inputs, or that timm does not know.
    """

    def __init__(self, stage: Stage, *, data: DataSplits, backbone: Backbone, scale: TargetScale | None) -> None:
        if data.side_inputs and (stage.mixup or stage.cutmix):
            raise InputError(
                f"mixup and cutmix mix pictures with their labels, and the data {data.name} comes with the side inputs "
                f"{side_text(data.side_inputs)}, which would stay unmixed; set mixup and cutmix to 0 in the stage "
                f"{stage.name!r}"
            )
        self.stage, self.scale, self.outputs = stage, scale, data.num_outputs
        self.normalisation = Normalisation.of(backbone)
        self.is_class = data.task == "classification"
        self.mixup = (
            Mixup(  # type: ignore[no-untyped-call]
                mixup_alpha=stage.mixup,
                cutmix_alpha=stage.cutmix,
                label_smoothing=stage.label_smoothing,
                num_classes=data.num_outputs,
            )
            if stage.mixup or stage.cutmix
            else None
        )
        self.rand_augment = None if stage.rand_augment is None else self._rand_augment(stage.rand_augment)

    def _rand_augment(self, text: str) -> Any:
        grey = tuple(round(255 * number) for number in self.normalisation.mean)
        # Images of one channel pass as three equal ones, since timm's operations are for colours.
        fill = grey if len(grey) == 3 else grey[:1] * 3
        try:
            return rand_augment_transform(text, {"img_mean": fill, "translate_const": 10})
        except (AssertionError, KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"a RandAugment is written as timm does, such as rand-m9-n2-mstd0.5, found {text!r} ({error}); write "
                "it in that form"
            ) from None

    def __call__(self, inputs: Batch, labels: Tensor, *, seed: int, epoch: int, step: int) -> tuple[Batch, Tensor]:
        """A training batch as the loss is shown it; draws from the streams that the caller has seeded.

        Args:
            inputs: [batch, channels, height, width], prepared for the backbone; left as they are. Of several inputs
                the main one alone is changed.
            labels: class indices or targets [batch, ...].
            seed: of the named augmentations.
            epoch: from 0.
            step: of the epoch, from 0.
        """
        if self.rand_augment is not None:
            changed = self._augmented(main_input(inputs))
            inputs = inputs.with_x(changed) if isinstance(inputs, Inputs) else changed
        inputs = augment(inputs, self.stage.augment, seed=seed, epoch=epoch, step=step)
        if not self.is_class:
            return inputs, labels if self.scale is None else self.scale.standardise(labels)
        if bool((labels < 0).any()):  # unlabelled samples, in a stage that does not look at labels
            return inputs, labels
        if self.mixup is not None and len(labels) > 1:
            assert not isinstance(inputs, Inputs)
            even = len(labels) // 2 * 2  # mixing pairs samples
            mixed: tuple[Tensor, Tensor] = self.mixup(inputs[:even].clone(), labels[:even])
            return mixed
        if self.mixup is not None or self.stage.label_smoothing:
            soft: Tensor = mixup_target(  # type: ignore[no-untyped-call]
                labels, self.outputs, smoothing=self.stage.label_smoothing
            )
            return inputs, soft
        return inputs, labels

    def _augmented(self, inputs: Tensor) -> Tensor:
        """Inputs changed by RandAugment, one by one: timm's works on images."""
        assert self.rand_augment is not None
        images = self.normalisation.undo(inputs.float()).cpu()
        low, high = float(images.min()), float(images.max())
        if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
            raise InputError(
                f"rand_augment is for images, whose values lie in 0..1, found {low:.3g} to {high:.3g}; take "
                "--augment specaugment for spectrograms"
            )
        channels = images.shape[1]
        pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, max(3, channels), -1, -1)
        changed = [
            torch.from_numpy(np.asarray(self.rand_augment(Image.fromarray(one.permute(1, 2, 0).numpy()))).copy())
            for one in pixels
        ]
        made = torch.stack(changed).permute(0, 3, 1, 2)[:, :channels].to(inputs.device, inputs.dtype) / 255
        return self.normalisation.apply(made)


def own_share(batch: list[int], *, rank: int, count: int) -> list[int]:
    """The samples of a batch that one of several processes computes; each has at least one.

    >>> [own_share([5, 6, 7], rank=rank, count=2) for rank in (0, 1)], own_share([5], rank=1, count=2)
    ([[5, 7], [6]], [5])
    """
    return batch[rank::count] or batch[:1]


def parts(size: int, *, count: int) -> list[slice]:
    """A batch of so many samples in parts of nearly one size, of at least two samples where there are two.

    A batch norm cannot learn from one sample.

    >>> parts(5, count=2), parts(3, count=2), parts(1, count=4)
    ([slice(0, 3, None), slice(3, 5, None)], [slice(0, 3, None)], [slice(0, 1, None)])
    """
    count = max(1, min(count, size // 2))
    ends = [-(-size * number // count) for number in range(count + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]
