"""export_bundle: from a multi-exit model to a bundle, written whole or not at all."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exitsearch.deploy.answering import measure_answers
from exitsearch.deploy.card import card
from exitsearch.deploy.checks import Ratios, Samples, compare_exits, compare_times
from exitsearch.deploy.deployed import DEPLOYED, DeployedGraphs, DeployedOnnx, DeployedRuntime
from exitsearch.deploy.folder import check_out, new_folder, put_in_place, sealed
from exitsearch.deploy.given import Given, joined_inputs
from exitsearch.deploy.graphs import OPSET, graph_of
from exitsearch.deploy.latency import Timed, check_profile, measure_graphs, sum_profile
from exitsearch.deploy.precision import convert
from exitsearch.deploy.units import INPUT, OUTPUT, GraphUnits, divide, side_inputs_of
from exitsearch.deploy.weights import write_graphs
from exitsearch.errors import InputError, UnavailableError, one_of
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    FORMATS,
    PRECISIONS,
    Bundle,
    BundleHead,
    BundleInput,
    BundleLatency,
    BundleModel,
    BundleSegment,
    BundleSideInput,
    ExitAgreement,
    FileFacts,
    Format,
    Precision,
    Preprocessing,
    Quantiles,
)
from exitsearch.specs.config import Confidence
from exitsearch.specs.profile import Profile

Progress = Callable[[float, str], None]

MAX_SECONDS = 20.0
# Random batches that are measured in turn, as in a profile.
_INPUT_COUNT = 4


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What a bundle says beside its graphs.

    Attributes:
        values: of every exit, the final one last; higher is better.
        values_from: where they come from, in words.
        classes: names in the order of the outputs; None where they are not known.
        preprocessing: from an image to an input; None where inputs are not images.
        samples: that answers are compared over; None where there are none.
        points: operating points for the policy `confidence`, of the manifest once its times are known; None leaves
            those of the configuration, whose costs are another engine's.
    """

    values: list[float]
    values_from: str
    classes: list[str] | None = None
    preprocessing: Preprocessing | None = None
    samples: Samples | None = None
    points: Callable[[Bundle], Confidence] | None = None


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
    say = progress or (lambda share, words: None)
    out = Path(out)
    check_out(out, restart=restart)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(prefix="exitsearch-whole-") as aside:
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
        manifest = partial(_manifest, model, graphs, knowledge, format, precision, agreement)
        timed, ratios = (
            _Times(model, runtime, graphs, threads, max_seconds, seed, _part(say, 0.6, 1.0), manifest).measure()
            if profile is None
            else (sum_profile(profile, model.config), None)
        )
        bundle = manifest(timed)
        if knowledge.points is not None and bundle.confidence is not None:
            bundle = bundle.model_copy(update={"confidence": knowledge.points(bundle)})
        (folder / CARD_FILE).write_text(card(bundle, ratios), encoding="utf-8")
        bundle = sealed(bundle, folder)
        bundle.write(folder / BUNDLE_FILE)
        put_in_place(folder, out)
    return Exported(out, bundle, ratios, [timed.warning] if timed.warning else [])


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
        BundleHead(
            file=unit.name + ending,
            exit=number,
            input=unit.inputs[0],
            output=OUTPUT,
            side_inputs=list(unit.inputs[1:]),
        )
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


@dataclass(frozen=True)
class _Times:
    """Measures the graphs of a bundle that has no times yet."""

    model: MultiExitModel
    runtime: DeployedRuntime
    graphs: DeployedGraphs
    threads: int
    max_seconds: float
    seed: int
    say: Progress
    manifest: Callable[[Timed], Bundle]

    def measure(self) -> tuple[Timed, Ratios]:
        """The times, and what cutting costs."""
        draw = np.random.default_rng(self.seed)
        sizes = {INPUT: self.model.backbone.input_size, **side_inputs_of(self.model)}
        inputs: list[Given] = [
            joined_inputs({name: draw.standard_normal((1, *size), dtype=np.float32) for name, size in sizes.items()})
            for _ in range(_INPUT_COUNT)
        ]
        ratios = compare_times(
            self.runtime, self.graphs, inputs, max_seconds=self.max_seconds / 4, progress=_part(self.say, 0.0, 0.2)
        )
        if isinstance(self.runtime, DeployedOnnx):
            timed = self._answering(inputs)
        else:
            timed = self._in_the_engine(inputs, ratios)
        return replace(timed, facts={**timed.facts, **ratios.facts()}), ratios

    def _answering(self, inputs: Sequence[Given]) -> Timed:
        """By the runtime, which reads a manifest: one without times that mean anything, until there are some."""
        folder = self.graphs.folder
        sealed(self.manifest(_no_times(self.graphs, self.threads)), folder).write(folder / BUNDLE_FILE)
        try:
            return measure_answers(
                folder,
                inputs,
                policy=self.model.config.policy,
                threads=self.threads,
                max_seconds=self.max_seconds,
                seed=self.seed,
                progress=_part(self.say, 0.2, 1.0),
            )
        finally:
            (folder / BUNDLE_FILE).unlink()

    def _in_the_engine(self, inputs: Sequence[Given], ratios: Ratios) -> Timed:
        timed = measure_graphs(
            self.runtime,
            self.graphs.keys,
            inputs,
            policy=self.model.config.policy,
            threads=self.threads,
            max_seconds=self.max_seconds,
            seed=self.seed,
            progress=_part(self.say, 0.2, 1.0),
        )
        if self.model.config.policy == "contract":  # whose times are those of segments behind segments
            return timed
        over = ratios.predicted(timed.latency.answers_ms(), whole_ms=timed.facts["whole_ms"])
        return replace(timed, facts={**timed.facts, "predicted_over_measured": [round(ratio, 4) for ratio in over]})


def _no_times(graphs: DeployedGraphs, threads: int) -> Timed:
    """A table to begin with."""
    one = Quantiles(median=1.0, p90=1.0, p99=1.0)
    latency = BundleLatency(
        batch_size=1, threads=threads, segments=[one] * len(graphs.segments), heads=[one] * len(graphs.heads)
    )
    return Timed(latency, {})


def _manifest(
    model: MultiExitModel,
    graphs: DeployedGraphs,
    knowledge: Knowledge,
    format: Format,
    precision: Precision,
    agreement: list[ExitAgreement],
    timed: Timed,
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
        side_inputs=[BundleSideInput(name=name, size=size) for name, size in side_inputs_of(model).items()],
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
