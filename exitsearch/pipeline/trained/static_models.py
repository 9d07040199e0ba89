"""Static models beside a multi-exit one: trained on the same data for as many epochs, measured in one run with it.

    DIR/compare/<model>/static.json, model.safetensors     what was trained; the same again is not trained twice

What is equal, and said: the samples, the epochs, the machine and the minutes of the measurement. What is not: a
backbone that had been trained before its exits were has had more than these epochs, and so has a static model that
begins with pretrained weights. Both are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from exitsearch.errors import FileError, InputError, MismatchError, UnavailableError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.places import plain_name
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.curves import OverBudget, StaticResult, Times, over_budget
from exitsearch.pipeline.trained.question import exit_pairs
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.document import Document
from exitsearch.specs.frames.columns import SPLIT
from exitsearch.specs.frames.frame import Column, Frame
from exitsearch.specs.outcomes import Scalar, Score
from exitsearch.specs.table import whole_number

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.learn.static import StaticTraining
    from exitsearch.models.backbone import Backbone

FOLDER, RECORD_FILE, WEIGHTS_FILE = "compare", "static.json", "model.safetensors"
MAX_SECONDS = 20.0
# The profiler's own verdict calls a machine changed beyond this (measure/guard.py).
_APART = 0.05


@dataclass(frozen=True)
class Named:
    """A static model as it is named: timm's name, and the side of its input where that is not the backbone's."""

    name: str
    side: int | None = None

    def __str__(self) -> str:
        return self.name if self.side is None else f"{self.name}@{self.side}"


_SCORES = Frame(
    title=lambda record: f"static model {record.trained.get('model', '')}".rstrip(),
    columns={"split": SPLIT, "score": Column("metric of its answers, in the metric's own sign")},
    rows=lambda record: record.scores.items(),
)


class StaticRecord(Document):
    """A static model that was trained.

    Attributes:
        trained: everything that the result depends on.
        scores: metric by split.
    """

    kind: ClassVar[str] = "static model"
    frame: ClassVar[Frame] = _SCORES
    trained: dict[str, Scalar]
    scores: dict[str, Score]


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
            _asked(config, named).create(device="meta")
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
    from exitsearch.measure.beside import measure_beside
    from exitsearch.measure.guard import other_machine
    from exitsearch.measure.machine.fingerprint import resolve_device

    watch = watch or Quiet()
    named = [one if isinstance(one, Named) else parse_models([one])[0] for one in _listed(models)]
    check_models(after.config, named)
    training = _training(after, epochs, batch_size, learning_rate, seed)
    facts = {} if after.profile is None else after.profile.environment.identity
    where = str(resolve_device(device or str(facts.get("device", "cpu"))))
    made = [_Static(after, one, data, training, pretrained, where, threads, watch).made() for one in named]
    pairs = exit_pairs(after.config)
    size, many = facts.get("batch_size"), facts.get("threads")
    with watch.progress("timing all models together") as report:
        timed = measure_beside(
            backbone or _backbone(after.config),
            [pairs, *([pair] for pair in pairs)],
            [model for model, _ in made],
            device=where,
            dtype=str(facts.get("dtype", "fp32")),
            batch_size=size if isinstance(size, int) else 1,
            threads=threads or (many if isinstance(many, int) else None),
            runtime=str(facts.get("runtime", "eager")),
            max_seconds=max_seconds,
            seed=seed,
            progress=report,
        )
    words = ", ".join(f"{key} {value}" for key, value in timed.condition.items())
    times = Times(
        answers_ms=tuple(timed.paths[0].answers_ms),
        alone_ms=(*(path.answers_ms[0] for path in timed.paths[1:]), timed.whole_ms),
        slowdown=tuple(timed.slowdown),
        source=f"one run of all models together here ({words})",
    )
    statics = [
        result(latency_ms=path.answers_ms[0], interval_ms=path.intervals_ms[0])
        for (_, result), path in zip(made, timed.models, strict=True)
    ]
    notes = [_budget_note(after, training, statics)]
    if timed.verdict.status != "ok":
        notes.append(f"the times of this run are in doubt: its verdict is {timed.verdict}")
    elsewhere = None if after.profile is None else other_machine(after.profile)
    if elsewhere is not None:
        notes.append(f"{elsewhere}; the curves are of this one, the budgets as they were chosen for")
    elif after.profile is not None and abs(timed.whole_ms / after.profile.full_ms - 1) > _APART:
        notes.append(
            f"the backbone alone takes {timed.whole_ms:.4g} ms in this run and {after.profile.full_ms:.4g} ms in the "
            "profile; the curves are of this run"
        )
    return over_budget(after, times=times, statics=statics, notes=notes)


@dataclass(frozen=True)
class _Static:
    """One static model to be made."""

    after: AfterTraining
    named: Named
    data: Callable[[Backbone], DataSplits] | str
    training: StaticTraining
    pretrained: bool | None
    device: str
    threads: int | None
    watch: Watch

    def made(self) -> tuple[Backbone, Callable[..., StaticResult]]:
        """The trained model, and its result but for the times."""
        from exitsearch.learn.bank.checkpoint import save_tensors
        from exitsearch.learn.data import load_data
        from exitsearch.learn.static import static_scores, train_static
        from exitsearch.models.multi_exit import load_state

        model = self._created()
        began = model.weights
        data = load_data(self.data, backbone=model) if isinstance(self.data, str) else self.data(model)
        self._check_same_samples(data)
        folder = self.after.folder / FOLDER / plain_name(str(self.named))
        facts: dict[str, Scalar] = {
            "model": str(self.named),
            "weights": began,
            "data": f"{data.name} {data.identity}",
            "input_size": "x".join(map(str, model.input_size)),
            **asdict(self.training),
            "augment": ",".join(self.training.augment),
        }
        record = self._known(folder, facts)
        model.to(self.device)
        if record is not None:
            load_state(model.module, folder / WEIGHTS_FILE)
            model.eval()
        else:
            with self.watch.progress(f"training {self.named}") as report, torch_threads(self.threads):
                train_static(model, data, training=self.training, progress=report)
                scores = static_scores(model, data)
            save_tensors(folder / WEIGHTS_FILE, dict(model.module.state_dict()))
            record = StaticRecord(schema_version=StaticRecord.current_version, trained=facts, scores=scores)
            record.write(folder / RECORD_FILE)

        def result(**times: Any) -> StaticResult:
            assert record is not None
            return StaticResult(
                name=str(self.named),
                weights=began,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                epochs=self.training.epochs,
                input_size=model.input_size,
                scores=record.scores,
                **times,
            )

        return model, result

    def _created(self) -> Backbone:
        asked = _asked(self.after.config, self.named, seed=self.training.seed)
        if self.pretrained is not None:
            return asked.changed(pretrained=self.pretrained).create()
        try:
            return asked.changed(pretrained=True).create()
        except UnavailableError as error:
            self.watch.note(f"{error}; {self.named} is trained from random weights")
            return asked.changed(pretrained=False).create()

    def _check_same_samples(self, data: DataSplits) -> None:
        from exitsearch.learn.data.tiles import picture_labels

        outcomes = self.after.outcomes
        for split in outcomes.splits:
            samples = outcomes.samples(split)
            if samples is None or not np.array_equal(samples.labels, picture_labels(data.split(split)).numpy()):
                raise MismatchError(
                    f"{data.name} has other samples in the split {split} than those that the multi-exit model was "
                    "judged on; give the data that it was trained on"
                )

    def _known(self, folder: Path, facts: dict[str, Scalar]) -> StaticRecord | None:
        """What was trained in the same way before; None where nothing was."""
        try:
            record = StaticRecord.read(folder / RECORD_FILE)
        except FileError:  # none, or one that is broken: as if it were not there
            return None
        return record if record.trained == facts and (folder / WEIGHTS_FILE).exists() else None


def _asked(config: MultiExitConfig, named: Named, *, seed: int = 0) -> BackboneRequest:
    """A static model for a configuration's inputs and outputs."""
    facts = config.backbone
    size: int | tuple[int, int] | None = named.side
    if size is None and facts.input_size is not None:
        size = (facts.input_size[1], facts.input_size[2])
    return BackboneRequest(
        name=named.name,
        num_outputs=facts.num_outputs,
        image_size=size,
        in_chans=facts.input_size[0] if facts.input_size else None,
        task=facts.task,
        seed=seed,
    )


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
