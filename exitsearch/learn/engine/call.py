"""Call: one call of `train_model`, from what stands in its folder to the finished model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.data import DataSplits, Split
from exitsearch.learn.engine.batches.unlabelled import with_unlabelled
from exitsearch.learn.engine.folder import files as folders
from exitsearch.learn.engine.folder.record import (
    RECORD_FILE,
    TrainingRecord,
    module_digest,
    read_record,
    training_identity,
    versions,
)
from exitsearch.learn.engine.folder.state import CHECKPOINTS_FOLDER
from exitsearch.learn.engine.judge import Judge, criterion_words, default_judge, exit_answers, exit_scores
from exitsearch.learn.engine.legs.heads_first import train_heads_first
from exitsearch.learn.engine.legs.leg import legs_of
from exitsearch.learn.engine.run import EngineRun, from_first
from exitsearch.learn.engine.setting import Progress, Setting
from exitsearch.learn.engine.units import restore, scale_of, standardise
from exitsearch.learn.recipes.curriculum import sample_difficulty
from exitsearch.learn.recipes.outputs import exit_facts
from exitsearch.learn.recipes.recipe import Recipe
from exitsearch.learn.targets import TargetScale
from exitsearch.models.multi_exit import MODEL_FILE, MultiExitModel, load_state, read_tensors

# Samples at once when the finished model is scored; its stages say it while it trains.
_EVALUATION_BATCH = 256


@dataclass(kw_only=True)
class Call:
    """One call of `train_model`; what is not described here is an argument of that function.

    Attributes:
        accelerator: device, precision and processes.
        own: whether each parameter of the model, by its name, trains at all.
    """

    model: MultiExitModel
    data: DataSplits
    recipe: Recipe
    out: Path
    seed: int
    warm: bool
    teacher: nn.Module | None
    unlabelled: Split | None
    chances: Sequence[float] | None
    judge: Judge | None
    order: Tensor | None
    accumulate: int
    accelerator: Accelerator
    checkpoint_minutes: float
    until: int | None
    tensorboard: bool
    own: Mapping[str, bool]
    progress: Progress | None
    note: Callable[[str], None]

    def train(self, *, restart: bool) -> TrainingRecord:
        """Train what is left, and write the result; the record of it."""
        identity = self._identity()
        if restart and self.accelerator.is_main_process:
            folders.clear(self.out)
        found = from_first(self.accelerator, lambda: self._standing(identity))
        if found is not None and found.finished:
            return self._taken(found)
        record = TrainingRecord(
            schema_version=TrainingRecord.current_version,
            identity_of=identity,
            criterion=criterion_words(self.data.task, self.judge),
            settings=self._settings(),
            versions=versions(),
        )
        scale = scale_of(self.model, TargetScale.for_task(self.data.heads.labels, task=self.data.task))
        share = self._train_heads()
        self.model.to(self.accelerator.device)
        setting = self._setting(identity, scale)
        if scale is not None and self.recipe.stages:
            standardise(self.model, scale, trained=self.warm or self.recipe.heads is not None)
        run = EngineRun(
            self.model,
            setting=setting,
            record=record,
            checkpoint_minutes=self.checkpoint_minutes,
            until=self.until,
            tensorboard=self.tensorboard,
            progress=_later(self.progress, share),
        )
        ended = run.train()
        if not ended:
            last = run.position.history[-1:]
            return run.updated_record(scores={"choice": last[0]["scores"]} if last else {})
        run.load_best()
        if scale is not None and self.recipe.stages:
            restore(self.model, scale)
        return self._finish(run)

    def _identity(self) -> dict[str, Any]:
        return training_identity(
            self.model,
            self.data,
            recipe=self.recipe,
            seed=self.seed,
            warm=self.warm,
            teacher=None if self.teacher is None else module_digest(self.teacher),
            unlabelled=None if self.unlabelled is None else len(self.unlabelled),
            chances=None if self.chances is None else list(self.chances),
            criterion=criterion_words(self.data.task, self.judge),
            order=None if self.order is None else module_digest(_Kept(self.order)),
            mixed_precision=self.accelerator.mixed_precision,
            accumulate=self.accumulate,
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "device": str(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "mixed_precision": self.accelerator.mixed_precision,
            "accumulate": self.accumulate,
        }

    def _standing(self, identity: Mapping[str, Any]) -> TrainingRecord | None:
        return read_record(self.out, identity=identity)

    def _taken(self, record: TrainingRecord) -> TrainingRecord:
        """The record of a training that stands finished, once the model has its weights."""
        path = self.out / MODEL_FILE

        def read() -> dict[str, Tensor]:
            load_state(self.model, path)
            return dict(self.model.state_dict())

        self.model.load_state_dict(from_first(self.accelerator, read))
        self.model.to(self.accelerator.device)
        self._say_trained()
        return record

    def _train_heads(self) -> float:
        """Train the heads first where the recipe says so; which share of all epochs that was.

        A new final classifier learns along. Where no head is trained first and the first stage leaves the backbone as
        it is, the classifier is trained alone: stages learn from what it answers.
        """
        stages, heads = self.recipe.stages, self.recipe.head_recipe
        only_final = heads is None and not self.model.backbone.final_is_trained and stages[0].trains != "all"
        if heads is None and not only_final:
            return 0.0
        recipe = heads or get_head_recipe("frozen")
        epochs = sum(leg.stage.epochs for leg in legs_of(self.recipe, exits=len(self.model.heads)))
        share = recipe.epochs / (recipe.epochs + epochs)
        inside = self.out / CHECKPOINTS_FOLDER / folders.HEADS_FIRST_FOLDER
        rank, local = self.accelerator.process_index, self.accelerator.local_process_index
        train_heads_first(
            self.model,
            self.data,
            out=inside if stages else self.out / folders.OUTCOMES_FOLDER,
            recipe=recipe,
            seed=self.seed,
            device=self.accelerator.device,
            only_final=only_final,
            checkpoint_minutes=self.checkpoint_minutes,
            processes=Processes(rank=rank, count=self.accelerator.num_processes, local_rank=local),
            progress=_earlier(self.progress, share),
            note=self.note,
        )
        self.model.load_state_dict(from_first(self.accelerator, lambda: dict(self.model.state_dict())))
        return share

    def _setting(self, identity: dict[str, Any], scale: TargetScale | None) -> Setting:
        return Setting(
            data=self.data,
            samples=with_unlabelled(self.data.heads, self.unlabelled),
            legs=legs_of(self.recipe, exits=len(self.model.heads)),
            facts=exit_facts(self.model, chances=self.chances),
            accelerator=self.accelerator,
            judge=self.judge or default_judge(self.data.task),
            identity=identity,
            out=self.out,
            seed=self.seed,
            scale=scale,
            teacher=self.teacher,
            difficulty=self._difficulty(),
            accumulate=self.accumulate,
            adapter_rank=self.recipe.adapter_rank,
            own=self.own,
        )

    def _difficulty(self) -> Tensor | None:
        """How difficult each training sample is, where a stage asks for it; kept, so that no restart changes it."""
        if all(stage.order != "curriculum" for stage in self.recipe.stages):
            return None
        if self.order is not None:
            return torch.argsort(self.order).double()
        path = self.out / CHECKPOINTS_FOLDER / folders.DIFFICULTY_FILE

        def find() -> Tensor:
            if not path.exists():
                labels = self.data.heads.labels
                outputs = exit_answers(self.model, self.data.heads, device=self.accelerator.device)
                found = sample_difficulty(outputs, labels, task=self.data.task)
                save_tensors(path, {"difficulty": found})
            return read_tensors(path)["difficulty"]

        difficulty: Tensor = from_first(self.accelerator, find)
        return difficulty

    def _finish(self, run: EngineRun) -> TrainingRecord:
        """Score the model on the held-out splits, write it, say so, and remove what was needed on the way."""
        scores = {
            name: exit_scores(
                self.model,
                self.data.split(name),
                batch_size=_EVALUATION_BATCH,
                accelerator=self.accelerator,
                scale=None,
            )
            for name in ("choice", "report")
        }
        record = run.updated_record(finished=True, scores=scores)
        if self.accelerator.is_main_process:
            folders.write_model(self.model, self.out)
            record.write(self.out / RECORD_FILE)
            folders.drop_checkpoints(self.out)
        self._say_trained()
        return record

    def _say_trained(self) -> None:
        """Say of the backbone whose weights it has now: heads that were trained over others do not belong to it."""
        backbone = self.model.backbone
        if any(stage.trains != "heads" for stage in self.recipe.stages):
            backbone.weights = from_first(self.accelerator, lambda: folders.weights_identity(self.out))
        backbone.final_is_trained = True


class _Kept(nn.Module):
    """A tensor whose digest is wanted."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.register_buffer("tensor", tensor)


def _earlier(progress: Progress | None, share: float) -> Progress | None:
    """Progress of the first share of the work."""
    return None if progress is None else lambda done, words: progress(share * done, words)


def _later(progress: Progress | None, share: float) -> Progress | None:
    """Progress of what follows the first share of the work."""
    return None if progress is None else lambda done, words: progress(share + (1 - share) * done, words)
