"""export_bundle: from a multi-exit model to a bundle, written whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.card import card
from exitsearch.deploy.checks import Ratios, Samples, compare_exits, compare_times
from exitsearch.deploy.deployed import DEPLOYED, DeployedGraphs, DeployedRuntime
from exitsearch.deploy.graphs import OPSET, graph_of
from exitsearch.deploy.latency import Timed, check_profile, measure_graphs, sum_profile
from exitsearch.deploy.precision import convert
from exitsearch.deploy.units import INPUT, OUTPUT, GraphUnits, divide
from exitsearch.deploy.weights import write_graphs
from exitsearch.errors import FileError, InputError, UnavailableError, UnsupportedError, one_of
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    FORMATS,
    PRECISIONS,
    Bundle,
    BundleHead,
    BundleInput,
    BundleModel,
    BundleSegment,
    ExitAgreement,
    FileFacts,
    Format,
    Precision,
    Preprocessing,
)
from exitsearch.specs.document import unwritable
from exitsearch.specs.profile import Profile

Progress = Callable[[float, str], None]

MAX_SECONDS = 20.0
# Random batches that are measured in turn, as in a profile.
_INPUT_COUNT = 4
_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What a bundle says beside its graphs.

    Attributes:
        values: of every exit, the final one last; higher is better.
        values_from: where they come from, in words.
        classes: names in the order of the outputs; None where they are not known.
        preprocessing: from an image to an input; None where inputs are not images.
        samples: that answers are compared over; None where there are none.
    """

    values: list[float]
    values_from: str
    classes: list[str] | None = None
    preprocessing: Preprocessing | None = None
    samples: Samples | None = None


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: the bundle.
        bundle: its manifest.
        ratios: of the chain over the plain backbone; None where nothing was measured.
        warnings: what should be known, as sentences.
    """

    folder: Path
    bundle: Bundle
    ratios: Ratios | None
    warnings: list[str]


def check_request(*, format: str, precision: str) -> None:
    """Whether a format and a precision go together.

    Raises:
        InputError: they are unknown, or do not.
        UnavailableError: a package is missing.
    """
    if format == "torch":
        raise InputError(
            "--format torch is not offered: torch's own files of exported programs (.pt2) hold pickles, and torch "
            "unpickles whatever such a file names as pickled when it loads it; a bundle is input from outside, of "
            "which nothing is ever unpickled; use --format onnx"
        )
    if format not in FORMATS:
        raise one_of("format", format, FORMATS)
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
    if format == "openvino" and precision == "int8":
        raise InputError("--precision int8 is of --format onnx, found --format openvino; use one or the other")
    from exitsearch.deploy.graphs import check_packages
    from exitsearch.measure.runtimes.onnxruntime import onnx_library
    from exitsearch.measure.runtimes.openvino import openvino_library

    check_packages()
    try:
        openvino_library() if format == "openvino" else onnx_library()
    except UnavailableError:
        raise UnavailableError(
            f"exitsearch export --format {format} needs packages that are not installed here; install them with pip "
            f"install 'exitsearch[{format}]'"
        ) from None


def export_bundle(
    model: MultiExitModel,
    *,
    out: Path | str,
    knowledge: Knowledge,
    format: Format = "onnx",
    precision: Precision = "fp32",
    threads: int = 1,
    profile: Profile | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    restart: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a bundle.

    Args:
        model: in eval mode on the CPU, in fp32.
        out: the folder to make.
        knowledge: what it says beside its graphs.
        format: `onnx` or `openvino`.
        precision: `fp32`, `fp16` or `int8`.
        threads: that one run may use, from 1; the times are of so many.
        profile: whose times are summed up instead of measuring; None measures.
        max_seconds: for measuring the graphs; a quarter of it more for comparing them with the plain backbone.
        seed: of random inputs and orders.
        restart: put the new bundle in the place of one that stands in `out`.
        progress: called with the share of the work that is done, 0 to 1, and words.

    Raises:
        InputError: an option that cannot be; `out` exists.
        ExitSearchError: the model cannot be exported, or its graphs are not what it is in torch.
    """
    check_request(format=format, precision=precision)
    if not 1 <= threads <= 4096:
        raise InputError(f"--threads must be from 1 to 4096, found {threads}; give another number")
    if model.training:
        raise InputError("a model is exported in eval mode, found one in training mode; call model.eval() first")
    if profile is not None:
        check_profile(profile, model.config)
    _refuse_side_inputs(model)
    say = progress or (lambda share, words: None)
    out = Path(out)
    check_out(out, restart=restart)
    with _new_folder(out) as folder, tempfile.TemporaryDirectory(prefix="exitsearch-whole-") as aside:
        graphs = _write_graphs(model, folder, Path(aside), format, precision, _part(say, 0.0, 0.5))
        runtime = DEPLOYED[format](graphs, threads=threads)
        agreement = compare_exits(
            model,
            runtime,
            precision=precision,
            samples=knowledge.samples,
            # OpenVINO's units are made ready for one batch size.
            batch_sizes=(1,) if format == "openvino" else (1, 3),
            progress=_part(say, 0.5, 0.6),
        )
        timed, ratios = _times(model, runtime, graphs, threads, profile, max_seconds, seed, _part(say, 0.6, 1.0))
        bundle = _manifest(model, graphs, knowledge, format, precision, timed, ratios, agreement)
        (folder / CARD_FILE).write_text(card(bundle, ratios), encoding="utf-8")
        bundle = _sealed(bundle, folder)
        bundle.write(folder / BUNDLE_FILE)
        _put_in_place(folder, out)
    return Exported(out, bundle, ratios, [timed.warning] if timed.warning else [])


def _refuse_side_inputs(model: MultiExitModel) -> None:
    """A bundle has one input."""
    for exit_, head in zip(model.config.exits, model.heads, strict=True):
        if reads := getattr(head, "reads", {}):
            raise UnsupportedError(
                f"a bundle holds a model of one input, and the exit {exit_.placement}:{exit_.choice} reads the side "
                f"input {', '.join(reads)}; search for a choice without it (--forbid)"
            )


def _part(say: Progress, begin: float, end: float) -> Progress:
    return lambda share, words: say(begin + share * (end - begin), words)


def _write_graphs(
    model: MultiExitModel, folder: Path, aside: Path, format: Format, precision: Precision, say: Progress
) -> DeployedGraphs:
    """Write every graph into the folder, and the plain backbone's beside it."""
    units = divide(model)
    every = [*units.segments, *units.heads, units.whole]
    made: dict[str, Any] = {}
    for number, unit in enumerate(every):
        say(number / len(every), f"exporting {unit.name}")
        made[unit.name] = convert(graph_of(unit), precision if format == "onnx" else "fp32", name=unit.name)
    inputs = {name: tuple(value.name for value in graph.graph.inputs) for name, graph in made.items()}
    whole = {units.whole.name: made.pop(units.whole.name)}
    if format == "openvino":
        onnx = aside / "onnx"
        onnx.mkdir()
        _to_openvino(write_graphs(made, onnx), folder, halve=precision == "fp16")
        _to_openvino(write_graphs(whole, aside), aside, halve=precision == "fp16")
    else:
        write_graphs(made, folder)
        write_graphs(whole, aside)
    return _described(model, units, inputs, folder, aside, ".xml" if format == "openvino" else ".onnx")


def _described(
    model: MultiExitModel,
    units: GraphUnits,
    inputs: Mapping[str, tuple[str, ...]],
    folder: Path,
    aside: Path,
    ending: str,
) -> DeployedGraphs:
    segments = [
        BundleSegment(file=unit.name + ending, inputs=list(inputs[unit.name]), outputs=list(unit.outputs))
        for unit in units.segments
    ]
    heads = [
        BundleHead(file=unit.name + ending, exit=number, input=unit.inputs[0], output=OUTPUT)
        for number, unit in enumerate(units.heads)
    ]
    task = model.config.backbone.task
    return DeployedGraphs(folder, INPUT, segments, heads, aside / (units.whole.name + ending), task)


def _to_openvino(files: list[Path], folder: Path, *, halve: bool) -> None:
    """OpenVINO's own files (`.xml`, `.bin`) of ONNX graphs."""
    from exitsearch.measure.runtimes.openvino import openvino_library

    library = openvino_library()
    core = library.Core()
    for path in files:
        library.save_model(core.read_model(str(path)), folder / f"{path.stem}.xml", compress_to_fp16=halve)


def _times(
    model: MultiExitModel,
    runtime: DeployedRuntime,
    graphs: DeployedGraphs,
    threads: int,
    profile: Profile | None,
    max_seconds: float,
    seed: int,
    say: Progress,
) -> tuple[Timed, Ratios | None]:
    if profile is not None:
        return sum_profile(profile, model.config), None
    draw = np.random.default_rng(seed)
    shape = (1, *model.backbone.input_size)
    inputs: list[NDArray[Any]] = [draw.standard_normal(shape, dtype=np.float32) for _ in range(_INPUT_COUNT)]
    ratios = compare_times(runtime, graphs, inputs, max_seconds=max_seconds / 4, progress=_part(say, 0.0, 0.2))
    timed = measure_graphs(
        runtime,
        graphs,
        inputs,
        policy=model.config.policy,
        threads=threads,
        max_seconds=max_seconds,
        seed=seed,
        progress=_part(say, 0.2, 1.0),
    )
    facts = {**timed.facts, **ratios.facts()}
    if model.config.policy != "contract":  # whose times are those of segments behind segments
        over = ratios.predicted(timed.latency.answers_ms(), whole_ms=timed.facts["whole_ms"])
        facts["predicted_over_measured"] = [round(ratio, 4) for ratio in over]
    return replace(timed, facts=facts), ratios


def _manifest(
    model: MultiExitModel,
    graphs: DeployedGraphs,
    knowledge: Knowledge,
    format: Format,
    precision: Precision,
    timed: Timed,
    ratios: Ratios | None,
    agreement: list[ExitAgreement],
) -> Bundle:
    """The manifest, but for its files."""
    config, backbone = model.config, model.backbone
    files = [*(segment.file for segment in graphs.segments), *(head.file for head in graphs.heads)]
    return Bundle(
        schema_version=Bundle.current_version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=BundleModel(
            name=backbone.facts.name or "",
            task=backbone.facts.task,
            num_outputs=backbone.num_outputs,
            classes=knowledge.classes,
        ),
        input=BundleInput(name=INPUT, size=backbone.input_size),
        preprocessing=knowledge.preprocessing,
        format=format,
        precision=precision,
        opset=OPSET,
        segments=list(graphs.segments),
        heads=list(graphs.heads),
        exits=config.exits,
        latency=timed.latency,
        policy=config.policy,
        values=knowledge.values,
        confidence=config.confidence,
        fallback=config.fallback,
        budget=config.budget,
        agreement=agreement,
        request=config.request,
        profile={**config.profile, "latency": timed.facts},
        outcomes={**config.outcomes, "values": knowledge.values_from, "weights": backbone.weights},
        files={name: FileFacts(sha256="0" * 64, bytes=0) for name in files},
    )


def _sealed(bundle: Bundle, folder: Path) -> Bundle:
    """The manifest with size and checksum of every file in the folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes private files
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
        files[path.name] = FileFacts(sha256=digest.hexdigest(), bytes=path.stat().st_size)
    return bundle.model_copy(update={"files": files})


def check_out(out: Path, *, restart: bool) -> None:
    """Whether a bundle may be written there.

    Raises:
        FileError: something stands there already.
    """
    if not out.exists():
        return
    if not restart:
        raise FileError(
            out, "is there already", remedy="give another --out, or replace the bundle in it with --restart"
        )
    if not out.is_dir() or (any(out.iterdir()) and not (out / BUNDLE_FILE).is_file()):
        raise FileError(out, "--restart replaces a bundle, and this is none", remedy="give another --out")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, gone afterwards unless it was renamed."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        folder.chmod(0o755)  # mkdtemp makes private folders; a bundle is for everyone
    except OSError as error:
        raise unwritable(out, error) from None
    try:
        yield folder
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, out: Path) -> None:
    """Give the finished folder its name; what stood there goes only then."""
    if out.exists():
        former = folder.with_suffix(".former")
        os.replace(out, former)
        os.replace(folder, out)
        shutil.rmtree(former, ignore_errors=True)
    else:
        os.replace(folder, out)
