"""Reading `bundle.json` with plain json, checked whole: every type, range and count, and the rules between parts.

What only other programs read (agreement, the request, where the numbers came from) may hold anything.
"""

from __future__ import annotations

import re

from ..errors import shown
from .fields import FieldError, Fields, items, number, parse_document, text, whole
from .manifest import NAME, Confidence, FileFacts, GraphFacts, Latency, Manifest, Point, Preprocessing

VERSION = 1

# Bounds beyond which nothing is a bundle of ours: four times the largest real ones, or more.
_MOST_EXITS = 256
_MOST_FILES = 2048
_MOST_STATES = 64
_MOST_SIDE_INPUTS = 64
_MOST_OUTPUTS = 1_000_000
_MOST_NUMBERS = 2**28  # of one input: a gigabyte
_MOST_SAMPLES = 1_000_000
_MOST_POINTS = 10_000
_MOST_PAUSES = 1_000
_LONGEST_MS = 1e9
_LARGEST_FILE = 2**40

# A name without folders, which no system takes for a device, an option or a hidden file.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,126}[A-Za-z0-9_]")
_DIGEST = re.compile(r"[0-9a-f]{64}")

POLICIES = ("interruptible", "contract", "confidence")
SCORES = ("softmax", "entropy", "margin", "patience")
TASKS = ("classification", "regression")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")

_READ_HERE = ["schema_version", "kind", "created", "model", "input", "preprocessing", "format", "precision", "opset"]
_READ_HERE += [
    "side_inputs",
    "segments",
    "heads",
    "exits",
    "latency",
    "policy",
    "values",
    "confidence",
    "budget",
    "files",
]
_FOR_OTHERS = ["fallback", "agreement", "request", "profile", "outcomes"]


def read_manifest(raw: bytes) -> Manifest:
    """Read and check `bundle.json`.

    Args:
        raw: its bytes.

    Raises:
        FieldError: naming the key, the rule and what was found.
    """
    document = parse_document(raw)
    version = document.get("schema_version")
    if document.get("kind") != "bundle" or "schema_version" not in document:
        raise FieldError(f"not the manifest of a bundle: kind must be 'bundle', found {shown(document.get('kind'))}")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise FieldError(f"schema_version {shown(version)} is newer than the {VERSION} that this package reads")
    fields = Fields(document, known=_READ_HERE + _FOR_OTHERS)
    fields.whole("schema_version", low=1, high=VERSION)
    model = Fields(fields.get("model"), where="model", known=("name", "task", "num_outputs", "classes"))
    num_outputs = model.whole("num_outputs", low=1, high=_MOST_OUTPUTS)
    inputs = Fields(fields.get("input"), where="input", known=("name", "size", "dtype"))
    size = _size(inputs)
    fields.text("created")
    exits = fields.items("exits", _exit, most=_MOST_EXITS)
    count = len(exits)
    found = Manifest(
        model=model.text("name"),
        task=model.choice("task", TASKS),
        num_outputs=num_outputs,
        classes=_classes(model, num_outputs),
        input_name=inputs.text("name", longest=200),
        input_size=size,
        side_inputs=_side_inputs(fields),
        dtype=inputs.choice("dtype", ("float32", "float16")),
        preprocessing=_preprocessing(fields, size),
        format=fields.choice("format", ("onnx", "openvino")),
        precision=fields.choice("precision", ("fp32", "fp16", "int8")),
        segments=fields.items("segments", _segment, least=count + 1, most=count + 1),
        heads=fields.items("heads", _head, least=count, most=count),
        exits=(*exits, "final"),
        latency=_latency(fields, count),
        policy=fields.choice("policy", POLICIES),
        values=fields.items("values", _value, least=count + 1, most=count + 1),
        confidence=_confidence(fields, count),
        budget=fields.text("budget", longest=10_000),
        files=_files(fields),
    )
    if found.format == "onnx":
        fields.whole("opset", low=1, high=1000)
    _check_together(found)
    return found


def _check_together(found: Manifest) -> None:
    """The rules that hold between parts."""
    for place, graphs in (("segments", found.segments), ("heads", found.heads)):
        for position, graph in enumerate(graphs):
            if graph.file not in found.files:
                raise FieldError(f"{place}[{position}].file must be one of files, found {shown(graph.file)}")
    used = [graph.file for graph in (*found.segments, *found.heads)]
    if len(set(used)) != len(used):
        raise FieldError(f"every graph has a file of its own, found {shown(max(used, key=used.count))} again")
    ready: tuple[str, ...] = (found.input_name,)
    for position, segment in enumerate(found.segments):
        if strange := sorted(set(segment.inputs) - set(ready)):
            raise FieldError(
                f"segments[{position}].inputs must be outputs of the segment before (the input, for the first): "
                f"{', '.join(ready)}; found {shown(strange[0])}"
            )
        ready = segment.outputs
        if position < len(found.heads) and found.heads[position].inputs[0] != ready[0]:
            raise FieldError(
                f"heads[{position}].input must be the first output of segments[{position}], {ready[0]}, found "
                f"{shown(found.heads[position].inputs[0])}"
            )
    _check_side_inputs(found)
    if found.confidence is not None and (found.task != "classification" or found.num_outputs < 2):
        raise FieldError(
            f"confidence needs a classification of at least 2 outputs, found {found.task} with {found.num_outputs}"
        )
    if (found.policy == "confidence") and found.confidence is None:
        raise FieldError("confidence must stand there under the policy confidence, found null")


def _check_side_inputs(found: Manifest) -> None:
    """A name stands for one thing, and nothing is asked of a request that no head reads."""
    made = {found.input_name, *(name for segment in found.segments for name in segment.outputs)}
    if taken := sorted(made & set(found.side_inputs)):
        raise FieldError(f"side_inputs must have names of their own, found {shown(taken[0])}, which a segment has")
    read: set[str] = set()
    for position, head in enumerate(found.heads):
        if strange := sorted(set(head.inputs[1:]) - set(found.side_inputs)):
            raise FieldError(f"heads[{position}].side_inputs must be among side_inputs, found {shown(strange[0])}")
        read |= set(head.inputs[1:])
    if unread := sorted(set(found.side_inputs) - read):
        raise FieldError(f"every side input is read by a head, found {shown(unread[0])} that none reads")


def _size(fields: Fields) -> tuple[int, int, int]:
    """(channels, height, width) under `size`."""
    size = fields.items("size", _side, least=3, most=3)
    if size[0] * size[1] * size[2] > _MOST_NUMBERS:
        raise FieldError(f"{fields.place('size')} must hold at most {_MOST_NUMBERS} numbers, found {list(size)}")
    return size[0], size[1], size[2]


def _side_inputs(fields: Fields) -> dict[str, tuple[int, int, int]]:
    """Sizes by name; a bundle that has none does not speak of them."""
    if fields.optional("side_inputs") is None:
        return {}

    def side_input(found: object, where: str) -> tuple[str, tuple[int, int, int]]:
        one = Fields(found, where=where, known=("name", "size", "dtype"))
        one.choice("dtype", ("float32", "float16"))
        return one.text("name", longest=200), _size(one)

    each = fields.items("side_inputs", side_input, most=_MOST_SIDE_INPUTS)
    _unique(tuple(name for name, _ in each), "side_inputs")
    if sum(size[0] * size[1] * size[2] for _, size in each) > _MOST_NUMBERS:
        raise FieldError(f"side_inputs must hold at most {_MOST_NUMBERS} numbers together, found more")
    return dict(each)


def _side(found: object, where: str) -> int:
    return whole(found, where=where, low=1, high=65536)


def _value(found: object, where: str) -> float:
    return number(found, where=where, low=-1e30, high=1e30)


def _temperature(found: object, where: str) -> float:
    return number(found, where=where, low=1e-6, high=1e6)


def _short(found: object, where: str) -> str:
    return text(found, where=where, longest=200)


def _unique(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise FieldError(f"{where} must hold every name once, found {shown(max(names, key=names.count))} again")
    return names


def _file_name(found: object, where: str) -> str:
    if not isinstance(found, str) or not _FILE_NAME.fullmatch(found) or found == NAME:
        raise FieldError(
            f"{where} must be a name in the bundle's own folder, 2 to 128 of A-Z a-z 0-9 . _ - and no dot at either "
            f"end, found {shown(found)}"
        )
    return found


def _exit(found: object, where: str) -> str:
    fields = Fields(found, where=where, known=("placement", "head", "options", "module"))
    if not isinstance(fields.optional("options") or {}, dict):
        raise FieldError(f"{where}.options must be an object, found {shown(fields.optional('options'))}")
    return f"{fields.whole('placement', low=0, high=100_000)}:{fields.text('head', longest=200)}"


def _segment(found: object, where: str) -> GraphFacts:
    fields = Fields(found, where=where, known=("file", "inputs", "outputs"))
    return GraphFacts(
        file=_file_name(fields.get("file"), f"{where}.file"),
        inputs=_unique(fields.items("inputs", _short, least=1, most=_MOST_STATES), f"{where}.inputs"),
        outputs=_unique(fields.items("outputs", _short, least=1, most=_MOST_STATES), f"{where}.outputs"),
    )


def _head(found: object, where: str) -> GraphFacts:
    fields = Fields(found, where=where, known=("file", "exit", "input", "output", "side_inputs"))
    position = int(where[where.index("[") + 1 : -1])
    fields.whole("exit", low=position, high=position)
    beside: tuple[str, ...] = ()
    if fields.optional("side_inputs") is not None:
        beside = _unique(fields.items("side_inputs", _short, most=_MOST_SIDE_INPUTS), f"{where}.side_inputs")
    return GraphFacts(
        file=_file_name(fields.get("file"), f"{where}.file"), inputs=(fields.text("input", longest=200), *beside)
    )


def _classes(model: Fields, num_outputs: int) -> tuple[str, ...] | None:
    if model.get("classes") is None:
        return None
    return model.items("classes", _short, least=num_outputs, most=num_outputs)


def _preprocessing(fields: Fields, size: tuple[int, ...]) -> Preprocessing | None:
    if fields.get("preprocessing") is None:
        return None
    known = ("mode", "resize", "interpolation", "antialias", "crop_pct", "crop_mode", "mean", "std")
    part = Fields(fields.get("preprocessing"), where="preprocessing", known=known)
    mode = part.choice("mode", ("L", "RGB"))
    channels = {"L": 1, "RGB": 3}[mode]
    if size[0] != channels:
        raise FieldError(f"preprocessing.mode {mode} makes {channels} channels, the input has {size[0]}")
    if part.get("antialias") is not True:
        raise FieldError(f"preprocessing.antialias must be true, found {shown(part.get('antialias'))}")
    part.number("crop_pct", low=0.01, high=100)
    resize = part.get("resize")
    sides = (
        (_side(resize, "preprocessing.resize"),) * 2
        if not isinstance(resize, list)
        else part.items("resize", _side, least=2, most=2)
    )
    return Preprocessing(
        mode=mode,
        resize=(sides[0], sides[1]),
        interpolation=part.choice("interpolation", INTERPOLATIONS),
        crop_mode=part.choice("crop_mode", CROP_MODES),
        mean=part.items("mean", _mean, least=channels, most=channels),
        std=part.items("std", _std, least=channels, most=channels),
    )


def _mean(found: object, where: str) -> float:
    return number(found, where=where, low=-1e6, high=1e6)


def _std(found: object, where: str) -> float:
    return number(found, where=where, low=1e-6, high=1e6)


def _times(found: object, where: str) -> tuple[float, float, float]:
    fields = Fields(found, where=where, known=("median", "p90", "p99"))
    times = (
        fields.number("median", low=0, high=_LONGEST_MS),
        fields.number("p90", low=0, high=_LONGEST_MS),
        fields.number("p99", low=0, high=_LONGEST_MS),
    )
    if sorted(times) != list(times):
        raise FieldError(
            f"{where} must not fall from median to p90 and p99, found {', '.join(f'{t:g}' for t in times)}"
        )
    return times


def _slowness(found: object, where: str) -> float:
    return number(found, where=where, low=0, high=1e9)


def _after_pause(found: object, where: str) -> tuple[float, float]:
    fields = Fields(found, where=where, known=("pause_ms", "extra_ms"))
    return fields.number("pause_ms", low=1e-6, high=_LONGEST_MS), fields.number("extra_ms", low=0, high=_LONGEST_MS)


def _latency(fields: Fields, exits: int) -> Latency:
    known = ("unit", "batch_size", "threads", "segments", "heads", "start", "slow_down", "after_pause")
    part = Fields(fields.get("latency"), where="latency", known=known)
    part.choice("unit", ("ms",))
    segments = part.items("segments", _times, least=exits + 1, most=exits + 1)
    heads = part.items("heads", _times, least=exits, most=exits)
    if part.optional("start") is not None:
        _times(part.get("start"), part.place("start"))
    after_pause = (
        () if part.optional("after_pause") is None else part.items("after_pause", _after_pause, most=_MOST_PAUSES)
    )
    pauses = [pause for pause, _ in after_pause]
    if sorted(set(pauses)) != pauses:
        raise FieldError("latency.after_pause must stand by rising pause_ms, found another order")
    return Latency(
        batch_size=part.whole("batch_size", low=1, high=2**20),
        threads=part.whole("threads", low=1, high=4096),
        segments={q: tuple(times[row] for times in segments) for row, q in enumerate((0.5, 0.9, 0.99))},
        heads={q: tuple(times[row] for times in heads) for row, q in enumerate((0.5, 0.9, 0.99))},
        slow_down=part.items("slow_down", _slowness, most=_MOST_SAMPLES),
        after_pause=after_pause,
    )


def _confidence(fields: Fields, exits: int) -> Confidence | None:
    if fields.get("confidence") is None:
        return None
    part = Fields(fields.get("confidence"), where="confidence", known=("score", "temperatures", "points", "quantile"))

    def point(found: object, where: str) -> Point:
        known = ("budget_ms", "thresholds", "exit_rates", "value", "report_ms", "report_value")
        mine = Fields(found, where=where, known=known)
        return Point(
            budget_ms=mine.number("budget_ms", low=0, high=_LONGEST_MS),
            thresholds=items(
                mine.get("thresholds"), _threshold, where=mine.place("thresholds"), least=exits, most=exits
            ),
        )

    points = part.items("points", point, most=_MOST_POINTS)
    budgets = [point.budget_ms for point in points]
    if sorted(budgets) != budgets:
        raise FieldError("confidence.points must stand by rising budget_ms, found another order")
    if part.optional("quantile") is not None:
        part.number("quantile", low=0, high=1)
    return Confidence(
        score=part.choice("score", SCORES),
        temperatures=part.items("temperatures", _temperature, least=exits, most=exits),
        points=points,
    )


def _threshold(found: object, where: str) -> float | None:
    return None if found is None else number(found, where=where, low=-1e30, high=1e30)


def _files(fields: Fields) -> dict[str, FileFacts]:
    found = fields.get("files")
    if not isinstance(found, dict) or len(found) > _MOST_FILES:
        raise FieldError(f"files must be an object of at most {_MOST_FILES} names, found {shown(found)}")
    files = {}
    for name, facts in found.items():
        _file_name(name, "a name in files")
        mine = Fields(facts, where=f"files.{name}", known=("sha256", "bytes"))
        digest = mine.get("sha256")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise FieldError(f"files.{name}.sha256 must be 64 digits of 0-9 a-f, found {shown(digest)}")
        files[name] = FileFacts(sha256=digest, bytes=mine.whole("bytes", low=0, high=_LARGEST_FILE))
    if len({name.lower() for name in files}) != len(files):
        raise FieldError("files must differ by more than capital letters, found two that do not")
    return files
