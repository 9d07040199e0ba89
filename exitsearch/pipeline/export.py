"""The step `export`: from a trained model's folder to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.errors import FileError, InputError, MismatchError
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.profile import find_profile
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.bundle import Format, Precision
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.load import load_config
from exitsearch.specs.profile import Profile

if TYPE_CHECKING:
    from exitsearch.deploy.checks import Samples
    from exitsearch.deploy.export import Exported, Knowledge
    from exitsearch.models.multi_exit import MultiExitModel

_SPLIT = "choice"
# Samples that answers are compared over: the standard error of a share of 99% is then 0.4 points.
SAMPLES = 512


def export(
    config: MultiExitConfig | Path | str | None = None,
    *,
    weights: Path | str,
    out: Path | str,
    format: Format = "onnx",
    precision: Precision = "fp32",
    threads: int = 1,
    data: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    samples: int = SAMPLES,
    measure: bool = True,
    max_seconds: float | None = None,
    profile: Profile | Path | str | None = None,
    seed: int = 0,
    restart: bool = False,
    watch: Watch | None = None,
) -> Exported:
    """Write the bundle of a trained model: `exitsearch export`.

    Args:
        config: what was chosen, or its file; None takes the one beside the weights.
        weights: the folder that `exitsearch train` wrote.
        out: the folder to make.
        format: `onnx` or `openvino`.
        precision: `fp32`, `fp16` (weights alone) or `int8` (dynamic).
        threads: that one run may use, from 1; the times are of so many.
        data: whose choice split answers are compared over, and whose classes are named; None takes the digits for the
            embedded default, and nothing for the others.
        data_dir: where data sets that have a name are kept.
        download: fetch what is missing there.
        samples: of the split, at most.
        measure: measure the graphs as they are deployed; else the profile's times are summed up.
        max_seconds: for measuring; None takes 20 s.
        profile: instead of the newest of the backbone, where nothing is measured.
        seed: of random inputs and orders.
        restart: put the new bundle in the place of one that stands in `out`.
        watch: is shown the progress.

    Raises:
        InputError: an option that cannot be, files that do not belong together, or `out` exists.
        ExitSearchError: the model cannot be exported, or its graphs are not what it is in torch.
    """
    from exitsearch.deploy.export import MAX_SECONDS, check_request, export_bundle
    from exitsearch.deploy.folder import check_out
    from exitsearch.pipeline.profile import torch_threads

    watch = watch or Quiet()
    check_request(format=format, precision=precision)
    check_out(Path(out), restart=restart)
    weights = Path(weights)
    chosen = _config(config, weights)
    times = None if measure else _profile(chosen, profile)
    if measure and profile is not None:
        raise InputError("--profile is for --no-measure; measuring needs none: leave one of them out")
    model = _model(chosen, weights)
    training = Training(
        data=data, data_dir=None if data_dir is None else str(data_dir), download=download, threads=threads
    )
    with torch_threads(threads):
        knowledge = _knowledge(model, weights, training, samples, watch)
        with watch.progress(f"exporting {chosen.backbone.name}") as report:
            exported = export_bundle(
                model,
                out=out,
                knowledge=knowledge,
                format=format,
                precision=precision,
                threads=threads,
                profile=times,
                max_seconds=MAX_SECONDS if max_seconds is None else max_seconds,
                seed=seed,
                restart=restart,
                progress=report,
            )
    for warning in exported.warnings:
        watch.note(warning)
    return exported


def _config(config: MultiExitConfig | Path | str | None, weights: Path) -> MultiExitConfig:
    """The configuration that was given, once it is that of the weights."""
    from exitsearch.models.multi_exit import CONFIG_FILE, MODEL_FILE

    if not (weights / MODEL_FILE).is_file():
        raise FileError(
            weights, f"holds no {MODEL_FILE}; give the folder that exitsearch train --config chosen.json wrote"
        )
    beside = load_config(weights) if (weights / CONFIG_FILE).is_file() else None
    if config is None:
        if beside is None:
            raise FileError(weights, f"holds no {CONFIG_FILE}; name the configuration with --config")
        return beside
    given = config if isinstance(config, MultiExitConfig) else load_config(config)
    if beside is not None and _exits(given) != _exits(beside):
        raise MismatchError(
            f"the weights in {weights} are of exits {', '.join(_exits(beside))}, the configuration has "
            f"{', '.join(_exits(given))}; train it with exitsearch train, or give the {CONFIG_FILE} beside the weights"
        )
    # Training may have found out how many outputs there are.
    if beside is not None and given.backbone.num_outputs is None:
        given = given.model_copy(update={"backbone": beside.backbone})
    return given


def _exits(config: MultiExitConfig) -> list[str]:
    return [f"{exit_.placement}:{exit_.choice}" for exit_ in config.exits]


def _model(config: MultiExitConfig, weights: Path) -> MultiExitModel:
    from exitsearch.models.multi_exit import MODEL_FILE, build_model

    return build_model(config, pretrained=False, weights=weights / MODEL_FILE)


def _profile(config: MultiExitConfig, source: Profile | Path | str | None) -> Profile:
    asked = source if isinstance(source, Profile) or source is None else str(source)
    found = find_profile(asked, name=config.backbone.name, device="cpu")
    if found is None:
        raise InputError(
            f"--no-measure takes the times of a profile, and there is none of {config.backbone.name}; name it with "
            "--profile, or leave --no-measure out"
        )
    return found[0].at_batch()


def _knowledge(model: MultiExitModel, weights: Path, training: Training, samples: int, watch: Watch) -> Knowledge:
    from exitsearch.deploy.export import Knowledge
    from exitsearch.deploy.preprocessing import preprocessing_of
    from exitsearch.deploy.values import exit_values

    config = model.config
    values, source = exit_values(config, weights)
    preprocessing = preprocessing_of(model.backbone)
    if not training.has_data_for(config.backbone.name or ""):
        watch.note(
            "no data was named, so that answers are not compared with fp32 and classes have no names; name them with "
            "--data"
        )
        return Knowledge(values=values, values_from=source, preprocessing=preprocessing)
    name = training.data_for(config.backbone.name or "")
    data = training.load(name, backbone=model.backbone, watch=watch)
    try:
        if data.num_outputs != model.backbone.num_outputs:
            raise MismatchError(
                f"the model has {model.backbone.num_outputs} outputs, the data {name} {data.num_outputs}; name the "
                "data that it was trained on"
            )
        compared = _samples(data.choice, samples)
    finally:
        data.close()
    return Knowledge(
        values=values,
        values_from=source,
        classes=list(data.classes) or None,
        # What recordings go through before they are inputs is no image's.
        preprocessing=None if name.startswith("audio-folder:") else preprocessing,
        samples=compared,
    )


def _samples(split: object, count: int) -> Samples | None:
    from exitsearch.deploy.checks import Samples
    from exitsearch.learn.data.splits import Split
    from exitsearch.models.inputs import main_input, side_inputs

    assert isinstance(split, Split)
    # Spread over the split, which may be sorted by class.
    step = max(1, -(-len(split) // count))
    indices = list(range(0, len(split), step))
    if not indices:
        return None
    inputs = split.batch(indices)[0]
    return Samples(main_input(inputs), _SPLIT, side_inputs(inputs))
