"""Training one static model: an ordinary model for the inputs and outputs of a multi-exit one, on the same samples.

DIR/compare/<model>/static.json, model.safetensors     what was trained; the same again is not trained twice
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from exitsearch.errors import FileError, MismatchError, UnavailableError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.places import plain_name
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.curves import StaticResult
from exitsearch.pipeline.watch import Watch
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.document import Document
from exitsearch.specs.frames.columns import SPLIT
from exitsearch.specs.frames.frame import Column, Frame
from exitsearch.specs.outcomes import Scalar, Score

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.learn.static import StaticTraining
    from exitsearch.models.backbone import Backbone

FOLDER, RECORD_FILE, WEIGHTS_FILE = "compare", "static.json", "model.safetensors"


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


def static_request(config: MultiExitConfig, named: Named, *, seed: int = 0) -> BackboneRequest:
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


@dataclass(frozen=True)
class StaticJob:
    """One static model to be made.

    Attributes:
        after: what training of the multi-exit model has come to.
        named: which model.
        data: what the multi-exit model was trained on, or a function that prepares it for a backbone.
        training: how.
        pretrained: True insists on timm's weights, False draws random ones; None takes what can be had.
        device: where to train.
        threads: of torch on the CPU; None keeps its own number.
        watch: is shown the progress.
    """

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
        asked = static_request(self.after.config, self.named, seed=self.training.seed)
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
