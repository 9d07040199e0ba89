"""HeadTrainer: where it flushes denormal numbers, draws dropout, lets heads wait, and drops one."""

from __future__ import annotations

import math

import pytest
import torch
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.learn.bank.denormals import flushes_denormals
from exitsearch.learn.bank.trainer import HeadTrainer, NotFiniteError
from exitsearch.learn.data import shuffled
from exitsearch.learn.scored import scored
from exitsearch.models.heads import create_head

PAIRS = [(1, "mlp_ee"), (4, "linear")]


@pytest.fixture
def trainer():
    backbone = small_backbone()
    heads = {
        (placement, head): create_head(head, placement=backbone.placements[placement], num_outputs=10, seed=0)
        for placement, head in PAIRS
    }
    return HeadTrainer(backbone, heads, RECIPE, 0, torch.device("cpu"))


def _epoch(trainer, epoch=0, **options):
    data = small_digits(trainer.backbone)
    order = shuffled(30, RECIPE.batch_size, seed=0, epoch=epoch)
    return trainer.train_epoch(data.heads, epoch=epoch, order=order, **options)


def _by_key(trainer):
    return {trainee.key: trainee for trainee in trainer.trainees}


def test_denormal_numbers_are_flushed_while_heads_train_and_answer(trainer, monkeypatch):
    seen = []
    _epoch(trainer, after_step=lambda step: seen.append(flushes_denormals()))
    run = trainer.trainees[0].run
    trainer.trainees[0].run = lambda state, side: seen.append(flushes_denormals()) or run(state, side)
    trainer.losses(small_digits(trainer.backbone).choice)
    scored(trainer, small_digits(trainer.backbone))
    assert len(seen) > 4
    assert seen == [torch.set_flush_denormal(False)] * len(seen)
    assert not flushes_denormals()


def test_dropout_is_that_of_torchs_own_seeding(trainer):
    trainer._seed_dropout(7)
    mine = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), mine)


def test_a_head_that_is_further_waits(trainer):
    """Three steps an epoch: the first head has two behind it, and takes part in the third alone."""
    waiting, other = (trainer.trainees[number] for number in (0, 1))
    waiting.steps = 2
    ran = {waiting.key: 0, other.key: 0}
    for trainee in (waiting, other):

        def counted(state, side, trainee=trainee, run=trainee.run):
            ran[trainee.key] += 1
            return run(state, side)

        trainee.run = counted
    _epoch(trainer)
    assert ran == {"1/mlp_ee": 1, "4/linear": 3}
    assert {trainee.steps for trainee in trainer.trainees} == {3}


def test_one_that_is_behind_and_dropped_does_not_end_the_wait_of_others(trainer):
    """The one that is behind is dropped in the first step; the other, further, still takes its own third step."""
    trainees = _by_key(trainer)
    trainees["4/linear"].steps, trainees["final"].stopped = 2, True
    with torch.no_grad():
        next(trainees["1/mlp_ee"].module.parameters()).fill_(float("nan"))
    steps = []
    loss = _epoch(trainer, after_step=steps.append)
    assert trainees["1/mlp_ee"].dropped == "its loss became nan in epoch 1, step 1"
    assert list(trainer.heads) == [(4, "linear")]
    assert trainees["4/linear"].steps == 3
    assert steps == [1, 3]
    # The mean is over losses; the step in which there was none does not count.
    assert math.isfinite(loss)


def test_answers_that_are_not_finite_name_the_head(trainer):
    with torch.no_grad():
        next(trainer.heads[4, "linear"].parameters()).fill_(float("inf"))
    with pytest.raises(NotFiniteError, match="linear at placement 4 answers with numbers") as caught:
        scored(trainer, small_digits(trainer.backbone))
    assert caught.value.key == "4/linear"


def test_a_backbone_without_readers_beyond_a_placement_runs_no_further(trainer, monkeypatch):
    trainees = _by_key(trainer)
    trainees["4/linear"].stopped = trainees["final"].stopped = True
    reached = []
    states = type(trainer.backbone).states

    def watched(self, x):
        for placement, state in enumerate(states(self, x)):
            reached.append(placement)
            yield state

    monkeypatch.setattr(type(trainer.backbone), "states", watched)
    _epoch(trainer)
    assert max(reached) == 1
