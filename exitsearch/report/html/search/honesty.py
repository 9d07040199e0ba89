"""How far the numbers can be believed: splits, interval, optimism, verdict, conditions, and what was left untrained."""

from __future__ import annotations

import numpy as np

from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import Searched
from exitsearch.report.terminal import choice


def honesty(searched: Searched) -> Section:
    """All findings in words, what they rest on, and what disturbed the measurement."""
    return Section(
        key="honesty",
        title="How far to believe it",
        text=choice.lines(searched.result),
        facts=[*_values(searched), *_times(searched), *_documents(searched)],
        tables=[*_reasons(searched), _conditions(searched), *_left_out(searched)],
    )


def _size(searched: Searched, split: str) -> str:
    count = searched.outcomes.splits[split]
    return f"split {split}, {count} samples" if count else f"split {split}, its size unknown"


def _values(searched: Searched) -> list[tuple[str, str]]:
    result, report = searched.result, searched.outcomes.report_split
    found = [("Chosen on", _size(searched, searched.outcomes.choice_split))]
    if report is None or result.held_out is None:
        found.append(
            ("Held out", "nothing: there is one split alone, so the expected value is as optimistic as can be")
        )
    else:
        interval = "no interval, since only scores are known"
        if result.interval is not None:
            interval = f"95% bootstrap interval {result.interval[0]:.4f} to {result.interval[1]:.4f}"
        found.append(("Held out", f"{result.held_out:.4f} on {_size(searched, report)}; {interval}"))
        found.append(("Optimism", f"{result.optimism:+.4f}: expected value on the first split less that held out"))
    optimum = result.config.optimum
    proof = f"{optimum.value:.4f}, {'proved by the exact solver' if optimum.exact else 'an upper bound, not reached'}"
    found.append(("Optimum", f"{proof}; regret {result.regret:.4g}"))
    if optimum.untrained is not None:
        found.append(("Not trained", choice.untrained_words(optimum.untrained)))
    found.append(("Price of not knowing", f"{result.price_of_not_knowing:.4f}: the same exits, were budgets known"))
    return found


def _times(searched: Searched) -> list[tuple[str, str]]:
    profile = searched.profile
    slow = np.array(profile.slowdown)
    if len(slow):
        low, high = np.quantile(slow, [0.05, 0.95])
        noise = f"{len(slow)} samples of the slow-down; 90% of them lie between {low:.3f} and {high:.3f}"
    else:
        noise = "not known: every latency counts as exactly its median"
    verdict = profile.verdict
    what = verdict.status if not verdict.reasons else f"{verdict.status}, for {len(verdict.reasons)} reasons below"
    unchecked = f"; not checked: {', '.join(verdict.not_checked)}" if verdict.not_checked else ""
    return [
        ("Verdict on the times", what + unchecked),
        ("Latency noise", noise),
        ("Full model", f"{profile.full_ms:.4g} ms, the sum of its parts at the median"),
    ]


def _documents(searched: Searched) -> list[tuple[str, str]]:
    config = searched.result.config
    profile, outcomes = config.profile, config.outcomes
    found = [
        ("Profile", f"{profile['condition']}, identity {profile['identity']}"),
        ("Outcomes", f"{outcomes['source'] or 'of an unnamed source'}, identity {outcomes['identity']}"),
    ]
    if config.request is not None:
        asked = config.request
        found.append(
            ("Request", f"{asked.pairs} candidates, {asked.choices:.4g} choices, seed {asked.seed}; {asked.identity}")
        )
    return found


def _reasons(searched: Searched) -> list[Table]:
    reasons = searched.profile.verdict.reasons
    if not reasons:
        return []
    return [
        Table(
            title=f"Why the verdict is {searched.profile.verdict.status}",
            columns=[Column("what"), Column("how much", ".3g"), Column("remedy")],
            rows=[[reason.what, reason.number, reason.remedy] for reason in reasons],
        )
    ]


def _conditions(searched: Searched) -> Table:
    environment = searched.profile.environment
    groups = {
        "decides": environment.identity,
        "matters little": environment.soft,
        "was so": environment.state,
        "protocol": searched.profile.protocol,
    }
    return Table(
        title="Conditions of the measurement",
        columns=[Column("condition"), Column("found"), Column("kind")],
        rows=[
            [name, "not known" if found is None else str(found), kind]
            for kind, facts in groups.items()
            for name, found in facts.items()
        ],
        folded=True,
    )


def _left_out(searched: Searched) -> list[Table]:
    untrained = searched.result.config.optimum.untrained
    if untrained is None or not untrained.exits:
        return []
    return [
        Table(
            title="Candidates that are not trained",
            columns=[Column("placement", "d"), Column("head")],
            rows=[[int(place), head] for place, _, head in (name.partition(":") for name in untrained.exits)],
            folded=True,
        )
    ]
