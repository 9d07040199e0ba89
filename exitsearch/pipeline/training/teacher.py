"""A teacher for distillation: a timm model, a checkpoint, or a trained multi-exit model, behind the student's inputs.

Data are prepared for the student. Its inputs are brought back to images in 0..1, to the teacher's size and channels,
and into the teacher's normalisation, so that each sample is read and changed once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.errors import InputError, MismatchError

if TYPE_CHECKING:
    from torch import nn

    from exitsearch.models.backbone import Backbone

_CHECKPOINT = ".safetensors"


def load_teacher(source: str, *, student: Backbone) -> nn.Module:
    """A module from the student's inputs to the teacher's logits [batch, num_outputs].

    Args:
        source: timm's name of a model, which comes with its pretrained weights; `FILE.safetensors`, weights of a model
            of the student's kind; `MODEL:FILE.safetensors`, weights of another model; or the folder of a trained
            multi-exit model, whose final exit teaches.
        student: for which the data are prepared.

    Raises:
        InputError: no such model, or weights that do not fit.
        UnavailableError: pretrained weights that cannot be had here.
        MismatchError: a teacher with other outputs than the student.
    """
    from exitsearch.learn.engine.batches.teacher import Translated
    from exitsearch.models.backbone import create_backbone
    from exitsearch.models.multi_exit import load_model

    facts = student.facts
    if Path(source).is_dir():
        teacher = load_model(source).backbone
    else:
        name, _, file = source.rpartition(":") if source.endswith(_CHECKPOINT) else (source, "", "")
        alike = file != "" and name in ("", facts.name)
        if alike and facts.name is None:
            raise InputError(
                f"the student has no name, so {source} must say of which model it is: MODEL:{file}; write it in that "
                "form"
            )
        teacher = create_backbone(
            facts.name if alike and facts.name else name,
            pretrained=None if file else True,
            checkpoint=Path(file) if file else None,
            num_outputs=facts.num_outputs if file else None,
            image_size=student.input_size[1:] if alike else None,
            in_chans=student.input_size[0] if alike else None,
            task=facts.task,
        )
    theirs = teacher.facts
    if (theirs.num_outputs, theirs.task) != (facts.num_outputs, facts.task):
        raise MismatchError(
            f"a teacher answers as its student does; {source} has {theirs.num_outputs} outputs ({theirs.task}), the "
            f"student {facts.num_outputs} ({facts.task}); give a teacher that was trained on these data "
            "(MODEL:FILE.safetensors)"
        )
    return Translated(teacher, student=student)
