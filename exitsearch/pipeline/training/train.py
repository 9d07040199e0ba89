"""The step `train`: train the chosen multi-exit model by a recipe, and look at what it has come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.errors import ExitSearchError, InputError, MismatchError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.outcomes import RECIPE, Training
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.trained.after import AfterTraining, after_training
from exitsearch.pipeline.trained.judge import chances_of, judge_of
from exitsearch.pipeline.trained.origins import profile_of
from exitsearch.pipeline.training.model_training import Changes as Changes
from exitsearch.pipeline.training.model_training import ModelTraining as ModelTraining
from exitsearch.pipeline.training.start import FRESH as FRESH
from exitsearch.pipeline.training.start import take_heads
from exitsearch.pipeline.watch import Quiet, Silent, Watch
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.load import load_config

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.learn.recipes.recipe import Recipe
    from exitsearch.models.backbone import Backbone
    from exitsearch.models.multi_exit import MultiExitModel

# The folder of a trained model, beside its configuration; those of other recipes carry the recipe's name behind it.
TRAINED = "trained"


@dataclass(frozen=True)
class Trained:
    """What training a chosen model has come to.

    Attributes:
        folder: holds the model; read it with `load_model`.
        config: what was trained.
        scores: per split, the metric of each chosen exit in order and last of the final exit.
        criterion: what its weights are the best by, in words; None where the heads alone were trained.
        kept: stage, epoch and value of the weights; None where the heads alone were trained.
        after: what it is worth beside what was predicted (`after_training`); None where that is not known.
    """

    folder: Path
    config: MultiExitConfig
    scores: dict[str, list[float]]
    criterion: str | None = None
    kept: dict[str, Any] | None = None
    after: AfterTraining | None = None


@dataclass(frozen=True)
class Made:
    """What a training works on.

    Attributes:
        config: with the number of outputs.
        backbone: with its weights.
        data: prepared for it.
    """

    config: MultiExitConfig
    backbone: Backbone
    data: DataSplits


def trained_folder(config_file: Path, recipe: Recipe) -> Path:
    """Where a recipe's model is kept: beside the configuration, `trained` for heads alone, `trained-<recipe>` else."""
    beside = config_file if config_file.is_dir() else config_file.parent
    return beside / (f"{TRAINED}-{recipe.name}" if recipe.stages else TRAINED)


def make(config: MultiExitConfig, training: Training, asked: ModelTraining, *, watch: Watch) -> Made:
    """The backbone and the data of a configuration.

    Raises:
        MismatchError: the configuration names no backbone, or the data have other outputs.
        InputError: data or weights that there are not.
    """
    facts = config.backbone
    if facts.name is None:
        raise MismatchError("the configuration does not name its backbone; search again with --model NAME")
    data_name = training.data_for(facts.name)
    outputs = training.outputs(data_name, task=facts.task)
    if facts.num_outputs is None:
        config = config.model_copy(update={"backbone": facts.model_copy(update={"num_outputs": outputs})})
    elif facts.num_outputs != outputs:
        raise MismatchError(
            f"the configuration is for {facts.num_outputs} outputs, the data has {outputs}; take the data that it was "
            "chosen for, or set backbone.num_outputs in it"
        )
    backbone = BackboneRequest(
        name=facts.name,
        pretrained=asked.pretrained,
        checkpoint=asked.checkpoint,
        num_outputs=outputs,
        image_size=facts.input_size[1:] if facts.input_size else None,
        in_chans=facts.input_size[0] if facts.input_size else None,
        task=facts.task,
        side_inputs=facts.side_inputs,
        seed=training.seed,
    ).create_trained(watch)
    return Made(config, backbone, training.load(data_name, backbone=backbone, watch=watch))


def train_chosen(
    config: MultiExitConfig,
    recipe: Recipe,
    training: Training,
    asked: ModelTraining,
    *,
    out: Path,
    watch: Watch,
) -> Trained:
    """Train a chosen model by a recipe, write it, and look at what it has come to.

    Args:
        config: what was chosen.
        recipe: with what was asked for instead of its own numbers.
        training: data, device, threads and seed.
        asked: the rest.
        out: the folder to write, or to go on in.
        watch: is shown the progress.
    """
    from exitsearch.learn.bank.processes import Processes
    from exitsearch.measure.machine.fingerprint import resolve_device

    processes = Processes.from_environment()
    training = training.model_copy(update={"device": processes.own_device(training.device)})
    _check(recipe, asked, out, processes)
    device = resolve_device(training.device)
    made = make(config, training, asked, watch=watch)
    try:
        with torch_threads(training.threads):
            if not recipe.stages:
                return _train_heads(made, recipe, training, asked, out=out, device=device, watch=watch)
            return _train_stages(made, recipe, training, asked, out=out, device=device, watch=watch)
    finally:
        made.data.close()


def _check(recipe: Recipe, asked: ModelTraining, out: Path, processes: Any) -> None:
    """Refuse what a recipe that trains the heads alone does not take."""
    from exitsearch.learn.engine.folder.record import RECORD_FILE

    if recipe.stages:
        return
    own = ModelTraining()
    for name in ("start", "teacher", "unlabelled", "mixed_precision", "accumulate", "tensorboard"):
        if getattr(asked, name) != getattr(own, name):
            option = name.replace("_", "-")
            raise InputError(
                f"{recipe.name} trains the heads alone, over the frozen backbone, and takes no --{option}; leave it "
                "out, or take a recipe with stages (exitsearch list recipes)"
            )
    if processes.count > 1:
        raise InputError(
            f"{recipe.name} trains the chosen heads in one process, found {processes.count}; start it alone, or train "
            "them as candidates (exitsearch train-heads), which processes share"
        )
    if (out / RECORD_FILE).exists() and not asked.restart:
        raise MismatchError(
            f"{out} holds a model that another recipe trained; choose another --out, or start afresh with --restart"
        )


def _train_heads(
    made: Made, recipe: Recipe, training: Training, asked: ModelTraining, *, out: Path, device: Any, watch: Watch
) -> Trained:
    from exitsearch.learn.engine.folder.files import clear
    from exitsearch.learn.train import train_config

    assert recipe.head_recipe is not None
    if asked.restart:
        clear(out)
    with watch.progress(f"training {len(made.config.exits)} exits") as report:
        result = train_config(
            made.config,
            backbone=made.backbone,
            data=made.data,
            recipe=recipe.head_recipe,
            out=out,
            seed=training.seed,
            progress=report,
            note=watch.note,
            device=device,
        )
    return Trained(out, made.config, result.scores, after=_look_at(made.config, out, watch))


def _train_stages(
    made: Made, recipe: Recipe, training: Training, asked: ModelTraining, *, out: Path, device: Any, watch: Watch
) -> Trained:
    from exitsearch.learn.bank.identity import weights_digest
    from exitsearch.learn.bank.processes import Processes
    from exitsearch.learn.engine.train import train_model

    model, given = prepare(made, recipe, training, asked, watch=watch)
    before = weights_digest(made.backbone)
    with watch.progress(f"training by {recipe.name}") as report:
        found = train_model(
            model,
            made.data,
            recipe=recipe,
            out=out,
            seed=training.seed,
            device=device,
            restart=asked.restart,
            tensorboard=asked.tensorboard,
            mixed_precision=asked.mixed_precision,  # type: ignore[arg-type]  # it is checked there
            accumulate=asked.accumulate,
            progress=report,
            note=watch.note,
            **given,
        )
    after = None
    if Processes.from_environment().first:
        _write_outcomes(model, made.data, found.recipe, out=out, before=before, seed=training.seed)
        after = _look_at(made.config, out, watch)
    kept = None if found.kept is None else found.kept.model_dump()
    return Trained(out, made.config, found.scores, found.criterion, kept, after)


def prepare(
    made: Made, recipe: Recipe, training: Training, asked: ModelTraining, *, watch: Watch
) -> tuple[MultiExitModel, dict[str, Any]]:
    """The model as it is to start, and what else `train_model` is given."""
    from exitsearch.models.multi_exit import attach_exits

    model = attach_exits(made.backbone, config=made.config, seed=training.seed)
    if not recipe.stages:  # the heads learn from the start, whatever stands elsewhere
        return model, {}
    source = take_heads(model, made.data, start=asked.start)
    given: dict[str, Any] = {"warm": source is not None}
    watch.note("the heads begin fresh" if source is None else f"the heads begin as they stand in {source}")
    if asked.teacher is not None:
        from exitsearch.pipeline.training.teacher import load_teacher

        given["teacher"] = load_teacher(asked.teacher, student=made.backbone)
    if asked.unlabelled is not None:
        from exitsearch.learn.engine.batches.unlabelled import unlabelled_images

        if all(stage.labels for stage in recipe.stages):
            raise InputError(f"{recipe.name} learns from labels, and unlabelled samples have none; take copycat")
        given["unlabelled"] = unlabelled_images(asked.unlabelled, backbone=made.backbone, task=made.data.task)
    return model, given | _judged(made.config, recipe, watch)


def _judged(config: MultiExitConfig, recipe: Recipe, watch: Watch) -> dict[str, Any]:
    """What weights are kept by, and how likely each exit's answer is the one in hand, as the configuration asks."""
    found: dict[str, Any] = {}
    profile = profile_of(config).profile
    if any(stage.loss == "budget" for stage in recipe.stages):
        found["chances"] = chances_of(config, profile=profile)
    try:
        found["judge"] = judge_of(config, profile=profile)
    except InputError as error:
        watch.note(f"weights are kept by the mean score of the exits, since their value is not known: {error}")
    return found


def _write_outcomes(
    model: MultiExitModel, data: DataSplits, recipe: Recipe, *, out: Path, before: str, seed: int
) -> None:
    """What the trained exits answer to every sample, beside the model."""
    from exitsearch.learn.trained import trained_outcomes

    epochs = sum(stage.epochs for stage in recipe.stages)
    facts: dict[str, Any] = {"recipe": recipe.name, "epochs": epochs, "seed": seed}
    trained_outcomes(model, data, out=out, recipe_facts=facts, start=before)


def _look_at(config: MultiExitConfig, folder: Path, watch: Watch) -> AfterTraining | None:
    """What the trained model is worth beside what was predicted; None, and a sentence, where that cannot be known."""
    try:
        return after_training(config, folder, watch=watch)
    except ExitSearchError as error:  # the model stands, whatever cannot be said of it
        watch.note(f"what the trained model is worth is not known: {error}")
        return None


def train(
    config: MultiExitConfig | Path | str,
    *,
    data: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    workers: int | None = None,
    recipe: str | Recipe = RECIPE,
    start: Path | str | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    teacher: Path | str | None = None,
    unlabelled: Path | str | None = None,
    mixed_precision: str = "no",
    accumulate: int = 1,
    tensorboard: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    restart: bool = False,
    watch: Watch | None = None,
    **changes: Any,
) -> Trained:
    """Train the chosen multi-exit model: `exitsearch train`.

    Started by torchrun or accelerate, the processes share every batch.

    Args:
        config: itself, or its file, or the folder that it is in.
        data: as in `load_data`; needed for any backbone but the embedded default.
        data_dir, download, workers: as in `train_heads`.
        recipe: itself, or its name (`exitsearch list recipes`).
        start: an outcomes folder whose heads the model begins with, or `fresh`; None takes one that fits, if it is in
            `outcomes/`. Recipes that train the heads alone begin fresh.
        pretrained: of the backbone: True insists on timm's weights, False begins with random ones.
        checkpoint: a local safetensors file of the backbone's weights.
        teacher: as in `load_teacher`, for recipes that learn from one.
        unlabelled: a folder of images for stages that do not look at labels.
        mixed_precision, accumulate, tensorboard, device, seed, restart: as in `train_model`.
        threads: CPU threads; None keeps torch's own number.
        out: the folder to write, or to go on in; None takes `trained`, or for a recipe with stages `trained-<recipe>`,
            beside the file of the configuration, or in the folder that it is run in.
        watch: is shown the progress.
        changes: attributes of `Changes` (`epochs`, `learning_rate`, `mixup`, `loss_options`, ...) instead of the
            recipe's own.

    Raises:
        InputError: something that cannot be used together, or is out of range; the message says why.
        MismatchError: data of other outputs, heads trained over other weights, or a folder with another training.
        ExitSearchError: a loss that is not finite, or a full disk.
    """
    where = Path() if isinstance(config, MultiExitConfig) else Path(config)
    found = config if isinstance(config, MultiExitConfig) else load_config(config)
    asked = Changes.given("recipe", **changes)
    named = asked.of(recipe)
    training = Training.given(
        "training",
        data=data,
        data_dir=data_dir,
        download=download,
        workers=workers,
        device=device,
        threads=threads,
        seed=seed,
    )
    model_training = ModelTraining.given(
        "training",
        changes=asked,
        start=None if start is None else str(start),
        pretrained=pretrained,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        teacher=None if teacher is None else str(teacher),
        unlabelled=None if unlabelled is None else Path(unlabelled),
        mixed_precision=mixed_precision,
        accumulate=accumulate,
        tensorboard=tensorboard,
        restart=restart,
    )
    folder = Path(out) if out is not None else trained_folder(where, named)
    return train_chosen(found, named, training, model_training, out=folder, watch=watch or own_watch(Quiet()))


def own_watch(watch: Watch) -> Watch:
    """The watch of this process: of several that train together, the first one speaks."""
    from exitsearch.learn.bank.processes import Processes

    return watch if Processes.from_environment().first else Silent()
