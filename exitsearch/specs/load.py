"""Open a document from any of the forms a user may bring it in: our own files, CSV tables, published figures."""

from __future__ import annotations

import os
from pathlib import Path

from exitsearch.errors import FileError, MismatchError
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Metric, Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.published import published_costs, published_outcomes
from exitsearch.specs.question.space import SearchSpace

PUBLISHED = "published:"


def load_profile(source: Path | str, *, backbone: str | None = None) -> Profile:
    """Open a profile.

    Args:
        source: a profile's JSON file, a costs CSV (`part,placement,head,latency_ms`), or `published:NAME`.
        backbone: name of the backbone that a costs CSV was measured on; for the others a check.

    Raises:
        FileError: the file is missing or breaks a rule.
        MismatchError: it is of another backbone.
    """
    if str(source).startswith(PUBLISHED):
        profile = published_costs(str(source).removeprefix(PUBLISHED))
    elif Path(source).suffix == ".csv":
        return Profile.from_costs_csv(source, backbone=backbone)
    else:
        profile = Profile.read(source)
    _check_backbone(profile.backbone.name, backbone, source)
    return profile


def load_outcomes(source: Path | str, *, metric: Metric = "accuracy", backbone: str | None = None) -> Outcomes:
    """Open outcomes.

    Args:
        source: a folder made by `exitsearch train-heads`, its `outcomes.json`, a values CSV
            (`placement,head,value`), or `published:NAME`.
        metric: what the numbers of a values CSV are; the other forms know their own.
        backbone: name of the backbone that a values CSV belongs to; for the others a check.

    Raises:
        FileError: the file is missing or breaks a rule, or its scores are not those of its samples.
        MismatchError: it is of another backbone.
    """
    if str(source).startswith(PUBLISHED):
        outcomes = published_outcomes(str(source).removeprefix(PUBLISHED))
    elif Path(source).suffix == ".csv":
        return Outcomes.from_values_csv(source, metric=metric, backbone=backbone)
    else:
        outcomes = Outcomes.load(source)
    _check_backbone(outcomes.backbone.name, backbone, source)
    outcomes.check_samples()
    return outcomes


def load_config(source: Path | str) -> MultiExitConfig:
    """Open a `chosen.json`, or the one in a folder.

    Raises:
        FileError: the file is missing or breaks a rule.
    """
    path = Path(source)
    return MultiExitConfig.read(path / "chosen.json" if os.path.isdir(path) else path)


def load_space(source: Path | str) -> SearchSpace:
    """Open a search space (TOML).

    Raises:
        FileError: the file is missing or breaks a rule.
    """
    if Path(source).suffix != ".toml":
        raise FileError(
            source, "a search space is a TOML file whose name ends in .toml", remedy="rename it, or name one"
        )
    return SearchSpace.read(source)


def _check_backbone(found: str | None, asked: str | None, source: Path | str) -> None:
    if found is not None and asked is not None and found != asked.split(".")[0]:
        raise MismatchError(f"{source} is of backbone {found}, --model asks for {asked}; give a file of that backbone")
