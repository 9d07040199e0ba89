"""What all peers are made of: one trained model, its bundle, its data, and static models trained on the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.data import DataSplits, Split
from exitsearch.models.backbone import Backbone
from exitsearch.models.inputs import main_input
from exitsearch.models.multi_exit import MultiExitModel, load_model, load_state
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.places import plain_name
from exitsearch.pipeline.trained.static_models import compare_static, parse_models
from exitsearch.pipeline.trained.static_training import FOLDER, RECORD_FILE, WEIGHTS_FILE, Named, StaticRecord
from exitsearch.specs.bundle import BUNDLE_FILE, Bundle

if TYPE_CHECKING:
    from exitsearch.pipeline.watch import Watch
    from exitsearch.runtime import Session

Array = NDArray[Any]
# The splits of the data, prepared for a backbone.
Load = Callable[[Backbone], DataSplits]

_BATCH = 64
# Of outputs of about 1: a bundle in fp32 is within 1e-4 of torch, other weights are far beyond this.
_SAME = 1e-2


@dataclass(frozen=True)
class Material:
    """What is compared, prepared.

    Attributes:
        model: that was trained.
        bundle: the manifest of its bundle.
        session: the bundle, loaded.
        inputs: of the report split, each [1, channels, height, width].
        labels: of the same [samples].
        indices: of the same in the split.
        outputs: of every exit over the choice split, each [samples, classes].
        choice_labels: of the same [samples].
    """

    model: MultiExitModel
    bundle: Bundle
    session: Session
    inputs: list[Array]
    labels: Array
    indices: list[int]
    outputs: list[Array]
    choice_labels: Array


@dataclass(frozen=True)
class StaticModel:
    """A static model that was trained.

    Attributes:
        name: as it is named in `--static`.
        model: in eval mode.
        score: accuracy on the choice split.
        inputs: of the report split, prepared as it was trained, each [1, channels, height, width].
        words: what it is.
    """

    name: str
    model: Backbone
    score: float
    inputs: list[Array]
    words: str


def spread(split: Split, count: int) -> list[int]:
    """Numbers of samples spread over a split, which may be sorted by class."""
    return list(range(0, len(split), max(1, -(-len(split) // count))))


def taken(split: Split, indices: Sequence[int]) -> tuple[list[Array], Array]:
    """Inputs one by one, and labels."""
    inputs: list[Array] = []
    labels: list[Array] = []
    for begin in range(0, len(indices), _BATCH):
        batch, found = split.batch(list(indices[begin : begin + _BATCH]))
        whole = main_input(batch).numpy().astype(np.float32, copy=False)
        inputs += [np.ascontiguousarray(whole[i : i + 1]) for i in range(len(whole))]
        labels.append(found.numpy())
    return inputs, np.concatenate(labels)


def every_exit(model: MultiExitModel, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of every exit in torch, the final one last, each [samples, classes]."""
    found = []
    with torch.inference_mode():
        for begin in range(0, len(inputs), _BATCH):
            x = torch.from_numpy(np.concatenate(list(inputs[begin : begin + _BATCH])))
            found.append([outputs.float().numpy() for outputs in model(x)])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def gather(bundle: Path, trained: Path, *, load: Load, samples: int, choice: int, threads: int) -> Material:
    """Load model, bundle and data, and check that they belong together.

    Args:
        bundle: its folder.
        trained: folder of the model.
        load: the data.
        samples: of the report split, at most.
        choice: samples of the choice split, at most.
        threads: of the session.

    Raises:
        InputError: the model is no classifier.
        MismatchError: the bundle answers otherwise than the model.
    """
    from exitsearch.pipeline.verify import faults_as_errors
    from exitsearch.runtime import load_bundle

    model = load_model(trained)
    if model.config.backbone.task != "classification":
        raise InputError("peers are compared over classes, and this model is a regression; give a classifier")
    with faults_as_errors():
        session = load_bundle(bundle, threads=threads)
    splits = load(model.backbone)
    indices = spread(splits.report, samples)
    inputs, labels = taken(splits.report, indices)
    found = Material(
        model,
        Bundle.read(bundle / BUNDLE_FILE),
        session,
        inputs,
        labels,
        indices,
        *_over_choice(model, splits, choice),
    )
    _check_same(found)
    return found


def _over_choice(model: MultiExitModel, splits: DataSplits, count: int) -> tuple[list[Array], Array]:
    inputs, labels = taken(splits.choice, spread(splits.choice, count))
    return every_exit(model, inputs), labels


def _check_same(found: Material) -> None:
    """One trained model: what the bundle answers is what the model does."""
    if found.bundle.precision != "fp32":
        return
    few = found.inputs[:8]
    pairs = zip(found.session.every_exit(np.concatenate(few)), every_exit(found.model, few), strict=False)
    furthest = max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)
    if len(found.session.exits) != len(found.outputs) or furthest > _SAME * max(
        1.0, float(np.abs(found.outputs).max())
    ):
        raise MismatchError(
            f"the bundle's outputs differ by {furthest:.3g} from those of the trained model; give the bundle that "
            "exitsearch export wrote of it"
        )


def static_models(
    trained: Path,
    names: str,
    *,
    material: Material,
    load: Load,
    epochs: int | None,
    pretrained: bool | None,
    threads: int,
    seed: int,
    watch: Watch,
) -> list[StaticModel]:
    """Static models beside a trained one, as `exitsearch train --compare` makes them; those that stand are not remade.

    Args:
        trained: folder of the multi-exit model.
        names: as for `--compare`; none: all that stand.
        material: whose samples they answer.
        load: the data that they are trained on.
        epochs: of those that are missing; None: as many as the multi-exit model had.
        pretrained: whether those begin with timm's weights; None: where they can be had.
        threads: of training.
        seed: of training.
        watch: is shown the progress.

    Raises:
        InputError: an unknown model, or one that cannot be made for these inputs.
        MismatchError: other samples.
    """
    from exitsearch.pipeline.trained.after import after_training

    folder = trained / FOLDER
    wanted = parse_models(names) if names else _standing(folder)
    missing = [named for named in wanted if not _record(folder, named).is_file()]
    if missing:
        compare_static(
            after_training(material.model.config, trained, watch=watch),
            missing,
            data=load,
            epochs=epochs,
            pretrained=pretrained,
            threads=threads,
            max_seconds=1.0,
            seed=seed,
            watch=watch,
        )
    return [_static(folder, named, material, load) for named in wanted]


def _record(folder: Path, named: Named) -> Path:
    return folder / plain_name(str(named)) / RECORD_FILE


def _standing(folder: Path) -> list[Named]:
    records = [StaticRecord.read(path) for path in sorted(folder.glob(f"*/{RECORD_FILE}"))]
    return [parse_models([str(record.trained["model"])])[0] for record in records]


def _static(folder: Path, named: Named, material: Material, load: Load) -> StaticModel:
    record = StaticRecord.read(_record(folder, named))
    facts = material.model.config.backbone
    assert facts.input_size is not None
    channels, height, width = (int(side) for side in str(record.trained["input_size"]).split("x"))
    model = BackboneRequest(
        name=named.name,
        pretrained=False,
        num_outputs=facts.num_outputs,
        image_size=(height, width),
        in_chans=channels,
        task=facts.task,
    ).create()
    load_state(model.module, _record(folder, named).parent / WEIGHTS_FILE)
    model.eval()
    splits = load(model)
    inputs, labels = taken(splits.report, material.indices)
    if not np.array_equal(labels, material.labels):
        raise MismatchError(
            f"{splits.name} has other samples for {named} than for the trained model; name its own data"
        )
    score = record.scores["choice"]
    return StaticModel(
        str(named),
        model,
        score,
        inputs,
        f"trained for {record.trained['epochs']} epochs from {record.trained['weights']}",
    )
