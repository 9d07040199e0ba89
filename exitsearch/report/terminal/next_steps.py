"""What to do next, after every command: the command to type, as it can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.document import Document
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.space import SearchSpace

# Where the reader's own data must be named.
_DATA = "FOLDER"
_BUDGETS = "uniform:10%,100%"


def command(name: str, *options: str | Path | None) -> str:
    """A command line that a shell reads back; options that are None are left out.

    >>> command("train", "--config", "my chosen.json")
    "exitsearch train --config 'my chosen.json'"
    """
    return shlex.join(["exitsearch", name, *(str(option) for option in options if option is not None)])


def step(text: str) -> str:
    """The line that says it."""
    return f"next: {text}"


def after_profile(profile: Profile, file: Path | None) -> str:
    """Search, or what must come before.

    Args:
        file: where a profile that a search would not find by itself was written; else None.
    """
    if not profile.is_timed:
        return "exitsearch profile without --counts-only: a search needs times"
    own = [] if profile.backbone.name == EMBEDDED_NAME else ["--data", _DATA]
    found = [] if file is None else ["--profile", str(file)]
    return command("search", "--budget-dist", _BUDGETS, *found, *own)


def after_heads(folder: Path | None) -> str:
    """Search over them.

    Args:
        folder: of outcomes that a search would not find by itself; else None.
    """
    return command("search", "--budget-dist", _BUDGETS, *([] if folder is None else ["--outcomes", str(folder)]))


def after_search(
    config: MultiExitConfig,
    chosen: Path,
    *,
    data: str | None = None,
    profile: str | None = None,
    outcomes: str | None = None,
) -> str:
    """Train the choice; of a table without a backbone's name there is no model to train: repeat the proof.

    Args:
        chosen: its file.
        data: that the heads were trained on, where it was named.
        profile: that was searched, where it was named.
        outcomes: the same.
    """
    if config.backbone.name is None:
        return command("check", chosen, "--profile", profile or "PROFILE", "--outcomes", outcomes or "OUTCOMES")
    given = data or (None if config.backbone.name == EMBEDDED_NAME else _DATA)
    return command("train", "--config", chosen, *([] if given is None else ["--data", given]))


def after_train(folder: Path) -> str:
    """Deploy what was trained."""
    return command("export", "--weights", folder, "--out", "bundle")


def after_export(bundle: Path, *, data: str | None) -> str:
    """See on this machine whether it keeps what it promises."""
    return command("verify", bundle, *([] if data is None else ["--data", data]))


def after_verify(bundle: Path, *, within: bool) -> str:
    """Serve it, or find out why not."""
    if within:
        return command("serve", bundle)
    return f"{command('verify', bundle)} with nothing else running; where it is still off, export again on this machine"


def after_check(document: Document, file: Path) -> str | None:
    """What a valid file is for; None where that is not known."""
    search = ("search", "--budget-dist", _BUDGETS)
    match document:
        case Profile():
            return after_profile(document, file)
        case Outcomes():
            return command(*search, "--outcomes", file)
        case SearchSpace():
            return command(*search, "--space", file)
        case MultiExitConfig():
            return after_search(document, file)
    return None


def after_list(what: str, name: str | None) -> str:
    """Use one of those that were listed.

    Args:
        what: was listed.
        name: of the model whose placements were.
    """
    model = [] if name is None else ["--model", name]
    return {
        "heads": command("profile", "--heads", "linear,gah(stride=4)"),
        "placements": command("profile", *model, "--placements", "0,2,4-8"),
        "budgets": command("search", "--budget-dist", _BUDGETS),
        "models": command("profile", "--model", "vit_tiny_patch16_224"),
        "recipes": command("train", "--config", "exitsearch-out", "--recipe", "joint"),
    }[what]
