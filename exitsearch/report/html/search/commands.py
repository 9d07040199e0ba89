"""The commands that repeat a search, read from its documents."""

from __future__ import annotations

import shlex

from exitsearch.report.html.page import Command, Section
from exitsearch.report.html.search.searched import Searched
from exitsearch.specs.question.request import AskedRequest, SearchRequest

# What an option is when it is not given: these are left out of a command.
_PLAIN = SearchRequest(budget="point:1")


def commands(searched: Searched) -> Section:
    """From the measurement to the proof; what the documents do not tell is said to be missing."""
    found = [*_profile(searched), *_heads(searched)]
    asked = searched.result.config.request
    if asked is not None:
        found.append(Command(search_line(searched, asked), "Search: the same documents give the same choice."))
    if searched.out is not None:
        parts = ["exitsearch", "check", f"{searched.out}/chosen.json", *_sources(searched), *_worth(searched)]
        found.append(Command(shlex.join(parts), "Repeat the proof."))
    text = ["Read from the documents that the search was made of."]
    if asked is not None and asked.candidates.space_heads and searched.space is None:
        text.append("The candidates came from a search space, whose file is to be named with --space.")
    return Section(key="again", title="Do it again", text=text, commands=found)


def search_line(searched: Searched, asked: AskedRequest) -> str:
    """`exitsearch search` with everything that was asked."""
    parts = ["exitsearch", "search", *_sources(searched), "--budget-dist", asked.budget]
    batch = searched.profile.environment.identity.get("batch_size")
    if type(batch) is int:
        parts += ["--batch-size", str(batch)]
    named = {
        "--policy": asked.policy if asked.policy != _PLAIN.policy else None,
        "--confidence": asked.score if asked.policy == "confidence" else None,
        "--quantile": asked.quantile,
        "--fallback": asked.fallback,
        "--objectives": ",".join(asked.objectives) or None,
        "--heads": ",".join(asked.candidates.heads) if asked.candidates.heads else None,
        "--placements": _placements(asked),
        "--space": searched.space,
        "--plugin": searched.plugin,
        "--metric": asked.metric,
    }
    limits = asked.limits
    named |= {
        "--max-exits": limits.max_exits,
        "--max-extra-params": limits.max_extra_params,
        "--max-memory": limits.max_memory,
        "--max-energy": None if limits.max_energy is None else f"{limits.max_energy:.17g}mJ",
    }
    for option, found in named.items():
        if found is not None:
            parts += [option, f"{found:.17g}" if isinstance(found, float) else str(found)]
    for option, texts in (
        ("--min-value-at", limits.min_value_at),
        ("--force", limits.force),
        ("--forbid", limits.forbid),
    ):
        for text in texts:
            parts += [option, text]
    parts += [*_worth(searched), "--trials", str(asked.trials), "--seed", str(asked.seed)]
    return shlex.join(parts)


def _placements(asked: AskedRequest) -> str | None:
    found = asked.candidates.placements
    return ",".join(map(str, found)) if isinstance(found, list) else found


def _sources(searched: Searched) -> list[str]:
    """The documents as options name them; a word in capitals where they are in no file."""
    return [
        "--profile",
        searched.profile_source or "PROFILE",
        "--outcomes",
        searched.outcomes_source or "OUTCOMES",
    ]


def _worth(searched: Searched) -> list[str]:
    return list(searched.worth)


def _profile(searched: Searched) -> list[Command]:
    """How the profile was measured; nothing of one that was brought."""
    profile = searched.profile
    facts, name = profile.environment.identity, profile.backbone.name
    if profile.verdict.status == "given" or name is None or "device" not in facts:
        return []
    parts = ["exitsearch", "profile", "--model", name]
    for key in ("device", "dtype", "batch_size", "runtime", "threads", "pause_ms"):
        if facts.get(key) is not None:
            parts += [f"--{key.replace('_', '-')}", str(facts[key])]
    if profile.backbone.num_outputs is not None:
        parts += ["--num-outputs", str(profile.backbone.num_outputs)]
    for key, option in (("max_seconds", "--max-seconds"), ("seed", "--seed")):
        if profile.protocol.get(key) is not None:
            parts += [option, f"{profile.protocol[key]:g}"]
    heads = list(dict.fromkeys(cost.head for cost in profile.heads))
    if heads:
        parts += ["--heads", ",".join(heads)]
    return [Command(shlex.join(parts), "Measure: on another machine, or at another hour, the times are others.")]


def _heads(searched: Searched) -> list[Command]:
    """How the heads were trained; nothing of values that were brought."""
    training, name = searched.outcomes.document.training, searched.outcomes.backbone.name
    data = str(training.get("data") or "").rpartition(" ")[0]
    if not training or name is None:
        return []
    parts = ["exitsearch", "train-heads", "--model", name, "--data", data or "DATA"]
    for key, option in (("recipe", "--recipe"), ("epochs", "--epochs"), ("learning_rate", "--lr"), ("seed", "--seed")):
        found = training.get(key)
        if found is not None:
            parts += [option, f"{found:g}" if isinstance(found, float) else str(found)]
    does = "Train every head; a search that trains on the way leaves out those that it does not need."
    return [Command(shlex.join(parts), does)]
