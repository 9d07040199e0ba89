"""The step `search`: bring a profile and outcomes together, from wherever they are to be had, and choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exitsearch.errors import InputError, MismatchError
from exitsearch.pipeline import places
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.job import MAX_SECONDS_ON_THE_WAY, SearchJob
from exitsearch.pipeline.outcomes import RECIPE, HeadTraining, Training, check_outcomes, find_outcomes
from exitsearch.pipeline.profile import Measuring, as_space, find_profile, make_profile
from exitsearch.pipeline.rounds import Rounds, needs_all, train_in_rounds
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.search.result import SearchResult, SettingRow
from exitsearch.search.run import search_request
from exitsearch.search.settings import search_settings
from exitsearch.search.untrained import candidates_of, settled
from exitsearch.search.utility import Utility, given_utility
from exitsearch.specs.budget import BudgetDistribution
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import TRIALS, SearchRequest
from exitsearch.specs.question.space import SearchSpace

OnTried = Callable[[SettingRow], None]


@dataclass(frozen=True)
class Sources:
    """The two documents that a search needs, and where they came from.

    Attributes:
        untrained: candidates of the question that are not trained; None where outcomes were given as they are.
    """

    profile: Profile
    profile_source: str
    outcomes: Outcomes
    outcomes_source: str
    untrained: tuple[Pair, ...] | None = None


def search(
    profile: Profile | Path | str | None = None,
    outcomes: Outcomes | Path | str | None = None,
    *,
    budget: BudgetDistribution | str,
    space: SearchSpace | Path | str | None = None,
    utility: Utility | None = None,
    model: str | None = None,
    data: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    workers: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    batch_size: int | None = None,
    max_seconds: float = MAX_SECONDS_ON_THE_WAY,
    recipe: str = RECIPE,
    epochs: int | None = None,
    learning_rate: float | None = None,
    augment: str | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    storage: str | None = None,
    out: Path | str | None = None,
    guard: bool = False,
    tolerance: float | None = None,
    train_all: bool = False,
    on_trial: Callable[[int, float], None] | None = None,
    on_tried: OnTried | None = None,
    watch: Watch | None = None,
    **asked: Any,
) -> SearchResult:
    """Choose exits for a budget distribution: `exitsearch search`.

    With both documents at hand nothing else is looked at, and neither torch nor a backbone is needed. What is missing
    is found in `profiles/` and `outcomes/`, or made and kept there. A space with knobs makes it a search over settings.

    Args:
        profile: costs of every segment and head, or where they are (`load_profile`); None takes the newest that fits,
            or measures.
        outcomes: value of every head, of the same backbone, or where they are (`load_outcomes`); None takes the newest
            that fit, or trains.
        budget: a distribution or its text (`uniform:10,80`); shares (`10%`) are of the profile's full model.
        space: a search space or its file; it and the other arguments both hold.
        utility: what an answer is worth instead of the metric; `fallback` and `min_value_at` are then utilities.
        model: timm's name; None takes the space's backbone, that of what is found, or the embedded default.
        data: what heads are trained on where there are no outcomes.
        data_dir, download, workers: of the data, as in `train_heads`.
        device, threads, max_seconds: of a profile that is made on the way.
        batch_size: of the profile; None takes its first.
        recipe, epochs, learning_rate, augment: of heads that are trained on the way.
        trials: Optuna trials in all (settings, where there are knobs), those of earlier runs in the same storage
            included; 0 leaves Optuna out.
        seed: of everything random.
        storage: where Optuna keeps its study; None for memory, or for a journal in `out`.
        out: folder for `chosen.json`; None writes none.
        guard: whether to time the backbone again to see whether a profile that was found still holds.
        tolerance: heads are trained until the other candidates could add no more than this, in units of the value; 0
            until the best choice needs none of them. None takes 0.01 (of an error or a utility, a hundredth of the way
            from no answer to a perfect one).
        train_all: train every candidate, whatever it could add.
        on_trial: called after every trial with the number of finished trials and the best value so far.
        on_tried: called after every setting.
        watch: is shown the progress.
        asked: the other keywords of `SearchRequest.asked`: policy, limits, candidates, objectives.

    Returns:
        The result; of a search over settings with `settings`, which says what was tried.

    Raises:
        InputError: an option or a combination of documents that cannot be searched.
        MismatchError: profile and outcomes are of different backbones.
    """
    space, watch = as_space(space), watch or Quiet()
    utility = given_utility(utility, asked)
    request = SearchRequest.asked(budget=budget, space=space, **asked)
    study = {"trials": trials, "seed": seed, "storage": storage or (str(Path(out) / places.JOURNAL) if out else None)}
    machine = {"device": device or "cpu", "threads": threads, "seed": seed}
    taught_on = {"data": data, "data_dir": data_dir, "download": download, "workers": workers}
    taught_by = {"recipe": recipe, "epochs": epochs, "learning_rate": learning_rate, "augment": augment}
    job = SearchJob.given(
        "search",
        request=request,
        space=space,
        profile=str(profile) if isinstance(profile, Path) else profile,
        outcomes=str(outcomes) if isinstance(outcomes, Path) else outcomes,
        model=model,
        backbone=BackboneRequest(task="regression" if request.metric == "mae" else "classification", seed=seed),
        measuring=Measuring.given("measurement", **machine, max_seconds=max_seconds),
        training=Training.given("training", **taught_on, **taught_by, **machine, metric=request.metric),
        device=device,
        batch_size=batch_size,
        guard=guard,
        tolerance=tolerance,
        train_all=train_all,
        **study,
    )
    result = answer(job, utility=utility, on_trial=on_trial, on_tried=on_tried, watch=watch)
    if out:
        result.config.write(Path(out) / places.CHOSEN)
    return result


def answer(
    job: SearchJob,
    *,
    utility: Utility | None = None,
    on_trial: Callable[[int, float], None] | None = None,
    on_tried: OnTried | None = None,
    watch: Watch,
) -> SearchResult:
    """Do a job: find or make what it needs, and search; over settings where its space has knobs."""
    if job.has_knobs:
        return search_over_settings(job, utility=utility, on_tried=on_tried, watch=watch)
    found = find_sources(job, utility=utility, watch=watch)
    return search_sources(job, found, utility=utility, on_trial=on_trial, watch=watch)


def find_sources(job: SearchJob, *, utility: Utility | None = None, watch: Watch) -> Sources:
    """Find or make the profile and the outcomes of a job.

    Args:
        utility: that the request names: what heads are worth says which are trained.

    Raises:
        InputError: heads that cannot be trained without data, a profile without times or without energies that are
            asked for.
    """
    if job.outcomes is not None and (job.train_all or job.tolerance is not None):
        raise InputError(
            "--tolerance and --all say which heads are trained on the way, and outcomes that are named are taken as "
            "they are; leave one of both out"
        )
    name = job.wanted_name
    if job.profile is None and name is None and job.outcomes is not None:
        # Only a profile of the outcomes' own backbone is of use.
        given = find_outcomes(job.outcomes, name=None, training=job.training, asked_name=job.model)
        name = given[0].backbone.name if given else None
    found = find_profile(job.profile, name=name, device=job.device)
    if found is None:  # measuring takes a minute or more: what is bound to fail behind it is said before
        check_outcomes(job.outcomes, name=job.backbone_named(name).name, training=job.training)
    profile, profile_source = found or _made_profile(job, name, watch)
    profile = profile.at_batch(job.batch_size)
    _ = profile.full_ms  # a profile that only counts is refused before any heads are trained
    if job.request.needs_energy:
        profile.check_energies()
    outcomes, outcomes_source, untrained = _outcomes(job, profile, profile_source, utility, watch)
    return Sources(profile, profile_source, outcomes, outcomes_source, untrained)


def search_sources(
    job: SearchJob,
    found: Sources,
    *,
    utility: Utility | None = None,
    on_trial: Callable[[int, float], None] | None = None,
    watch: Watch,
) -> SearchResult:
    """Search what was found; the guard, where it is asked for, looks at the profile before."""
    if job.guard:
        from exitsearch.measure import guard

        with watch.progress("checking the profile"):
            warning = guard.stale(found.profile)
        if warning:
            watch.note(warning)
    with watch.progress("searching") as report:

        def tell(done: int, best: float) -> None:
            report(done / max(job.trials, 1), f"{done} trials, best {best:.4f}")
            if on_trial is not None:
                on_trial(done, best)

        return search_request(
            found.profile,
            found.outcomes,
            job.request,
            utility=utility,
            trials=job.trials,
            seed=job.seed,
            storage=job.storage,
            on_trial=tell,
            untrained=found.untrained,
        )


def search_over_settings(
    job: SearchJob, *, utility: Utility | None = None, on_tried: OnTried | None = None, watch: Watch
) -> SearchResult:
    """Search over the knobs of a job's space.

    Raises:
        InputError: what knobs cannot be combined with, or that is wrong whatever the setting.
    """
    from exitsearch.pipeline.settings import MeasuredSettings

    assert job.space is not None
    refused = {
        "profile": (job.profile, "every setting has its own profile"),
        "objectives": (job.request.objectives, "settings are compared by their expected value alone"),
        "tolerance": (job.tolerance is not None, "under every setting its heads are all trained"),
        "quantile": (job.request.quantile, "it goes with the policy confidence"),
        "class-weights" if utility and utility.weights else "worth": (utility, "settings are compared by the metric"),
    }
    for option, (given, reason) in refused.items():
        if given:
            raise InputError(
                f"--{option} cannot be combined with [knobs] in a search space: {reason}; leave one of both out"
            )
    if job.request.needs_energy:
        job.measuring.check_energy()
    provider = MeasuredSettings(job, watch=watch)
    found = search_settings(
        job.space.knobs,
        provider,
        job.request,
        otherwise=provider.otherwise,
        trials=job.trials,
        key=provider.key,
        seed=job.seed,
        storage=job.storage,
        on_tried=on_tried,
    )
    return replace(found.result, settings=found)


def _made_profile(job: SearchJob, name: str | None, watch: Watch) -> tuple[Profile, str]:
    """A new profile of the candidates, written where the next search finds it."""
    measuring = job.measuring.model_copy(
        update={
            "device": job.device or "cpu",
            "batch_sizes": (job.batch_size or 1,),
            "energy": job.request.needs_energy,
        }
    )
    if measuring.energy:
        measuring.check_energy()
    made = make_profile(job.backbone_named(name), measuring, candidates=job.request.candidates, watch=watch)
    return made, str(made.write(places.profile_file(made)))


def _outcomes(
    job: SearchJob, profile: Profile, profile_source: str, utility: Utility | None, watch: Watch
) -> tuple[Outcomes, str, tuple[Pair, ...] | None]:
    """The outcomes that were named, or those of the profile's backbone with what this question needs trained further.

    Returns:
        The outcomes, where they are, and which candidates of the profile they lack; None where they were named.
    """
    name = profile.backbone.name
    found = find_outcomes(job.outcomes, name=name, training=job.training, asked_name=job.model)
    if found is not None and (job.outcomes is not None or name is None):
        return *found, None
    if name is None:
        raise InputError(
            f"{profile_source} does not say which backbone it is of; name its values with --outcomes VALUES.csv, "
            "or the backbone with --model"
        )
    exits = candidates_of(profile, job.request)
    if found is None:
        check_outcomes(None, name=name, training=job.training)
        folder = job.training.folder(name)
        train = HeadTraining(_as_measured(job, profile), job.training, out=folder, watch=watch)
        made = _rounds(job, profile, exits, train=train, utility=utility, watch=watch)
        return made.outcomes, str(folder), made.untrained
    outcomes, source = found
    lacking = tuple(pair for pair in exits if pair not in settled(outcomes))
    if not lacking or not job.training.has_data_for(name):
        return outcomes, source, lacking
    train = HeadTraining(_as_measured(job, profile), job.training.going_on(outcomes), out=Path(source), watch=watch)
    try:
        made = _rounds(job, profile, exits, train=train, outcomes=outcomes, utility=utility, watch=watch)
    except MismatchError as error:
        watch.note(f"the heads in {source} are taken as they are, since no others can be trained beside them: {error}")
        return outcomes, source, lacking
    return made.outcomes, source, made.untrained


def _as_measured(job: SearchJob, profile: Profile) -> BackboneRequest:
    """The backbone that a profile is of, to train heads over, with its side inputs where none were named."""
    found = job.backbone_named(profile.backbone.name)
    return found if found.side_inputs else found.changed(side_inputs=profile.backbone.side_inputs or None)


def _rounds(
    job: SearchJob,
    profile: Profile,
    exits: list[Pair],
    *,
    train: HeadTraining,
    outcomes: Outcomes | None = None,
    utility: Utility | None,
    watch: Watch,
) -> Rounds:
    if needs_all(job.request) and not job.train_all:
        why = "several objectives have" if job.request.objectives else "the policy confidence has"
        watch.note(f"{why} no single optimum that says which heads are needed: all {len(exits)} candidates are trained")
    return train_in_rounds(
        profile,
        job.request,
        exits,
        train=train,
        outcomes=outcomes,
        utility=utility,
        tolerance=job.tolerance,
        everything=job.train_all,
    )
