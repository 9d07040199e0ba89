"""The documents that a configuration was computed from, found again: the profile by its identity, the bank of candidate
heads by the backbone and the data that its heads were trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exitsearch.errors import ExitSearchError
from exitsearch.pipeline import places
from exitsearch.search.proof import at_its_batch
from exitsearch.specs.answers.kept import ANSWERS_FOLDER
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.published import PUBLISHED_COSTS, published_costs


@dataclass(frozen=True)
class FoundProfile:
    """The profile of a configuration.

    Attributes:
        profile: of the batch size that the configuration is of; None where there is none.
        note: what a user should know of it: that it was not found, or that another one is taken.
        same: whether it is the one that the configuration was computed from.
    """

    profile: Profile | None
    note: str | None = None
    same: bool = False


def profile_of(config: MultiExitConfig, *, given: Profile | Path | str | None = None) -> FoundProfile:
    """The profile that a configuration was computed from.

    Args:
        config: a chosen configuration.
        given: a profile to take in any case, or where it is (`load_profile`); None looks in `profiles/` for the one
            whose identity the configuration names, and among the published ones.

    Raises:
        FileError: the given one cannot be read.
        MismatchError: the given one is of another backbone.
        InputError: the given one holds no times.
    """
    wanted = config.profile.get("identity")
    if given is not None:
        found = given if isinstance(given, Profile) else load_profile(given, backbone=config.backbone.name)
        config.backbone.check_same(found.backbone, mine="the configuration", others="the profile")
        found = at_its_batch(config, found)
        found = found if found.identity == wanted else found.at_batch()
        _ = found.full_ms  # one that only counts is refused
        if found.identity == wanted:
            return FoundProfile(found, same=True)
        return FoundProfile(
            found,
            f"the profile given is not the one that the configuration was computed from ({wanted or 'unknown'}); its "
            "times are taken",
        )
    for profile in _profiles(config) if wanted else ():
        found = at_its_batch(config, profile)
        if found.identity == wanted:
            return FoundProfile(found, same=True)
    condition = config.profile.get("condition") or "unknown condition"
    return FoundProfile(
        None,
        f"the profile that the exits were chosen by ({wanted or 'unknown'}, {condition}) is not in {places.PROFILES}; "
        "name it with --profile to have the search asked again and the latency noise counted",
    )


def bank_of(outcomes: Outcomes) -> Outcomes | None:
    """Other heads over the same weights of the backbone, trained on the same data; None where there are none.

    Where training has moved the backbone, no other heads stand on its weights.

    Args:
        outcomes: of the trained model.

    Returns:
        The newest of the folders in `outcomes/`, with every sample's answers.
    """
    facts = {key: outcomes.training.get(key) for key in ("weights", "data")}
    if None in facts.values() or outcomes.backbone.name is None:
        return None
    pattern = f"{places.plain_name(outcomes.backbone.name)}__*/{DOCUMENT_NAME}"
    mine = None if outcomes.folder is None else outcomes.folder.resolve()
    for path in sorted(places.OUTCOMES.glob(pattern), key=lambda path: -path.stat().st_mtime):
        if path.parent.resolve() == mine or not (path.parent / ANSWERS_FOLDER).is_dir():
            continue
        try:
            found = load_outcomes(path)
        except ExitSearchError:  # a folder that is half made, or broken: as if it were not there
            continue
        same = all(found.training.get(key) == fact for key, fact in facts.items())
        if same and (found.metric, found.splits) == (outcomes.metric, outcomes.splits):
            return found
    return None


def _profiles(config: MultiExitConfig) -> Iterator[Profile]:
    """Every profile that may be the one of a configuration, the newest first, then those that are published."""
    name = places.plain_name(config.backbone.name or "backbone")
    folders = (places.PROFILES, places.PROFILES / places.KNOBS)
    files = [path for folder in folders for path in folder.glob(f"{name}__*.json")]
    for path in sorted(files, key=lambda path: -path.stat().st_mtime):
        try:
            yield load_profile(path)
        except ExitSearchError:  # no profile, or a broken one: as if it were not there
            continue
    for published in PUBLISHED_COSTS:
        yield published_costs(published)
