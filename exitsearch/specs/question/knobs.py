"""Knobs: what a search may turn besides the exits. A *setting* is one value of each.

[knobs]                       # in a search space
dtype = ["fp32", "bf16"]
runtime = ["eager", "onnxruntime"]
threads = [1, 2]
batch_size = [1, 8]
input_size = [224, 256]       # side in pixels

[knobs.heads.gah]             # options of a head type
stride = [1, 2]
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from exitsearch.errors import InputError
from exitsearch.specs.document import Part
from exitsearch.specs.head import HeadChoice, Option

Dtype = Literal["fp32", "bf16", "fp16"]
Size = Annotated[int, Field(ge=1)]

# Every setting is listed before the first is tried; nobody tries more than some hundred.
MOST_SETTINGS = 10_000


class Setting(Part):
    """One value of every knob, and the values of what is no knob.

    Attributes:
        dtype: that the model computes in.
        runtime: that runs it: `eager`, `compile`, `cudagraph`, `onnxruntime` or `openvino`.
        threads: CPU threads.
        batch_size: inputs of one batch.
        input_size: side of the input in pixels; None means the backbone's own.
        heads: options of head types; heads that are not among them keep the options that they have.
    """

    dtype: Dtype
    runtime: str
    threads: Size
    batch_size: Size
    input_size: Size | None = None
    heads: dict[str, dict[str, Option]] = {}

    @property
    def condition(self) -> Setting:
        """The setting without its head options: what a profile is measured in."""
        return self.model_copy(update={"heads": {}})

    def __str__(self) -> str:
        size = [] if self.input_size is None else [f"{self.input_size} px"]
        heads = [str(HeadChoice(name, options)) for name, options in sorted(self.heads.items())]
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return ", ".join([self.dtype, self.runtime, threads, f"batches of {self.batch_size}", *size, *heads])


class ChosenSetting(Setting):
    """The setting that a configuration was chosen under. Its head options stand in the exits.

    Attributes:
        settings: how many settings there are.
        tried: how many of them were tried to the end, or found impossible.
        proved: whether no exits under any setting are worth more.
    """

    settings: int = Field(ge=1)
    tried: int = Field(ge=0)
    proved: bool


class Knobs(Part):
    """Values to choose from, a list each; an empty list is no knob.

    Attributes:
        dtype: to compute in.
        runtime: to run the model, as for `--runtime`.
        threads: CPU threads.
        batch_size: inputs of one batch; budgets are then for one input.
        input_size: sides of the input, in pixels.
        heads: by head type and option.
        prune: whether a setting whose heads do badly after a few epochs is given up; None means that it is when there
            are more settings than trials.
    """

    dtype: list[Dtype] = []
    runtime: list[str] = []
    threads: list[Size] = []
    batch_size: list[Size] = []
    input_size: list[Size] = []
    heads: dict[str, dict[str, list[Option]]] = {}
    prune: bool | None = None

    @field_validator("dtype", "runtime", "threads", "batch_size", "input_size")
    @classmethod
    def _check_values(cls, values: list[Option]) -> list[Option]:
        _check_distinct(values)
        return values

    @field_validator("heads")
    @classmethod
    def _check_options(cls, heads: dict[str, dict[str, list[Option]]]) -> dict[str, dict[str, list[Option]]]:
        for name, options in heads.items():
            for option, values in options.items():
                if not values:
                    raise ValueError(f"a knob needs a value, found none for {option} of {name}")
                _check_distinct(values)
        return heads

    @property
    def values(self) -> dict[str, list[Option]]:
        """Every knob by its name (`dtype`, `gah.stride`) and its values."""
        plain: dict[str, list[Option]] = {name: list(getattr(self, name)) for name in _CONDITION}
        options = {f"{name}.{key}": list(v) for name, keys in self.heads.items() for key, v in keys.items()}
        return {name: values for name, values in {**plain, **options}.items() if values}

    @property
    def need_training(self) -> bool:
        """Whether settings differ in what their heads learn."""
        return any(name == "input_size" or "." in name for name in self.values)

    def parameters(self, setting: Setting) -> dict[str, Option]:
        """The value of every knob in a setting."""
        plain: dict[str, Option] = {name: getattr(setting, name) for name in _CONDITION}
        options = {f"{name}.{key}": value for name, keys in setting.heads.items() for key, value in keys.items()}
        return {name: {**plain, **options}[name] for name in self.values}

    def settings(self, otherwise: Setting) -> list[Setting]:
        """Every setting; the first takes the first value of each knob, and the last knob turns fastest.

        Args:
            otherwise: values of what is no knob.

        Raises:
            InputError: when there are more than can be listed.
        """
        values = self.values
        count = math.prod(len(choices) for choices in values.values())
        if count > MOST_SETTINGS:
            raise InputError(f"the knobs make at most {MOST_SETTINGS} settings, found {count}; leave some values out")
        found = []
        for chosen in itertools.product(*values.values()):
            parameters = dict(zip(values, chosen, strict=True))
            heads = {
                name: {key: parameters[f"{name}.{key}"] for key in options} for name, options in self.heads.items()
            }
            plain = {name: value for name, value in parameters.items() if name in _CONDITION}
            found.append(otherwise.model_copy(update={**plain, "heads": heads}))
        return found


_CONDITION = ("dtype", "runtime", "threads", "batch_size", "input_size")


def _check_distinct(values: list[Option]) -> None:
    # By equality: a study cannot tell 1 and true apart either.
    if len(set(values)) < len(values):
        raise ValueError(f"each value of a knob once is needed, found {values}")
