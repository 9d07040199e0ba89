"""Static models beside a multi-exit one: trained on the same data for as many epochs, measured in one run with it.

What is equal, and said: the samples, the epochs, the machine and the minutes of the measurement. What is not: a
backbone that had been trained before its exits were has had more than these epochs, and so has a static model that
begins with pretrained weights. Both are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from exitsearch.errors import InputError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.curves import OverBudget, StaticResult, Times, over_budget
from exitsearch.pipeline.trained.question import exit_pairs
from exitsearch.pipeline.trained.static_training import Named as Named
from exitsearch.pipeline.trained.static_training import StaticJob, static_request
from exitsearch.pipeline.trained.static_training import StaticRecord as StaticRecord
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Scalar
from exitsearch.specs.table import whole_number

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.learn.static import StaticTraining
    from exitsearch.measure.paths import MeasuredPaths
    from exitsearch.models.backbone import Backbone

MAX_SECONDS = 20.0
# How well every median of the measurement is to be known.
_PRECISION = 0.02
# The profiler's own verdict calls a machine changed beyond this (measure/guard.py).
_APART = 0.05


def parse_models(text: str | Iterable[str]) -> list[Named]:
    """Static models from their names: `resnet18,test_resnet@32`.

    Args:
        text: timm's names with commas or one by one; `@SIDE` gives an input of so many pixels a side, instead of the
            multi-exit model's own.

    Raises:
        InputError: none is named, one twice, one is none of timm's, or a side is no whole number from 1.
    """
    import timm

    from exitsearch.models import embedded  # noqa: F401 (registers the embedded backbones with timm)

    found: list[Named] = []
    for part in text.split(",") if isinstance(text, str) else text:
        name, at, side = part.strip().partition("@")
        pixels = whole_number(side) if at else None
        if at and not pixels:
            raise InputError(
                f"a static model is named MODEL or MODEL@SIDE, with a side in pixels, found {part.strip()!r}; "
                "write it as resnet18 or resnet18@160"
            )
        if not timm.is_model(name):
            raise InputError(
                f"unknown model {name!r} in --compare; see exitsearch list models 'test_*' for what there is"
            )
        found.append(Named(name, pixels))
    if len(set(found)) < len(found):
        raise InputError(
            f"--compare names each model once, found {', '.join(map(str, found))}; leave out what stands there twice"
        )
    return found


def check_models(config: MultiExitConfig, models: Iterable[Named]) -> None:
    """Make every static model without weights, so that one that cannot be made is known before any training.

    Raises:
        InputError: timm cannot make one with the configuration's inputs, or it cannot be cut.
    """
    for named in models:
        try:
            static_request(config, named).create(device="meta")
        except InputError as error:
            raise InputError(
                f"{named} cannot be compared: {error}; name another model, or the side of its input as "
                f"{named.name}@SIDE"
            ) from None


def compare_static(
    after: AfterTraining,
    models: str | Iterable[str] | Iterable[Named],
    *,
    data: Callable[[Backbone], DataSplits] | str,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    pretrained: bool | None = None,
    backbone: Backbone | None = None,
    device: str | None = None,
    threads: int | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    watch: Watch | None = None,
) -> OverBudget:
    """Train static models, time them beside the trained multi-exit model, and draw accuracy over budget.

    Args:
        after: what training has come to.
        models: as in `parse_models`.
        data: what the multi-exit model was trained on, as `load_data` takes it, or a function that prepares it for a
            backbone.
        epochs: of each static model; None takes as many as the multi-exit model had.
        batch_size: inputs of a step; None takes the multi-exit model's, or 64.
        learning_rate: at its peak; None takes the one that suits the weights (`learn/static.py`).
        pretrained: True insists on timm's weights to begin with, False draws random ones; None takes what can be had.
        backbone: the multi-exit model's, where timm does not make it.
        device: where to train and measure; None measures where the profile was measured, or else on the CPU.
        threads: of torch on the CPU; None measures with the profile's number.
        max_seconds: of the measurement.
        seed: of order, weights and measurement.
        watch: is shown the progress.

    Raises:
        InputError: an option out of range, or a model that timm cannot make for these data.
        MismatchError: other data than those that the multi-exit model was judged on.
        UnavailableError: the device is not there.
        ExitSearchError: a loss that is not finite.
    """
    from exitsearch.measure.machine.fingerprint import resolve_device
    from exitsearch.measure.paths import measure_paths

    watch = watch or Quiet()
    named = [one if isinstance(one, Named) else parse_models([one])[0] for one in _listed(models)]
    check_models(after.config, named)
    training = _training(after, epochs, batch_size, learning_rate, seed)
    where = str(resolve_device(device or str(_measured_as(after).get("device", "cpu"))))
    made = [StaticJob(after, one, data, training, pretrained, where, threads, watch).made() for one in named]
    pairs = exit_pairs(after.config)
    with watch.progress("timing all models together") as report:
        timed = measure_paths(
            backbone or _backbone(after.config),
            [pairs, *([pair] for pair in pairs)],
            models=[model for model, _ in made],
            device=where,
            **_condition(after, threads=threads),
            precision=_PRECISION,
            max_seconds=max_seconds,
            seed=seed,
            progress=report,
        )
    statics = [
        result(latency_ms=path.answers_ms[0], interval_ms=path.intervals_ms[0])
        for (_, result), path in zip(made, timed.models, strict=True)
    ]
    notes = [_budget_note(after, training, statics), *_doubts(after, timed)]
    return over_budget(after, times=_times(timed), statics=statics, notes=notes)


def _listed(models: str | Iterable[str] | Iterable[Named]) -> list[str | Named]:
    return [*parse_models(models)] if isinstance(models, str) else [*models]


def _training(
    after: AfterTraining, epochs: int | None, batch_size: int | None, learning_rate: float | None, seed: int
) -> StaticTraining:
    from exitsearch.learn.static import StaticTraining

    known = after.outcomes.training
    found = known.get("epochs") if epochs is None else epochs
    if not isinstance(found, int) or isinstance(found, bool):
        raise InputError("the outcomes do not say for how many epochs the model was trained; say it with --epochs")
    size = known.get("batch_size") if batch_size is None else batch_size
    augment = str(known.get("augment") or "")
    return StaticTraining(
        epochs=found,
        batch_size=size if isinstance(size, int) and not isinstance(size, bool) else StaticTraining.batch_size,
        learning_rate=learning_rate,
        augment=tuple(name for name in augment.split(",") if name),
        seed=seed,
    )


def _backbone(config: MultiExitConfig) -> Backbone:
    """The configuration's backbone with random weights, which take as long."""
    facts = config.backbone
    if facts.name is None:
        raise InputError("the configuration names no backbone, so it cannot be timed; set backbone.name in it")
    return BackboneRequest(
        name=facts.name,
        pretrained=False,
        num_outputs=facts.num_outputs,
        image_size=facts.input_size[1:] if facts.input_size else None,
        in_chans=facts.input_size[0] if facts.input_size else None,
        task=facts.task,
    ).create()


def _measured_as(after: AfterTraining) -> Mapping[str, Scalar]:
    """The facts under which the profile was measured, where there is one."""
    return {} if after.profile is None else after.profile.environment.identity


def _condition(after: AfterTraining, *, threads: int | None) -> dict[str, Any]:
    """What is measured as the profile was, but for the device; by default a single input by torch itself."""
    facts = _measured_as(after)
    size, many, pause_ms = facts.get("batch_size"), facts.get("threads"), facts.get("pause_ms")
    return {
        "dtype": str(facts.get("dtype", "fp32")),
        "batch_size": size if isinstance(size, int) else 1,
        "threads": threads or (many if isinstance(many, int) else None),
        "runtime": str(facts.get("runtime", "eager")),
        "pause_ms": pause_ms if isinstance(pause_ms, int | float) else 0.0,
    }


def _times(timed: MeasuredPaths) -> Times:
    """When answers came in the run: the first path has all exits, the others one each."""
    words = ", ".join(f"{key} {value}" for key, value in timed.condition.items())
    return Times(
        answers_ms=tuple(timed.paths[0].answers_ms),
        alone_ms=(*(path.answers_ms[0] for path in timed.paths[1:]), timed.whole_ms),
        slowdown=tuple(timed.slowdown),
        source=f"one run of all models together here ({words})",
    )


def _doubts(after: AfterTraining, timed: MeasuredPaths) -> list[str]:
    """Whether the times of the run can be believed, and whether they are those of the profile."""
    from exitsearch.measure.guard import other_machine

    notes = []
    if timed.verdict.status != "ok":
        notes.append(f"the times of this run are in doubt: its verdict is {timed.verdict}")
    if after.profile is None:
        return notes
    elsewhere = other_machine(after.profile)
    if elsewhere is not None:
        notes.append(f"{elsewhere}; the curves are of this one, the budgets as they were chosen for")
    elif abs(timed.whole_ms / after.profile.full_ms - 1) > _APART:
        notes.append(
            f"the backbone alone takes {timed.whole_ms:.4g} ms in this run and {after.profile.full_ms:.4g} ms in the "
            "profile; the curves are of this run"
        )
    return notes


def _budget_note(after: AfterTraining, training: StaticTraining, statics: list[StaticResult]) -> str:
    """What was equal, and what was not."""
    began = ", ".join(f"{found.name} from {found.weights}" for found in statics)
    trained = after.outcomes.training
    own = trained.get("epochs")
    had = "an unknown number of" if own is None else str(own)
    return (
        f"equal budget: each static model was trained for {training.epochs} epochs of the same samples ({began}), the "
        f"multi-exit model for {had}; what weights had been trained before is not counted"
    )
