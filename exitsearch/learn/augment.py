"""Changes of a training batch that leave its labels right: `flip` for images, `specaugment` for spectrograms.

Features of the frozen backbone are computed anew in every pass, so that heads can be shown changed inputs at no cost.
Every change is drawn from a seed of the training, the epoch and the step alone: all heads see the same batch, whichever
are trained along, and a resumed run sees it again. Held-out inputs are never changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor

from exitsearch.errors import one_of
from exitsearch.models.inputs import Batch, Inputs

# SpecAugment's policy for Switchboard, mild (2019, arXiv 1904.08779, table 1): two masks of up to 15 of 80 bands, two
# of up to a fifth of the frames; no time warping, which its table 6 finds worth least.
_MASKS = 2
_WIDEST_BAND_MASK = 15 / 80
_WIDEST_FRAME_MASK = 0.2


def flip(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each of [batch, channels, height, width] left to right with probability 1/2."""
    chosen = torch.rand(len(inputs), generator=generator) < 0.5
    return torch.where(chosen.to(inputs.device)[:, None, None, None], inputs.flip(-1), inputs)


def specaugment(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Replace bands and frames of each spectrogram [batch, channels, bands, frames] by its mean.

    Two runs of bands, each of 0 to 15 in 80 of them, and two of frames, each of none to a fifth of them.
    """
    count, _, bands, frames = inputs.shape
    rows = _runs(count, bands, _WIDEST_BAND_MASK, generator)[:, None, :, None]
    columns = _runs(count, frames, _WIDEST_FRAME_MASK, generator)[:, None, None, :]
    means = inputs.mean((1, 2, 3), keepdim=True)
    return torch.where((rows | columns).to(inputs.device), means, inputs)


def _runs(count: int, length: int, widest: float, generator: torch.Generator) -> Tensor:
    """Which places are in one of two runs, at most a share `widest` of the axis each [count, length]."""
    drawn = torch.rand(2, count, _MASKS, 1, generator=generator)
    widths = (drawn[0] * (int(widest * length) + 1)).floor()
    starts = (drawn[1] * (length - widths + 1)).floor()
    places = torch.arange(length)
    return ((places >= starts) & (places < starts + widths)).any(1)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"flip": flip, "specaugment": specaugment}


def read_augmentations(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Names of augmentations, as `flip,specaugment` or one by one, in the order in which they are made.

    >>> read_augmentations("specaugment, flip")
    ('flip', 'specaugment')

    Raises:
        InputError: when there is none of a name.
    """
    asked = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names or ())
    for name in asked:
        if name not in AUGMENTATIONS:
            raise one_of("augmentation", name, AUGMENTATIONS)
    return tuple(name for name in AUGMENTATIONS if name in asked)


@overload
def augment(inputs: Tensor, names: Iterable[str], *, seed: int, epoch: int, step: int) -> Tensor: ...
@overload
def augment(inputs: Inputs, names: Iterable[str], *, seed: int, epoch: int, step: int) -> Inputs: ...
def augment(inputs: Batch, names: Iterable[str], *, seed: int, epoch: int, step: int) -> Batch:
    """A training batch [batch, channels, height, width], changed as named; the same for the same numbers.

    Args:
        inputs: prepared for the backbone; left as they are. Of several inputs only the backbone's own are changed.
        names: of augmentations, known ones.
        seed: of the training.
        epoch: from 0.
        step: of the epoch, from 0.
    """
    if isinstance(inputs, Inputs):
        return inputs.with_x(augment(inputs.x, names, seed=seed, epoch=epoch, step=step))
    for name in names:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}/{epoch}/{step}".encode()))
        inputs = AUGMENTATIONS[name](inputs, generator)
    return inputs
