"""EngineRun: the legs of a training one after the other; what is judged, kept, logged and checkpointed on the way."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.engine.folder.log import Log
from exitsearch.learn.engine.folder.record import RECORD_FILE, KeptWeights, TrainingRecord
from exitsearch.learn.engine.folder.state import (
    CHECKPOINTS_FOLDER,
    STATE_FILE,
    Position,
    Trained,
    load_into,
    load_state,
    save_state,
)
from exitsearch.learn.engine.judge import exit_scores
from exitsearch.learn.engine.legs.learner import Learner
from exitsearch.learn.engine.setting import Progress, Setting
from exitsearch.models.multi_exit import MultiExitModel, read_tensors

# No gradients, so several training batches fit where one did.
_EVALUATION_BATCHES = 4

# From one row of the log within an epoch to the next.
LOG_STEPS = 100


class EngineRun:
    """One call of `train_model`, from where its checkpoint left off to the end of the recipe.

    Args:
        model: is trained in place; everything that is judged, written and handed back comes from it.
        setting: of the training.
        record: what is written of it while it runs.
        checkpoint_minutes: at most so long passes between two checkpoints, but for the time of a step.
        until: epochs of the whole training to stop after; None trains to the end.
        tensorboard: whether to write events.
        progress: called after every step.
    """

    def __init__(
        self,
        model: MultiExitModel,
        *,
        setting: Setting,
        record: TrainingRecord,
        checkpoint_minutes: float,
        until: int | None,
        tensorboard: bool,
        progress: Progress | None,
    ) -> None:
        self.model, self.setting, self.record = model, setting, record
        self.until, self.progress = until, progress
        self._seconds, self._tensorboard = 60 * checkpoint_minutes, tensorboard
        self.position = Position()
        self._steps = [setting.steps(leg) for leg in setting.legs]
        self._whole = sum(each * leg.stage.epochs for each, leg in zip(self._steps, setting.legs, strict=True))
        self._saved = self._begun = time.monotonic()
        self._log: Log | None = None

    def train(self) -> bool:
        """Train; whether it has come to the end of the recipe."""
        path = self.setting.out / CHECKPOINTS_FOLDER / STATE_FILE
        found = self._found()
        if found is not None:
            self.position = found[0]
        if self.setting.first:
            self._log = Log(self.setting.out, tensorboard=self._tensorboard, behind=self._behind())
            self._write_record()
        try:
            for number, leg in list(enumerate(self.setting.legs))[self.position.leg :]:
                trained, found = (None if found is None else found[1]), None
                if trained is not None and not trained.plain:  # between two legs, of which nothing has begun
                    load_into(self.model, trained.model, path)
                    trained = None
                if self._stops():
                    return False
                learner = Learner(self.model, leg, self.setting)
                if trained is not None:
                    learner.restore(trained, path)
                if not self._train_leg(learner):
                    learner.close()
                    return False
                learner.finish()
                self.position.leg, self.position.epoch = number + 1, 0
                self._save(Trained(dict(self.model.state_dict())))
        finally:
            if self._log is not None:
                self._log.close()
        return True

    def _train_leg(self, learner: Learner) -> bool:
        """Train the epochs of a leg that are left; whether all are behind."""
        leg, position = learner.leg, self.position
        while position.epoch < leg.stage.epochs:
            if self._stops():
                return False
            self._begun = time.monotonic() - position.seconds
            learner.train_epoch(position, after_step=lambda: self._after_step(learner))
            self._end_epoch(learner)
            position.epoch, position.step, position.sums, position.seconds = position.epoch + 1, 0, {}, 0.0
            self._save(learner.trained_parts())
        return True

    def _stops(self) -> bool:
        """Whether it is to stop here, to go on when asked again."""
        return self.until is not None and len(self.position.history) >= self.until

    def _found(self) -> tuple[Position, Trained] | None:
        """Where the training left off, as the first process reads it."""

        def read() -> tuple[Position, Trained] | None:
            return load_state(self.setting.out, identity=self.setting.identity)

        found: tuple[Position, Trained] | None = from_first(self.setting.accelerator, read)
        return found

    def _after_step(self, learner: Learner) -> None:
        """Log, tell, and keep where it stands when it is time."""
        position, steps = self.position, learner.steps
        if position.step < steps:  # at the end of an epoch it is judged first
            if position.step % LOG_STEPS == 0:
                self._add_row(learner, {})
            if time.monotonic() - self._saved >= self._seconds:
                position.seconds = time.monotonic() - self._begun
                self._save(learner.trained_parts())
        if self.progress is not None:
            done = self._behind() / self._whole
            loss = sum(position.sums.values()) / max(1, position.step)
            words = f"{learner.leg.name}, epoch {position.epoch + 1}/{learner.leg.stage.epochs}, loss {loss:.3f}"
            self.progress(done, words)

    def _behind(self) -> int:
        """Steps of the whole training that are behind."""
        position = self.position
        earlier = zip(self._steps[: position.leg], self.setting.legs[: position.leg], strict=True)
        behind = sum(each * leg.stage.epochs for each, leg in earlier)
        if position.leg < len(self._steps):
            behind += position.epoch * self._steps[position.leg] + position.step
        return behind

    def _end_epoch(self, learner: Learner) -> None:
        """Judge the model, keep the best weights, write the row of the epoch."""
        position = self.position
        if self.setting.accelerator.num_processes > 1:
            # Statistics of batch norms are each process's own after the last step.
            for buffer in self.model.buffers():
                buffer.copy_(broadcast(buffer, from_process=0))
        scores = self.scores_on_choice(learner.judged(), batch_size=learner.leg.stage.batch_size)
        value = float(self.setting.judge(scores))
        if math.isnan(value):
            raise ExitSearchError(
                f"the criterion that weights are kept by is not a number for the scores {scores}; give another one"
            )
        self._keep_best(learner, value, scores)
        exits = [*(f"{exit_.placement}:{exit_.choice}" for exit_ in self.model.config.exits), "final"]
        held = {f"choice {name}": score for name, score in zip(exits, scores, strict=True)}
        self._add_row(learner, held | {"value": value})
        position.history.append(
            {
                "stage": learner.leg.name,
                "epoch": position.epoch + 1,
                "terms": {name: total / position.step for name, total in position.sums.items()},
                "scores": scores,
                "value": value,
                "seconds": round(time.monotonic() - self._begun, 3),
            }
        )

    def scores_on_choice(self, model: MultiExitModel, *, batch_size: int) -> list[float]:
        """The metric of every exit of a model on the choice split."""
        return exit_scores(
            model,
            self.setting.data.choice,
            batch_size=_EVALUATION_BATCHES * batch_size,
            accelerator=self.setting.accelerator,
            scale=self.setting.scale,
        )

    def _keep_best(self, learner: Learner, value: float, scores: list[float]) -> None:
        """Keep the weights if none of this leg were better; of equals the later ones.

        Those of an earlier leg make way whatever they are worth: what a recipe ends with is its last stage's, or a
        stage that lowers the criterion would silently be left out.
        """
        position = self.position
        if position.best is not None and position.best["leg"] == position.leg and value < position.best["value"]:
            return
        # One file for each, so that no kill leaves weights under a name that says something else.
        file = f"best-{position.leg}-{position.epoch + 1}.safetensors"
        if self.setting.first:
            save_tensors(self.setting.out / CHECKPOINTS_FOLDER / file, learner.plain_weights())
        kept = KeptWeights(stage=learner.leg.name, epoch=position.epoch + 1, value=value, scores=scores)
        position.best = {**kept.model_dump(), "leg": position.leg, "file": file}

    def _add_row(self, learner: Learner, more: dict[str, Any]) -> None:
        position = self.position
        terms = {name: total / position.step for name, total in position.sums.items()}
        row = {
            "stage": learner.leg.name,
            "epoch": position.epoch + 1,
            "step": position.step,
            "learning_rate": learner.rate,
            "loss": math.fsum(terms.values()),
            **terms,
            **more,
            "seconds": round(time.monotonic() - self._begun, 3),
        }
        position.rows.append(row)
        if self._log is not None:
            self._log.write(position.rows, step=self._behind())

    def _save(self, trained: Trained) -> None:
        """Keep where it stands, and say so in the record."""
        self._saved = time.monotonic()
        if not self.setting.first:
            return
        save_state(self.setting.out, copy.deepcopy(self.position), trained, identity=self.setting.identity)
        self._write_record()

    def _write_record(self) -> None:
        self.updated_record().write(self.setting.out / RECORD_FILE)

    def updated_record(self, **changed: Any) -> TrainingRecord:
        """The record as it stands now, with some of its fields changed."""
        best = self.position.best
        kept = None if best is None else KeptWeights(**{key: best[key] for key in KeptWeights.model_fields})
        return self.record.model_copy(update={"kept": kept, "history": self.position.history, **changed})

    def load_best(self) -> None:
        """Give the model the best weights."""
        if self.position.best is None:
            return
        path = self.setting.out / CHECKPOINTS_FOLDER / self.position.best["file"]
        load_into(self.model, from_first(self.setting.accelerator, lambda: read_tensors(path)), path)


def from_first(accelerator: Accelerator, read: Callable[[], Any]) -> Any:
    """What the first process reads from its disk; where that raises one of our errors, all of them raise it."""
    if accelerator.num_processes == 1:
        return read()
    told: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            told = [read(), None]
        except ExitSearchError as error:
            told = [None, (str(error), error.exit_status)]
    broadcast_object_list(told)
    if told[1] is not None:
        text, status = told[1]
        raise (InputError if status == InputError.exit_status else ExitSearchError)(text)
    return told[0]
