"""Translated: another model behind the inputs that were prepared for the one that trains."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.learn.engine.batches.batch import Normalisation
from exitsearch.models.backbone import Backbone


class Translated(nn.Module):
    """A model that answers to another one's inputs, each sample in its own size, channels and normalisation.

    Args:
        teacher: answers; in eval mode.
        student: for which the inputs are prepared.

    Raises:
        InputError: the student's channels can be neither repeated nor averaged into the teacher's.
    """

    def __init__(self, teacher: Backbone, *, student: Backbone) -> None:
        super().__init__()
        mine, theirs = student.input_size[0], teacher.input_size[0]
        if mine != theirs and 1 not in (mine, theirs):
            raise InputError(
                f"inputs of {mine} channels cannot teach through {teacher.facts.name}, which takes {theirs}; 1 channel "
                "is repeated, any number is averaged into 1; "
                "take a teacher of as many channels, or of 1"
            )
        self.teacher = teacher.eval()
        self.size = teacher.input_size
        self.theirs, self.mine = Normalisation.of(teacher), Normalisation.of(student)
        self.is_same = self.theirs == self.mine

    def forward(self, inputs: Tensor) -> Tensor:
        """The teacher's outputs [batch, num_outputs] to the student's inputs [batch, channels, height, width]."""
        if self.is_same and tuple(inputs.shape[1:]) == self.size:
            same: Tensor = self.teacher(inputs)
            return same
        channels, height, width = self.size
        images = self.mine.undo(inputs)
        if images.shape[1] != channels:
            images = images.mean(1, keepdim=True) if channels == 1 else images.expand(-1, channels, -1, -1)
        if images.shape[-2:] != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)
        outputs: Tensor = self.teacher(self.theirs.apply(images))
        return outputs
