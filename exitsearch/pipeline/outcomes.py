"""The step `train-heads`: find outcomes, or train the candidate heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from exitsearch.errors import InputError
from exitsearch.pipeline import places
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.profile import GIVEN, as_space, free_threads, torch_threads
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.backbone import EMBEDDED_NAME, Task
from exitsearch.specs.document import Part
from exitsearch.specs.load import load_outcomes
from exitsearch.specs.outcomes import DOCUMENT_NAME, Metric, Outcomes
from exitsearch.specs.published import PUBLISHED_OUTCOMES, published_outcomes
from exitsearch.specs.question.candidates import Candidates, Pair
from exitsearch.specs.question.space import SearchSpace
from exitsearch.specs.side import Size

if TYPE_CHECKING:
    from exitsearch.learn.bank.recipe import HeadRecipe
    from exitsearch.learn.data import DataSplits
    from exitsearch.models.backbone import Backbone

RECIPE = "frozen"


class Training(Part):
    """How heads are trained.

    Attributes:
        data: name or folder of the data set; None means the digits, for the embedded default.
        data_dir: the folder in which data sets that have a name are kept; None takes `data`, or what their library
            takes.
        download: fetch what is missing there.
        workers: processes that read the data; None takes what suits it.
        recipe: its name.
        epochs: instead of the recipe's own number; None keeps that.
        augment: changes of training inputs, as `flip,specaugment`; None keeps the recipe's.
        batch_size: inputs of a step, instead of the recipe's own number; None keeps that.
        learning_rate: instead of the recipe's own; None keeps that.
        metric: `mae` trains a regression.
        device: where to train.
        threads: CPU threads; None keeps torch's own number.
        seed: of weights, order and dropout.
        keep_logits: keep the outputs of a classification beside the answers, in float16.
    """

    data: str | None = None
    data_dir: str | None = None
    download: bool = False
    workers: int | None = Field(default=None, ge=0)
    recipe: str = RECIPE
    epochs: int | None = None
    augment: str | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    metric: Metric | None = None
    device: str = "cpu"
    threads: int | None = None
    seed: int = 0
    keep_logits: bool = False

    @field_validator("data_dir", mode="before")
    @classmethod
    def _read_data_dir(cls, given: object) -> object:
        return str(given) if isinstance(given, Path) else given or None

    def data_for(self, name: str) -> str:
        """The data that is meant for a backbone.

        Raises:
            InputError: none was named, and it is not the embedded default.
        """
        if self.has_data_for(name):
            return self.data or "digits"
        raise InputError(
            f"heads over {name} need data to train on; run exitsearch train-heads --model {name} --data digits, "
            "or a folder of images with train/ and val/"
        )

    def asked_recipe(self) -> HeadRecipe:
        """The recipe with what was asked for instead of its own numbers."""
        from exitsearch.learn.bank.recipe import get_head_recipe

        return get_head_recipe(
            self.recipe,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augment=self.augment,
        )

    def outputs(self, data: str, *, task: Task) -> int:
        """How many outputs a backbone needs for a data set."""
        from exitsearch.learn.data import data_outputs

        return data_outputs(data, task=task, root=self.data_dir, download=self.download)

    def load(self, data: str, *, backbone: Backbone, watch: Watch) -> DataSplits:
        """The splits of a data set, prepared for a backbone and read for the device."""
        from exitsearch.learn.data import load_data
        from exitsearch.measure.machine.fingerprint import resolve_device

        with watch.progress(f"looking at {data}") as report:
            return load_data(
                data,
                backbone=backbone,
                task=backbone.facts.task,
                root=self.data_dir,
                download=self.download,
                workers=self.workers,
                device=resolve_device(self.device),
                progress=report,
            )

    def has_data_for(self, name: str) -> bool:
        """Whether heads over a backbone could be trained without asking for data."""
        return self.data is not None or name.split(".")[0] == EMBEDDED_NAME

    def going_on(self, outcomes: Outcomes) -> Training:
        """The same as the heads that stand in outcomes were trained: values can be compared only so."""
        names = ("recipe", "epochs", "batch_size", "learning_rate", "augment", "seed")
        kept: dict[str, Any] = {name: outcomes.training[name] for name in names if name in outcomes.training}
        return self.model_copy(update=kept)

    def folder(self, name: str) -> Path:
        """Where the outcomes of a backbone are kept."""
        return places.outcomes_folder(name, self.data_for(name), metric=self.metric)


class HeadTraining:
    """The heads of one backbone, trained a few at a time; backbone and data are made once, when some are asked for.

    Args:
        model: which backbone.
        training: how.
        out: the folder to write, or to go on in.
        restart: throw away what stands in `out` before the first are trained.
        watch: is shown the progress.
    """

    def __init__(
        self, model: BackboneRequest, training: Training, *, out: Path, restart: bool = False, watch: Watch
    ) -> None:
        self._model, self._training, self._out, self._restart, self._watch = model, training, out, restart, watch
        self._made: tuple[Backbone, DataSplits] | None = None
        self._threads = training.threads

    def __call__(
        self, exits: Iterable[Pair] | None = None, *, candidates: Candidates | None = None, words: str = "heads"
    ) -> Outcomes:
        """Train some candidates; the outcomes are of all heads that are trained in the folder.

        Args:
            exits: (placement, head) pairs; None takes `candidates` wherever they fit.
            candidates: what may be chosen; None takes every head.
            words: what is trained, for people.
        """
        from exitsearch.learn.bank.processes import Processes
        from exitsearch.learn.bank.train import train_bank
        from exitsearch.measure.machine.fingerprint import resolve_device
        from exitsearch.models.heads import fitting_exits

        processes = Processes.from_environment()
        device = resolve_device(processes.own_device(self._training.device))
        backbone, splits = self._ready(str(device))
        if exits is None:
            exits = fitting_exits(backbone.placements, candidates)
        title = f"training {words} over {backbone.facts.name}"
        with self._watch.progress(title) as report, torch_threads(self._threads):
            found = train_bank(
                backbone,
                splits,
                exits=exits,
                recipe=self._training.asked_recipe(),
                out=self._out,
                seed=self._training.seed,
                progress=report,
                device=device,
                restart=self._restart,
                keep_logits=self._training.keep_logits,
                processes=processes,
                note=self._watch.note,
            )
        self._restart = False
        return found

    def _ready(self, device: str) -> tuple[Backbone, DataSplits]:
        if self._made is None:
            data = self._training.data_for(self._model.name)
            outputs = self._model.num_outputs or self._training.outputs(data, task=self._model.task)
            backbone = self._model.changed(num_outputs=outputs).create_trained(self._watch)
            here = self._training.model_copy(update={"device": device})
            self._made = backbone, here.load(data, backbone=backbone, watch=self._watch)
            if self._threads is None and self._training.device == "cpu":
                self._threads = free_threads(self._watch)
        return self._made


def make_outcomes(
    model: BackboneRequest,
    training: Training,
    *,
    out: Path,
    candidates: Candidates | None = None,
    exits: Iterable[Pair] | None = None,
    restart: bool = False,
    watch: Watch,
) -> Outcomes:
    """Train candidate heads over the frozen backbone and write their outcomes.

    Started by torchrun or accelerate, the processes share the heads; all but the first get the scores alone.

    Args:
        out: the folder to write, or to go on in.
        candidates: what may be chosen; None takes every head wherever it fits.
        exits: exact (placement, head) pairs instead.
        restart: throw away what stands in `out`.
    """
    return HeadTraining(model, training, out=out, restart=restart, watch=watch)(exits, candidates=candidates)


def train_heads(
    model: str | None = None,
    *,
    data: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    workers: int | None = None,
    heads: str | Iterable[str] | None = None,
    placements: str | Iterable[int] | None = None,
    space: SearchSpace | Path | str | None = None,
    recipe: str = RECIPE,
    epochs: int | None = None,
    augment: str | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    metric: Metric | None = None,
    num_outputs: int | None = None,
    image_size: int | None = None,
    in_chans: int | None = None,
    side_inputs: Mapping[str, Size] | str | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    restart: bool = False,
    keep_logits: bool = False,
    watch: Watch | None = None,
) -> Outcomes:
    """Train every candidate head over the frozen backbone and keep what each answered: `exitsearch train-heads`.

    Args:
        model: timm's name; None takes the space's backbone, or the embedded default.
        data: as in `load_data`; needed for any backbone but the embedded default.
        data_dir: the folder in which data sets that have a name are kept; None takes `data`, or what their library
            takes.
        download: fetch what is missing there.
        workers: processes that read the data; None takes what suits it.
        heads: candidate heads, as a text with commas or one by one; None takes all that fit.
        placements: candidate placements, numbers or a text like `0,2,4-8`; None takes all.
        space: a search space or its file; it and the options both hold.
        side_inputs: further inputs that heads may read, by name or as `audio=1x32x64`; the data must have them.
        recipe: its name.
        augment: changes of training inputs, as `flip,specaugment`; None keeps the recipe's.
        epochs, batch_size, learning_rate: instead of the recipe's own.
        out: the folder to write, or to go on in; None takes `outcomes/<backbone>__<data>`.
        watch: is shown the progress.

    The other arguments are those of `create_backbone` and `train_bank`, and their errors too.
    """
    space = as_space(space)
    inputs = {"image_size": image_size, "in_chans": in_chans, "side_inputs": side_inputs}
    asked = BackboneRequest.asked(
        model,
        space=space,
        pretrained=pretrained,
        checkpoint=checkpoint,
        num_outputs=num_outputs,
        **inputs,
        task="regression" if metric == "mae" else "classification",
        seed=seed,
    )
    machine = {"device": device, "threads": threads, "seed": seed}
    taught_on = {"data": data, "data_dir": data_dir, "download": download, "workers": workers}
    numbers = {"epochs": epochs, "augment": augment, "batch_size": batch_size, "learning_rate": learning_rate}
    given = {"recipe": recipe, "metric": metric, "keep_logits": keep_logits}
    training = Training.given("training", **taught_on, **numbers, **machine, **given)
    return make_outcomes(
        asked,
        training,
        out=Path(out) if out else training.folder(asked.name),
        candidates=Candidates.of(heads=heads, placements=placements, space=space),
        restart=restart,
        watch=watch or Quiet(),
    )


def find_outcomes(
    source: Outcomes | str | None, *, name: str | None, training: Training, asked_name: str | None = None
) -> tuple[Outcomes, str] | None:
    """The outcomes that were named, or the newest of a backbone, with where they came from; None when there are none.

    Args:
        source: themselves, or as `load_outcomes` takes it; None looks in `outcomes/`.
        name: of the backbone that the profile is of.
        training: its data, if named, and metric must be those of the outcomes.
        asked_name: of the backbone that was asked for, against which a named source is checked.
    """
    if isinstance(source, Outcomes):
        return source, GIVEN
    if source is not None:
        metric: Metric = training.metric or "accuracy"
        return load_outcomes(source, metric=metric, backbone=asked_name), source
    if name is None:
        return None
    data = training.data or ("digits" if name == EMBEDDED_NAME else "*")
    folder = places.outcomes_folder(name, data, metric=training.metric).name
    found = places.newest(places.OUTCOMES, f"{folder}/{DOCUMENT_NAME}")
    return None if found is None else (load_outcomes(found, backbone=name), str(found.parent))


def check_outcomes(source: Outcomes | str | None, *, name: str, training: Training) -> None:
    """Refuse what will come to no outcomes: none are named, none stand here, and there is no data to train heads on.

    Args:
        source: what was named, as in `find_outcomes`.
        name: of the backbone.
        training: how heads would be trained.

    Raises:
        InputError: says how to come to some.
    """
    name = name.split(".")[0]
    if source is not None or training.has_data_for(name) or find_outcomes(None, name=name, training=training):
        return
    built_in = published_for(name)
    bring = f"; or take the built-in --outcomes {' or --outcomes '.join(built_in)}" if built_in else ""
    raise InputError(
        f"there are no outcomes of {name} yet; add --data digits or --data FOLDER to train its heads now, or "
        f"run exitsearch train-heads --model {name} --data FOLDER{bring}"
    )


def published_for(name: str) -> list[str]:
    """Sources of the built-in outcomes of a backbone."""
    return [
        f"published:{table}"
        for table in PUBLISHED_OUTCOMES
        if published_outcomes(table).backbone.name == name.split(".")[0]
    ]
