"""Learner: one leg under way: what trains in it, its optimiser, its schedule and its moving average.

Every step is one of the optimiser, over one batch of the stage. Several processes share its samples, and each computes
its share in as many parts as are asked for; the gradients are those of the mean over the whole batch.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2
from timm.optim._param_groups import param_groups_weight_decay
from timm.scheduler.scheduler_factory import create_scheduler_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn.data import batches
from exitsearch.learn.engine.batches.batch import Changes, parts
from exitsearch.learn.engine.batches.streams import drawn_from, stream_seed
from exitsearch.learn.engine.folder.state import Position, Trained, load_into, optimizer_parts, restore_optimizer
from exitsearch.learn.engine.legs.leg import Leg, set_trained
from exitsearch.learn.engine.legs.objective import Objective
from exitsearch.learn.engine.setting import Setting
from exitsearch.models.adapters import adapter_parameters, attach_adapters, merge_adapters
from exitsearch.models.inputs import Batch, batch_size, main_input, rows
from exitsearch.models.multi_exit import MultiExitModel

# Where a rate that warms up begins, as a share of the highest. Not 0, at which a first step would teach nothing.
_COLD = 0.01


class Learner:
    """One leg under way.

    Args:
        model: is trained; adapters are attached to it where the leg trains them.
        leg: the leg.
        setting: of the training.

    Raises:
        InputError: an optimiser, a schedule or a change of inputs that there is not.
    """

    def __init__(self, model: MultiExitModel, leg: Leg, setting: Setting) -> None:
        self.model, self.leg, self.setting = model, leg, setting
        self.accelerator, stage = setting.accelerator, leg.stage
        model.to(self.accelerator.device)
        self.has_adapters = stage.trains == "adapters"
        self._adapters = _attached(model, setting, leg) if self.has_adapters else []
        self.set_modes()
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not self.trained:
            raise InputError(f"the stage {leg.name} trains nothing: the model has no weights there; leave it out")
        self.steps = setting.steps(leg)
        self.changes = Changes(stage, data=setting.data, backbone=model.backbone, scale=setting.scale)
        self.own_optimizer = _optimizer(model, leg)
        self.schedule = _schedule(self.own_optimizer, leg, steps=self.steps)
        self.average: Any = None if stage.ema is None else _average(model, stage.ema)
        self.objective = self.accelerator.prepare_model(Objective(model, stage=stage, facts=setting.facts))
        self.optimizer = self.accelerator.prepare_optimizer(self.own_optimizer)
        if setting.teacher is not None:
            setting.teacher.to(self.accelerator.device).eval().requires_grad_(False)

    def set_modes(self) -> None:
        """Let what trains train, and everything else stand still."""
        set_trained(self.model, self.leg, own=self.setting.own, adapters=self._adapters)

    def train_epoch(self, position: Position, *, after_step: Callable[[], None]) -> None:
        """Train for one epoch, or for what is left of it.

        Args:
            position: says which epoch, and how many of its steps are behind; is moved on.
            after_step: called once the position has been moved on.

        Raises:
            ExitSearchError: a loss that is not finite; says where, and which term of it.
        """
        order, epoch = self.setting.order(self.leg, position.epoch), position.epoch
        split, mine = self.setting.split(self.leg), self.setting.mine(order)
        self.set_modes()
        found = batches(split, order=mine, start=position.step, device=self.accelerator.device)
        for step, (inputs, labels) in enumerate(found, position.step):
            terms = self.step_over(inputs, labels, epoch=epoch, step=step, whole=len(order[step]))
            for name, value in terms.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
            position.step = step + 1
            after_step()

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.own_optimizer.param_groups[0]["lr"])

    def step_over(self, inputs: Batch, labels: Tensor, *, epoch: int, step: int, whole: int) -> dict[str, float]:
        """One step of the optimiser; the terms of its loss."""
        done, stage = epoch * self.steps + step, self.leg.stage
        self.schedule.step_update(done)
        self.optimizer.zero_grad(set_to_none=True)
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        stream = stream_seed(self.setting.seed, self.leg.name, epoch, step, rank)
        size = batch_size(inputs)
        share = size / max(whole, count)
        sums: dict[str, Tensor] = {}
        with drawn_from(stream, device=self.accelerator.device):
            drawn = stream_seed(self.setting.seed, self.leg.name, rank)
            inputs, targets = self.changes(inputs, labels, seed=drawn, epoch=epoch, step=step)
            teacher = self._taught(inputs)
            pieces = parts(batch_size(inputs), count=self.setting.accumulate)
            for number, piece in enumerate(pieces):
                # Gradients of several processes are averaged once, with the last part.
                last = number == len(pieces) - 1
                with contextlib.nullcontext() if last else self.accelerator.no_sync(self.objective):
                    known = None if teacher is None else teacher[piece]
                    terms = self.objective(rows(inputs, piece), targets[piece], known, done)
                    weight = share * len(targets[piece]) / len(targets)
                    loss = torch.stack(list(terms.values())).sum()
                    if not loss.requires_grad:
                        raise InputError(
                            f"the loss {stage.loss} of the stage {self.leg.name} does not reach what trains there "
                            f"({stage.trains}); take another loss, or let the stage train all"
                        )
                    # The processes' gradients are averaged; what is wanted is their sum.
                    self.accelerator.backward(loss * (weight * count))
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + term.detach() * weight
        found = self._told(sums)
        self._check_finite(found, epoch=epoch, step=step)
        if stage.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.trained, stage.clip_grad)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, step=done + 1)
        return found

    def _told(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The terms over the batches of all processes, in one transfer from the device."""
        found = torch.stack([term.float() for term in sums.values()])
        if self.accelerator.num_processes > 1:
            found = self.accelerator.reduce(found)
        return dict(zip(sums, found.tolist(), strict=True))

    def _check_finite(self, terms: dict[str, float], *, epoch: int, step: int) -> None:
        for name, value in terms.items():
            if not math.isfinite(value):
                raise ExitSearchError(
                    f"the training diverged: in the stage {self.leg.name}, epoch {epoch + 1}, step {step + 1}, the "
                    f"term {name} of the loss became {value}; train with a lower learning rate (--lr) and --restart"
                )

    @torch.no_grad()
    def _taught(self, inputs: Batch) -> Tensor | None:
        """What another model answers to a batch, in the unit that is learnt in."""
        if self.leg.stage.teacher != "given":
            return None
        assert self.setting.teacher is not None
        with self.accelerator.autocast():
            answers: Tensor = self.setting.teacher(main_input(inputs)).float()
        return answers if self.setting.scale is None else self.setting.scale.standardise(answers)

    def judged(self) -> MultiExitModel:
        """The model that counts: the moving average, where there is one."""
        if self.average is None:
            return self.model
        averaged: MultiExitModel = self.average.module
        return averaged

    def plain_weights(self) -> dict[str, Tensor]:
        """Weights and buffers of the model that counts, as an ordinary multi-exit model has them."""
        model = self.judged()
        if self.has_adapters:
            model = copy.deepcopy(model)
            merge_adapters(model.backbone)
        return dict(model.state_dict())

    def trained_parts(self) -> Trained:
        """What a checkpoint keeps of it."""
        moments, plain = optimizer_parts(self.own_optimizer)
        if self.accelerator.scaler is not None:
            plain["scaler"] = self.accelerator.scaler.state_dict()
        average = {} if self.average is None else dict(self.average.module.state_dict())
        return Trained(dict(self.model.state_dict()), average, moments, plain)

    def restore(self, trained: Trained, path: Path) -> None:
        """Go on from what a checkpoint holds of this leg.

        Raises:
            FileError: it does not fit.
        """
        load_into(self.model, trained.model, path)
        if self.average is not None:
            load_into(self.average.module, trained.average, path)
        restore_optimizer(self.own_optimizer, trained.moments, trained.plain, path)
        if self.accelerator.scaler is not None and "scaler" in trained.plain:
            self.accelerator.scaler.load_state_dict(trained.plain["scaler"])

    def finish(self) -> None:
        """Hand on an ordinary model: the average's weights where there is one, adapters merged."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.close()
        if self.has_adapters:
            merge_adapters(self.model.backbone)

    def close(self) -> None:
        """Let go of what Accelerate holds of it."""
        self.objective = self.optimizer = None
        self.accelerator.free_memory()


def _attached(model: MultiExitModel, setting: Setting, leg: Leg) -> list[nn.Parameter]:
    """The parameters of the adapters that a leg trains."""
    assert setting.adapter_rank is not None
    attach_adapters(model.backbone, rank=setting.adapter_rank, seed=stream_seed(setting.seed, leg.name, "adapters"))
    return adapter_parameters(model.backbone)


def _optimizer(model: MultiExitModel, leg: Leg) -> torch.optim.Optimizer:
    """timm's optimiser of a name over what trains; biases, norms and what the model exempts are not decayed."""
    stage = leg.stage
    exempt: Any = getattr(model.backbone.module, "no_weight_decay", set)
    names = [f"backbone.module.{name}" for name in exempt()]
    groups = param_groups_weight_decay(model, stage.weight_decay, no_weight_decay_list=names)
    try:
        made: torch.optim.Optimizer = create_optimizer_v2(
            groups, opt=stage.optimizer, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"timm cannot make the optimiser {stage.optimizer!r} of the stage {leg.name}: {error}; "
            "name one of timm's optimisers, as adamw, and options that it has"
        ) from None
    return made


def _average(model: MultiExitModel, decay: float) -> ModelEmaV3:
    """timm's moving average; its decay rises to what is asked for, so that a short training averages something too."""
    return ModelEmaV3(model, decay=decay, use_warmup=True)


def _schedule(optimizer: torch.optim.Optimizer, leg: Leg, *, steps: int) -> Any:
    """timm's schedule of a name, asked before every step."""
    stage = leg.stage
    warm: Any = min(stage.warmup_epochs, stage.epochs)  # a fraction will do, whatever timm declares
    try:
        schedule, _ = create_scheduler_v2(
            optimizer,
            sched=stage.schedule,
            num_epochs=stage.epochs,
            warmup_epochs=warm,
            warmup_lr=_COLD * stage.learning_rate,
            step_on_epochs=False,
            updates_per_epoch=steps,
        )
    except (ValueError, AssertionError) as error:
        raise InputError(
            f"timm cannot make the schedule {stage.schedule!r} of the stage {leg.name}: {error}; "
            "name one of timm's schedules, as cosine, and options that it has"
        ) from None
    if schedule is None:
        raise InputError(
            f"a schedule is one of timm's that counts steps, or constant, found {stage.schedule!r}; "
            "name cosine, step, linear or constant"
        )
    return schedule
