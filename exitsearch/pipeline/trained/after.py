"""After training: what the trained exits are worth beside what was predicted, and what another choice would now gain.

    found = after_training(load_config("chosen.json"), "trained")
    found.value.held_out, found.gain
    refine(found, out="trained/refined")

The search predicted by heads over the frozen backbone; training moves every exit, some more than others. So the same
question is asked again of the trained exits: which of them to keep. Where the backbone has not moved, the other heads
of the bank stand on its weights still and may be chosen beside them. What is chosen again, on the same split, is looked
at on the report split too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.trained import OUTCOMES_FOLDER
from exitsearch.pipeline.trained.origins import bank_of, profile_of
from exitsearch.pipeline.trained.question import Question, Worth, exit_pairs, exit_scores
from exitsearch.pipeline.trained.together import Together
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.search.result import SearchResult
from exitsearch.search.utility import Utility
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.profile import Profile


@dataclass(frozen=True)
class TrainedExit:
    """One exit of the trained model, the final one without placement and head.

    Attributes:
        predicted: metric by split, of the frozen outcomes that the exits were chosen by; empty where not known.
        trained: metric by split, of the trained model.
        chance: how likely its answer is the one that is used.
    """

    placement: int | None
    module: str | None
    head: str | None
    predicted: Mapping[str, float]
    trained: Mapping[str, float]
    chance: float


@dataclass(frozen=True)
class AfterTraining:
    """What training has come to.

    Attributes:
        config: what was trained.
        folder: of the trained model.
        outcomes: of the trained model.
        profile: by which times are known; None takes those of the configuration.
        exits: every chosen exit in order, and last the final one.
        predicted: what the search predicted.
        value: what the trained exits are worth.
        own: the trained exits with thresholds found anew, under the policy `confidence`; None where they could not be.
        again: the best choice now, as the search finds it; None where it could not be asked.
        together: what it was asked of: the trained exits, and heads of the bank that stand on the same weights.
        notes: sentences that a user should read.
    """

    config: MultiExitConfig
    folder: Path
    outcomes: Outcomes
    profile: Profile | None
    exits: tuple[TrainedExit, ...]
    predicted: Worth
    value: Worth
    own: SearchResult | None
    again: SearchResult | None
    together: Together | None
    notes: tuple[str, ...]

    @property
    def gain(self) -> float | None:
        """What the best choice now is worth more than the trained exits, on the split that is chosen on."""
        return None if self.again is None else self.again.value - self.value.value

    @property
    def gain_held_out(self) -> float | None:
        """The same on the report split; below 0 where the choice fits the other split alone."""
        if self.again is None or self.again.held_out is None or self.value.held_out is None:
            return None
        return self.again.held_out - self.value.held_out

    @property
    def is_best(self) -> bool:
        """Whether the trained exits are the best choice still, as far as the search could be asked."""
        return self.again is None or exit_pairs(self.again.config) == exit_pairs(self.config)


def after_training(
    config: MultiExitConfig,
    folder: Path | str,
    *,
    profile: Profile | Path | str | None = None,
    bank: Outcomes | None = None,
    utility: Utility | None = None,
    trials: int | None = None,
    watch: Watch | None = None,
) -> AfterTraining:
    """Hold a trained model against what was predicted of it, and ask the search again.

    Args:
        config: what was trained.
        folder: of the trained model, with the `outcomes` that `trained_outcomes` wrote.
        profile: as in `profile_of`; None looks for the one that the configuration was computed from.
        bank: outcomes of other heads over the same weights; None looks in `outcomes/`.
        utility: that the configuration's request names.
        trials: Optuna's where the policy is `confidence`; None takes as many as then.
        watch: is shown the progress.

    Raises:
        FileError: the outcomes are missing or broken, or the profile that is named cannot be read.
        MismatchError: outcomes or profile are of another backbone, or the outcomes lack an exit of the configuration.
    """
    folder = Path(folder)
    outcomes = Outcomes.load(folder / OUTCOMES_FOLDER / DOCUMENT_NAME)
    outcomes.check_samples()
    _check_exits(config, outcomes)
    found = profile_of(config, given=profile)
    question = Question(config, outcomes, found, None if config.expected.worth is None else utility)
    notes = [note for note in (found.note, question.note) if note is not None]
    together, again = None, None
    with (watch or Quiet()).progress("asking the search again"):
        value, chances = question.value()
        if question.can_be_asked:
            together = question.candidates(bank or bank_of(outcomes))
            try:
                again = question.ask(together, trials)
            except InputError as error:
                notes.append(f"the search finds no choice among the trained exits: {error}")
    return AfterTraining(
        config=config,
        folder=folder,
        outcomes=outcomes,
        profile=found.profile,
        exits=_exits(config, outcomes, chances),
        predicted=Worth(config.expected.value, config.expected.held_out, config.expected.interval),
        value=value,
        own=question.own_exits if config.policy == "confidence" else None,
        again=again,
        together=together,
        notes=tuple(notes),
    )


def _exits(config: MultiExitConfig, outcomes: Outcomes, chances: Sequence[float]) -> tuple[TrainedExit, ...]:
    trained = {split: exit_scores(config, outcomes, split) for split in outcomes.splits}
    return tuple(
        TrainedExit(
            placement=exit_.placement if exit_ else None,
            module=exit_.module if exit_ else None,
            head=str(exit_.choice) if exit_ else None,
            predicted={split: scores[number] for split, scores in config.exit_scores.items()},
            trained={split: scores[number] for split, scores in trained.items()},
            chance=float(chances[number]),
        )
        for number, exit_ in enumerate([*config.exits, None])
    )


def _check_exits(config: MultiExitConfig, outcomes: Outcomes) -> None:
    config.backbone.check_same(outcomes.backbone, mine="the configuration", others="the outcomes")
    there = {(head.placement, head.head) for head in outcomes.heads}
    missing = [f"{place}:{head}" for place, head in exit_pairs(config) if (place, head) not in there]
    if missing:
        raise MismatchError(
            f"{outcomes.folder} holds no answers of the exit {missing[0]}, so it is not of this configuration; train "
            "it again"
        )
