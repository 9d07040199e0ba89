"""BankRun: one call of `train_bank`, from what is missing in its folder to the outcomes of all heads in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from exitsearch.errors import InputError
from exitsearch.learn.answers import are_answered, renew_answers, write_answers
from exitsearch.learn.bank.checkpoint import (
    drop_checkpoints,
    restore_checkpoints,
    save_checkpoints,
    save_tensors,
    unit_file,
)
from exitsearch.learn.bank.epochs import Progress, at_end, steps_per_epoch, train_epochs, without_dropped
from exitsearch.learn.bank.folder import BankFolder, Pair, check_some_left, with_dropped
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.shares import balanced, head_seconds
from exitsearch.learn.bank.trainee import FINAL, Trainee, head_key, key_words, split_key
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits
from exitsearch.learn.scored import document, joined, scored, with_logits
from exitsearch.learn.targets import TargetScale, can_answer_in, start_at_centre
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.models.multi_exit import FINAL_FILE, HEADS_FOLDER, exit_seed, final_parameters, load_final
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

# timm's own standard deviation for the weights of a vision transformer's new classifier.
_FINAL_STD = 0.02


@dataclass(kw_only=True)
class BankRun:
    """One call of `train_bank`; what is not described here is an argument of that function.

    Attributes:
        folder: where the outcomes stand, with the identity of what is trained.
        scale: of regression targets; None for classification.
        dropped: why heads were dropped in this run, by key.
    """

    backbone: Backbone
    data: DataSplits
    folder: BankFolder
    recipe: HeadRecipe
    seed: int
    device: torch.device
    processes: Processes
    checkpoint_minutes: float
    keep_logits: bool
    progress: Progress | None
    note: Callable[[str], None]
    scale: TargetScale | None = field(init=False)
    dropped: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.scale = TargetScale.for_task(self.data.heads.labels, task=self.data.task)

    def whole(self, pairs: list[Pair], *, restart: bool) -> Outcomes:
        """Train what is missing to the end of the recipe, and write the outcomes of all."""
        plan = self.processes.from_first(lambda: self._plan(pairs, restart=restart))
        if plan is not None:
            shares = [[(int(placement), str(head)) for placement, head in share] for share in plan["shares"]]
            trainer = self._trainer(shares[self.processes.rank], train_final=plan["final"] and self.processes.first)
            self._train(trainer)
            answering = self._gathered(trainer, shares)
            self.processes.from_first(lambda: self._write(answering, pairs, with_final=plan["final"]))
            drop_checkpoints(self.folder.path, keys=[trainee.key for trainee in trainer.trainees])
        return self._standing()

    def early(self, pairs: list[Pair], *, until: int, restart: bool) -> Outcomes:
        """Train what is missing until an epoch; the scores where it stands then, without answers.

        They are kept beside the outcomes, those of heads that stand at that very epoch.
        """
        if restart:
            self.folder.clear()
        file = self.folder.early_file(until)
        known = Outcomes.read(file) if file.exists() else None
        seen = {(head.placement, head.head) for head in known.heads} if known is not None else set()
        dropped = self.folder.record().dropped
        if known is not None and seen.issuperset(pair for pair in pairs if head_key(*pair) not in dropped):
            return known
        plan = self._plan(pairs, restart=False)
        if plan is None:
            return self._standing()
        trainer = self._trainer(plan["shares"][0], train_final=plan["final"])
        self._train(trainer, until=until)
        if all(at_end(trainer, trainee, self.data) for trainee in trainer.trainees):
            self._write(trainer, pairs, with_final=plan["final"])
            drop_checkpoints(self.folder.path, keys=[trainee.key for trainee in trainer.trainees])
            return self._standing()
        return self._early_scores(trainer, pairs, known, until)

    def _plan(self, pairs: list[Pair], *, restart: bool) -> dict[str, Any] | None:
        """Which heads each process trains, and whether the final classifier learns along; None: all stand finished."""
        last = len(self.backbone.placements) - 1
        for placement, _ in pairs:
            if not 0 <= placement <= last:
                raise InputError(
                    f"placements of {self.backbone.facts.name} run from 0 to {last}, found {placement}; "
                    "name placements among these"
                )
        if restart:
            self.folder.clear()
        record = self.folder.record()
        missing = self.folder.missing(pairs, record)
        if not missing:
            check_some_left(pairs, record.standing, record.dropped)
        final = not self.backbone.final_is_trained and FINAL not in record.standing
        if not missing and not final and (self.folder.path / DOCUMENT_NAME).exists():
            return None
        return {"shares": self._shares(missing), "final": final}

    def _shares(self, missing: list[Pair]) -> list[list[Pair]]:
        if self.processes.count == 1:
            return [missing]
        seconds = head_seconds(self.backbone, missing, batch_size=self.recipe.batch_size, device=self.device)
        return balanced(seconds, count=self.processes.count)

    def _standing(self) -> Outcomes:
        """What stands finished; a final classifier that was trained along is in the backbone then."""
        path = self.folder.path

        def read() -> Any:
            if not self.backbone.final_is_trained:
                load_final(self.backbone, path)
            found = Outcomes.load(path)
            if self.keep_logits:
                found = with_logits(found, self.backbone.to(self.device), self.data, recipe=self.recipe)
            return found.model_dump(mode="json")

        document = self.processes.from_first(read)
        if not self.backbone.final_is_trained:
            self.processes.state_of_first(nn.ModuleList(self.backbone.final_classifier()))
        return Outcomes.load(path) if self.processes.first else Outcomes.parse(document, path / DOCUMENT_NAME)

    def _trainer(self, pairs: Iterable[Pair], *, train_final: bool) -> HeadTrainer:
        """New heads, and a new final classifier; each where its checkpoint left off."""
        if train_final:
            _draw_final(self.backbone, self.seed)
            self._start(nn.ModuleList(self.backbone.final_classifier()))
        elif not self.backbone.final_is_trained and self.processes.first:
            load_final(self.backbone, self.folder.path)
        heads = {pair: self._create(pair) for pair in pairs}
        trainer = self._over(heads, train_final=train_final)
        restore_checkpoints(self.folder.path, trainer, identity=self.folder.identity)
        if self.processes.first:  # now that nothing asked for has been refused
            self.folder.write(self.folder.record(), epoch=0, finished=False)
        return trainer

    def _over(self, heads: dict[Pair, nn.Module], *, train_final: bool) -> HeadTrainer:
        return HeadTrainer(
            self.backbone,
            heads,
            self.recipe,
            self.seed,
            self.device,
            self.scale,
            train_final=train_final,
            on_drop=self._drop,
        )

    def _create(self, pair: Pair) -> nn.Module:
        """A head whose initial weights depend on seed, placement and head alone."""
        placement, head = pair
        made = create_head(
            head,
            placement=self.backbone.placements[placement],
            num_outputs=self.backbone.num_outputs,
            seed=exit_seed(self.seed, placement, head),
        )
        self._start(made)
        return made

    def _start(self, module: nn.Module) -> None:
        """Let what learns on standardised targets start at their centre."""
        if self.scale is not None and can_answer_in(module):
            start_at_centre(module)

    def _drop(self, trainee: Trainee) -> None:
        assert trainee.dropped is not None
        self._note_dropped({trainee.key: trainee.dropped})

    def _note_dropped(self, dropped: Mapping[str, str]) -> None:
        self.dropped |= dropped
        for key, reason in dropped.items() if self.processes.first else ():
            self.note(f"{key_words(key)} is dropped, the others are trained on: {reason}")

    def _train(self, trainer: HeadTrainer, *, until: int | None = None) -> None:
        """Train the heads of a trainer, and keep where they stand."""

        def save(epoch: int) -> None:
            save_checkpoints(self.folder.path, trainer, identity=self.folder.identity)
            if self.processes.first:
                self.folder.write(self.folder.record(), epoch=epoch, finished=False)

        train_epochs(
            trainer,
            self.data,
            save=save,
            until=until,
            checkpoint_minutes=self.checkpoint_minutes,
            progress=self.progress,
        )

    def _gathered(self, trainer: HeadTrainer, shares: list[list[Pair]]) -> HeadTrainer:
        """For the first process the trained heads of all of them; for another one its own, which it has sent."""
        if self.processes.count == 1:
            return trainer
        told: list[dict[str, str]] = self.processes.to_first(self.dropped)
        if not self.processes.first:
            for pair in shares[self.processes.rank]:
                if pair in trainer.heads:
                    self.processes.send_state(trainer.heads[pair], rank=0)
            return trainer
        heads = dict(trainer.heads)
        for rank, dropped in list(enumerate(told))[1:]:
            self._note_dropped(dropped)
            for pair in shares[rank]:
                if head_key(*pair) not in dropped:
                    heads[pair] = self._create(pair)
                    self.processes.receive_state(heads[pair], rank=rank)
        return self._over({pair: heads[pair] for pair in sorted(heads)}, train_final=False)

    def _write(self, trainer: HeadTrainer, pairs: list[Pair], *, with_final: bool) -> None:
        """Write answers and weights of the heads of a trainer, then the outcomes of all, then that they stand."""
        path = self.folder.path
        record = self.folder.record()
        self._check_some_left(trainer, pairs)
        trainer.finish()
        self._answer(trainer, with_final=with_final)
        self._check_some_left(trainer, pairs)
        for pair, module in trainer.heads.items():
            save_tensors(path / HEADS_FOLDER / unit_file(head_key(*pair)), dict(module.state_dict()))
        if with_final:
            save_tensors(path / HEADS_FOLDER / FINAL_FILE, dict(final_parameters(self.backbone)))
        dropped = {**record.dropped, **self.dropped}
        exits = [*(split_key(key) for key in record.standing if key != FINAL), *trainer.heads]
        found = document(trainer, self.data, path, exits=exits)
        with_dropped(found, dropped).write(path / DOCUMENT_NAME)
        keys = [*record.standing, *(head_key(*pair) for pair in trainer.heads), *([FINAL] if with_final else [])]
        self.folder.write(record, heads=keys, dropped=dropped, epoch=self.recipe.epochs, finished=True)

    def _answer(self, trainer: HeadTrainer, *, with_final: bool) -> None:
        """Write what the heads of a trainer answer; those whose answers are not finite are dropped."""
        path = self.folder.path
        renew_answers(path)
        keys = [head_key(*pair) for pair in trainer.heads]
        if with_final or not are_answered(path, FINAL):
            keys.append(FINAL)
        trainees = {trainee.key: trainee for trainee in trainer.trainees}
        for lost in write_answers(trainer, self.data, path, keys=keys, keep_logits=self.keep_logits):
            trainer.drop(trainees[head_key(lost.placement, lost.head)], lost.reason)

    def _check_some_left(self, trainer: HeadTrainer, pairs: list[Pair]) -> None:
        """Where every head has been dropped, keep that and say so."""
        record = self.folder.record()
        dropped = {**record.dropped, **self.dropped}
        standing = [*record.standing, *(head_key(*pair) for pair in trainer.heads)]
        if self.dropped and not set(standing) - {FINAL}:
            self.folder.write(record, dropped=dropped)
            check_some_left(pairs, standing, dropped)

    def _early_scores(self, trainer: HeadTrainer, pairs: list[Pair], known: Outcomes | None, until: int) -> Outcomes:
        """Scores where every head stands; those of the heads that stand at the end of that epoch are written."""
        self._check_some_left(trainer, pairs)
        found = without_dropped(trainer, lambda: scored(trainer, self.data))
        self._check_some_left(trainer, pairs)
        record = self.folder.record()
        dropped = {**record.dropped, **self.dropped}
        self.folder.write(record, dropped=dropped)
        steps = until * steps_per_epoch(trainer, self.data)
        there = {trainee.key for trainee in trainer.trainees if trainee.stopped or trainee.steps == steps}
        if known is not None:
            found = joined(known, found).model_copy(update={"final": known.final})
            there |= {head_key(head.placement, head.head) for head in known.heads}
        found = with_dropped(found, dropped)
        if known is not None or self.backbone.final_is_trained or FINAL in there:
            heads = [head for head in found.heads if head_key(head.placement, head.head) in there]
            found.model_copy(update={"heads": heads}).write(self.folder.early_file(until))
        standing = self.folder.path / DOCUMENT_NAME
        return (
            joined(found, Outcomes.load(standing)).model_copy(update={"final": found.final})
            if standing.exists()
            else found
        )


def _draw_final(backbone: Backbone, seed: int) -> None:
    """Initial weights of a new final classifier; drawn anew, since an earlier training may have left its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(exit_seed(seed, -1, FINAL))
        for parameter in final_parameters(backbone).values():
            fresh = torch.empty(parameter.shape)
            nn.init.normal_(fresh, std=_FINAL_STD) if fresh.ndim > 1 else nn.init.zeros_(fresh)
            parameter.data.copy_(fresh)
