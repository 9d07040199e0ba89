"""The manifest of a bundle, `bundle.json`: what is in the folder, what it takes and answers, and how long it takes.

Plain data; `read_manifest.py` fills it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "bundle.json"


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file must be.

    Attributes:
        sha256: of its bytes, in hexadecimal digits.
        bytes: how many there are.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """A graph and what goes in and comes out.

    Attributes:
        file: its name in the bundle.
        inputs: names, the model's input or outputs of the segment before; of a head the features, then side inputs.
        outputs: names; the first is what a head reads, or the answer. Empty for a head, which has one.
    """

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an image to an input, as the model was trained; timm's evaluation transform in its own words.

    Attributes:
        mode: of PIL: `RGB` or `L` (grey).
        resize: (height, width) that the image is resized for; equal numbers are the length of the shorter side under
            `center` and of the longer one under `border`.
        interpolation: of resizing, always with antialiasing.
        crop_mode: `center` and `border` keep the image's proportions, `squash` does not.
        mean, std: normalisation of numbers from 0 to 1, one per channel.
    """

    mode: str
    resize: tuple[int, int]
    interpolation: str
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times in ms of a whole batch of `batch_size` where the bundle was measured.

    Attributes:
        batch_size: inputs in a batch.
        threads: that were used.
        segments: quantile (0.5, 0.9, 0.99) to the time of each segment, the final part last.
        heads: the same of each exit's head.
        slow_down: samples of how much slower than its median a whole pass was.
        after_pause: pauses in ms, rising, and by how many ms a request takes longer after each.
    """

    batch_size: int
    threads: int
    segments: dict[float, tuple[float, ...]]
    heads: dict[float, tuple[float, ...]]
    slow_down: tuple[float, ...]
    after_pause: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """An operating point of the policy `confidence`.

    Attributes:
        budget_ms: from this limit of the mean latency on (or of the quantile that the table names).
        thresholds: an input leaves at the first exit whose score is at least its threshold; None: that exit's head is
            not run (under `patience`: it is run, and nothing leaves).
    """

    budget_ms: float
    thresholds: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """The table by which the policy `confidence` runs.

    Attributes:
        score: `softmax`, `entropy`, `margin` or `patience`.
        temperatures: by which each exit's outputs are divided before the softmax; the final exit's is 1.
        points: by rising budget.
    """

    score: str
    temperatures: tuple[float, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bundle's manifest.

    Attributes:
        model: name of the backbone.
        task: `classification` or `regression`.
        num_outputs: numbers in an answer.
        classes: their names in order; None where they have none.
        input_name: of the first segment.
        input_size: (channels, height, width).
        dtype: of the input: `float32` or `float16`.
        preprocessing: None where inputs are not images.
        format: `onnx` or `openvino`.
        precision: `fp32`, `fp16` or `int8`.
        segments: one per chosen exit, the final part last.
        heads: one per chosen exit.
        exits: the chosen exits in words, as `3:linear`, last `final`.
        policy: that the exits were chosen for.
        values: value of every exit, the final one last; higher is better.
        confidence: None where there is no table.
        budget: the budget distribution as text.
        files: every file of the folder but the manifest.
        side_inputs: (channels, height, width) of each further input that heads read, by name.
    """

    model: str
    task: str
    num_outputs: int
    classes: tuple[str, ...] | None
    input_name: str
    input_size: tuple[int, int, int]
    dtype: str
    preprocessing: Preprocessing | None
    format: str
    precision: str
    segments: tuple[GraphFacts, ...]
    heads: tuple[GraphFacts, ...]
    exits: tuple[str, ...]
    latency: Latency
    policy: str
    values: tuple[float, ...]
    confidence: Confidence | None
    budget: str
    files: dict[str, FileFacts]
    side_inputs: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
