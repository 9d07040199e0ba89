"""Bundle (`bundle.json`): what is deployed, as one folder of graphs, weights and this manifest. No code, no pickles.

    BUNDLE/bundle.json              this document
    BUNDLE/segment_0.onnx, ...      one graph from the input, or one exit, to the next exit; the last one to the end
    BUNDLE/head_0.onnx, ...         one graph for each chosen exit head
    BUNDLE/weights.safetensors      the graphs' weights, each once; graphs name byte ranges in it (ONNX external data)
    BUNDLE/README.md                model card

Under `openvino` each graph is an `.xml` with its `.bin` beside it, and there is no `weights.safetensors`.

Every key is described at its class.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from exitsearch.specs.backbone import Task
from exitsearch.specs.config import Confidence, ExitChoice
from exitsearch.specs.document import Document, Part
from exitsearch.specs.frames.bundle import BUNDLE
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.question.request import AskedRequest, Policy

BUNDLE_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "README.md"

Format = Literal["onnx", "openvino"]
FORMATS: tuple[Format, ...] = ("onnx", "openvino")
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

Milliseconds = Annotated[float, Field(ge=0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,126}[A-Za-z0-9_]$")]


class BundleModel(Part):
    """What answers.

    Attributes:
        name: timm's name of the backbone.
        task: `classification` or `regression`.
        num_outputs: classes, or regression targets.
        classes: names in the order of the outputs; None where they are not known.
    """

    name: str
    task: Task
    num_outputs: int = Field(ge=1)
    classes: list[str] | None = None


class BundleInput(Part):
    """What goes in.

    Attributes:
        name: of the first segment's input.
        size: channels, height and width; a batch has one more axis in front, of any length.
        dtype: of its numbers.
    """

    name: str
    size: tuple[int, int, int]
    dtype: Literal["float32"] = "float32"


class BundleSideInput(Part):
    """What goes into heads beside the features.

    Attributes:
        name: by which it is given.
        size: channels, height and width; a batch has one more axis in front, as the input's.
        dtype: of its numbers.
    """

    name: str
    size: tuple[int, int, int]
    dtype: Literal["float32"] = "float32"


class Preprocessing(Part):
    """From an image to an input: scaled, then cut or padded around the centre to the input's size, then normalised.

    Attributes:
        mode: colours, or greys (`L`).
        resize: height and width that it is scaled to, as `crop_mode` says.
        interpolation: of the scaling, by Pillow's name.
        antialias: always true.
        crop_pct: input size over `resize`, for people.
        crop_mode: `center`: scaled in proportion until `resize` is covered (equal numbers: the shorter side); `squash`:
            scaled to `resize` whatever the proportions; `border`: scaled in proportion to fit into `resize`.
        mean: one number per channel, of pixels in 0..1, which is subtracted.
        std: one number per channel, by which what is left is divided.
    """

    mode: Literal["L", "RGB"]
    resize: tuple[int, int]
    interpolation: str
    antialias: Literal[True] = True
    crop_pct: float = Field(gt=0)
    crop_mode: Literal["center", "squash", "border"]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class BundleSegment(Part):
    """A graph of the backbone.

    Attributes:
        file: its name in the folder.
        inputs: names of the bundle's input or of outputs of the segment before.
        outputs: names; the first is what the head there reads, or the answer.
    """

    file: FileName
    inputs: list[str] = Field(min_length=1)
    outputs: list[str] = Field(min_length=1)


class BundleHead(Part):
    """A graph of an exit head.

    Attributes:
        file: its name in the folder.
        exit: its number among the chosen exits, from 0.
        input: name of a segment's first output.
        output: name of its answer.
        side_inputs: names of those that it reads beside its input; left out where it reads none.
    """

    file: FileName
    exit: int = Field(ge=0)
    input: str
    output: str
    side_inputs: list[str] = []

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty("side_inputs", handler(self))


class Quantiles(Part):
    """Of one graph's time, in ms.

    Attributes:
        median: half of the runs took no longer.
        p90: nine in ten took no longer.
        p99: ninety-nine in a hundred took no longer.
    """

    median: Milliseconds
    p90: Milliseconds
    p99: Milliseconds

    @model_validator(mode="after")
    def _check_order(self) -> Quantiles:
        if not self.median <= self.p90 <= self.p99:
            raise ValueError(f"times must not fall from median to p90 and p99, found {self.median, self.p90, self.p99}")
        return self


class AfterPause(Part):
    """What a request takes longer for the pause before it.

    Attributes:
        pause_ms: so long nothing ran; at least a millionth.
        extra_ms: by which it takes longer in the middle, in ms.
    """

    pause_ms: float = Field(ge=1e-6)
    extra_ms: Milliseconds


class BundleLatency(Part):
    """How long it takes where it was measured.

    Attributes:
        unit: of all times.
        batch_size: that they are of.
        threads: of a run.
        segments: of each segment, in order; where every head is run (all policies but `contract`), behind a head.
        heads: of each head, in order.
        start: the time until an interruptible request begins to run in a thread of its own; None where it was not
            measured.
        slow_down: samples of a whole pass over its median: above 1 the machine was slow.
        after_pause: by rising pause; all other times are those of requests that follow upon each other. Empty where it
            was not measured.
    """

    unit: Literal["ms"] = "ms"
    batch_size: int = Field(ge=1)
    threads: int = Field(ge=1)
    segments: list[Quantiles]
    heads: list[Quantiles]
    start: Quantiles | None = None
    slow_down: list[Annotated[float, Field(gt=0, le=1e6)]] = []
    after_pause: list[AfterPause] = []

    @model_validator(mode="after")
    def _check_pauses(self) -> BundleLatency:
        pauses = [one.pause_ms for one in self.after_pause]
        if sorted(set(pauses)) != pauses:
            raise ValueError("after_pause must stand by rising pause_ms, found another order; sort it")
        return self

    def answers_ms(self, policy: Policy = "interruptible") -> list[float]:
        """When each exit answers at median times, and last the final exit.

        Args:
            policy: under `contract` only the head that answers is run, else every head on the way; under
                `interruptible` a thread of its own has to begin first.
        """
        spent, found = self.start.median if self.start and policy == "interruptible" else 0.0, []
        for segment, head in zip(self.segments, [*self.heads, None], strict=True):
            own = head.median if head else 0.0
            spent += segment.median
            found.append(spent + own)
            spent += 0.0 if policy == "contract" else own
        return found


class ExitAgreement(Part):
    """How far one exit is from what it is in torch in fp32.

    Attributes:
        agreement: share of samples with the same answer; None where there was no data, or for a regression.
        samples: how many were compared.
        split: that they are of.
        largest_difference: between the outputs, over random inputs.
    """

    agreement: float | None = Field(default=None, ge=0, le=1)
    samples: int = Field(default=0, ge=0)
    split: str | None = None
    largest_difference: float | None = Field(default=None, ge=0)


class FileFacts(Part):
    """What a file must be.

    Attributes:
        sha256: of its content, hexadecimal.
        bytes: its size.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Bundle(Document):
    """The manifest of a bundle.

    Attributes:
        created: when, in ISO 8601, UTC.
        model: what answers.
        input: what goes in.
        side_inputs: further inputs that heads read and the segments do not; left out where there are none.
        preprocessing: from an image to an input; None where inputs are not images.
        format: of the graphs: `onnx` or `openvino`.
        precision: `fp32`; `fp16` (weights are kept in half precision and computed with in single); `int8` (weights of
            matrix products in eight bits, what they are multiplied with scaled to eight bits as it comes, one scale a
            tensor: answers depend a little on what else is in the batch).
        opset: version of the ONNX operators; under `openvino` of the graphs that it was made from.
        segments: one per chosen exit, and last the final part.
        heads: one per chosen exit.
        exits: the chosen exits in order.
        latency: of these graphs.
        policy: what the exits were chosen for.
        values: of each exit, the final one last: accuracy, or minus the error; higher is better.
        confidence: thresholds for every budget; None under the other policies.
        fallback: score of having no answer in time; None where it is not known.
        budget: the budget distribution as text, in ms.
        agreement: for each exit, the final one last.
        request: what the search was asked; None where it was not kept.
        profile: identity and condition of the profile that the search used, and under `latency` where the times above
            come from, the verdict on them, and what was compared at export.
        outcomes: identity and source of the outcomes that the search used, and under `values` where the values above
            come from.
        files: by name, every file of the folder but this one.
    """

    kind: ClassVar[str] = "bundle"
    frame: ClassVar[Frame] = BUNDLE
    created: str = ""
    model: BundleModel
    input: BundleInput
    side_inputs: list[BundleSideInput] = []
    preprocessing: Preprocessing | None = None
    format: Format
    precision: Precision
    opset: int = Field(ge=1)
    segments: list[BundleSegment] = Field(min_length=1)
    heads: list[BundleHead]
    exits: list[ExitChoice]
    latency: BundleLatency
    policy: Policy
    values: list[float]
    confidence: Confidence | None = None
    fallback: float | None = None
    budget: str
    agreement: list[ExitAgreement]
    request: AskedRequest | None = None
    profile: dict[str, Any] = {}
    outcomes: dict[str, Any] = {}
    files: dict[FileName, FileFacts]

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if data.get("kind", cls.kind) != cls.kind:
                raise ValueError(f"kind must be {cls.kind!r}, found {data['kind']!r}")
            data = {key: value for key, value in data.items() if key != "kind"}
        return data

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        data = _without_empty("side_inputs", data)
        return {"schema_version": data.pop("schema_version"), "kind": self.kind, **data}

    @model_validator(mode="after")
    def _check_together(self) -> Bundle:
        count = len(self.exits)
        lengths: dict[str, tuple[Sized, int]] = {
            "segments": (self.segments, count + 1),
            "heads": (self.heads, count),
            "values": (self.values, count + 1),
            "agreement": (self.agreement, count + 1),
            "latency.segments": (self.latency.segments, count + 1),
            "latency.heads": (self.latency.heads, count),
        }
        for key, (items, needed) in lengths.items():
            if len(items) != needed:
                raise ValueError(f"{key} must have {needed} items for {count} exits, found {len(items)}")
        if [head.exit for head in self.heads] != list(range(count)):
            raise ValueError(f"heads must be those of exits 0 to {count - 1} in order")
        if (self.policy == "confidence") != (self.confidence is not None):
            raise ValueError(f"confidence must stand there exactly under the policy confidence, found {self.policy}")
        self._check_graphs()
        self._check_side_inputs()
        return self

    def _check_side_inputs(self) -> None:
        """Each is declared once and read by some head, under a name of its own."""
        names = [side.name for side in self.side_inputs]
        taken = {self.input.name, *(name for segment in self.segments for name in segment.outputs)}
        if len(set(names)) != len(names) or taken & set(names):
            raise ValueError(f"every side input has a name of its own, found {', '.join(names)}")
        for number, head in enumerate(self.heads):
            if strange := sorted(set(head.side_inputs) - set(names)):
                raise ValueError(f"heads[{number}].side_inputs must be among side_inputs, found {strange[0]!r}")
        if unread := sorted(set(names) - {name for head in self.heads for name in head.side_inputs}):
            raise ValueError(f"every side input is read by a head, found {unread[0]!r} that none reads")

    def _check_graphs(self) -> None:
        """Every graph is a file of its own, and takes what stands ready where it runs."""
        used = [*(segment.file for segment in self.segments), *(head.file for head in self.heads)]
        for name in used:
            if name not in self.files or used.count(name) > 1:
                raise ValueError(f"every graph must be a file of its own among files, found {name!r}")
        if BUNDLE_FILE in self.files:
            raise ValueError(f"files must name every file but {BUNDLE_FILE} itself")
        ready = [self.input.name]
        for number, segment in enumerate(self.segments):
            if strange := sorted(set(segment.inputs) - set(ready)):
                raise ValueError(f"segments[{number}] takes {strange[0]!r}; ready there: {', '.join(ready)}")
            ready = segment.outputs
            if number < len(self.heads) and self.heads[number].input != ready[0]:
                raise ValueError(f"heads[{number}].input must be {ready[0]!r}, found {self.heads[number].input!r}")


def _without_empty(key: str, data: dict[str, Any]) -> dict[str, Any]:
    """A document's data without a list that is empty: one that other versions read, too."""
    return {name: value for name, value in data.items() if name != key or value}
