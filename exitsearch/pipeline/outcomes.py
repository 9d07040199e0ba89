"""The step `train-heads`: find outcomes, or train the candidate heads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from exitsearch.errors import InputError
from exitsearch.pipeline import places
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.profile import GIVEN, as_space, torch_threads
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.backbone import EMBEDDED_NAME, Task
from exitsearch.specs.candidates import Candidates, Pair
from exitsearch.specs.document import Part
from exitsearch.specs.load import load_outcomes
from exitsearch.specs.outcomes import DOCUMENT_NAME, Metric, Outcomes
from exitsearch.specs.published import PUBLISHED_OUTCOMES, published_outcomes
from exitsearch.specs.space import SearchSpace

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.learn.recipes import Recipe
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
        batch_size: inputs of a step, instead of the recipe's own number; None keeps that.
        learning_rate: instead of the recipe's own; None keeps that.
        metric: `mae` trains a regression.
        device: where to train.
        threads: CPU threads; None keeps torch's own number.
        seed: of weights, order and dropout.
    """

    data: str | None = None
    data_dir: str | None = None
    download: bool = False
    workers: int | None = Field(default=None, ge=0)
    recipe: str = RECIPE
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    metric: Metric | None = None
    device: str = "cpu"
    threads: int | None = None
    seed: int = 0

    def data_for(self, name: str) -> str:
        """The data that is meant for a backbone.

        Raises:
            InputError: none was named, and it is not the embedded default.
        """
        if self.data:
            return self.data
        if name.split(".")[0] == EMBEDDED_NAME:
            return "digits"
        raise InputError(
            f"heads over {name} need data to train on: exitsearch train-heads --model {name} --data digits, "
            "or a folder of images with train/ and val/"
        )

    def asked_recipe(self) -> Recipe:
        """The recipe with what was asked for instead of its own numbers."""
        from exitsearch.learn.recipes import get_recipe

        return get_recipe(self.recipe, epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)

    def outputs(self, data: str, *, task: Task) -> int:
        """How many outputs a backbone needs for a data set."""
        from exitsearch.learn.data import data_outputs

        return data_outputs(data, task=task, root=self.data_dir, download=self.download)

    def load(self, data: str, *, backbone: Backbone, watch: Watch) -> DataSplits:
        """The splits of a data set, prepared for a backbone and read for the device."""
        from exitsearch.learn.data import load_data
        from exitsearch.measure.machine import resolve_device

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

    def folder(self, name: str) -> Path:
        """Where the outcomes of a backbone are kept."""
        return places.outcomes_folder(name, self.data_for(name), metric=self.metric)


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

    Args:
        out: the folder to write, or to go on in.
        candidates: what may be chosen; None takes every head wherever it fits.
        exits: exact (placement, head) pairs instead.
        restart: throw away what stands in `out`.
    """
    from exitsearch.learn.bank import train_bank
    from exitsearch.measure.machine import resolve_device
    from exitsearch.models.heads import fitting_exits

    data = training.data_for(model.name)
    device = resolve_device(training.device)
    outputs = model.num_outputs or training.outputs(data, task=model.task)
    backbone = model.changed(num_outputs=outputs).create_trained(watch)
    splits = training.load(data, backbone=backbone, watch=watch)
    if exits is None:
        exits = fitting_exits(backbone.placements, candidates)
    with watch.progress(f"training heads over {backbone.facts.name}") as report, torch_threads(training.threads):
        return train_bank(
            backbone,
            splits,
            exits=exits,
            recipe=training.asked_recipe(),
            out=out,
            seed=training.seed,
            progress=report,
            device=device,
            restart=restart,
        )


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
    batch_size: int | None = None,
    learning_rate: float | None = None,
    metric: Metric | None = None,
    num_outputs: int | None = None,
    image_size: int | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    restart: bool = False,
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
        recipe: its name.
        epochs, batch_size, learning_rate: instead of the recipe's own.
        out: the folder to write, or to go on in; None takes `outcomes/<backbone>__<data>`.
        watch: is shown the progress.

    The other arguments are those of `create_backbone` and `train_bank`, and their errors too.
    """
    space = as_space(space)
    asked = BackboneRequest.asked(
        model,
        space=space,
        pretrained=pretrained,
        checkpoint=checkpoint,
        num_outputs=num_outputs,
        image_size=image_size,
        task="regression" if metric == "mae" else "classification",
        seed=seed,
    )
    training = Training.given(
        "training",
        data=data,
        data_dir=str(data_dir) if data_dir else None,
        download=download,
        workers=workers,
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        metric=metric,
        device=device,
        threads=threads,
        seed=seed,
    )
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


def published_for(name: str) -> list[str]:
    """Sources of the built-in outcomes of a backbone."""
    return [
        f"published:{table}"
        for table in PUBLISHED_OUTCOMES
        if published_outcomes(table).backbone.name == name.split(".")[0]
    ]
