"""The top of the page: what was chosen and what it is worth, in a sentence and a few numbers."""

from __future__ import annotations

from exitsearch.report.html.page import Fact
from exitsearch.report.html.search.searched import ALONE, Searched
from exitsearch.report.terminal import choice


def sentence(searched: Searched) -> str:
    """What was chosen, what it is worth, and what it is worth more than what needs no search."""
    result, config = searched.result, searched.result.config
    exits = [f"{exit_.choice} at {exit_.placement}" for exit_ in config.exits]
    if not exits:
        chosen = "No early exit"
    elif len(exits) > 4:
        chosen = f"{len(exits)} exits, from {exits[0]} to {exits[-1]},"
    else:
        chosen = f"{len(exits)} exit{'s' if len(exits) > 1 else ''} ({', '.join(exits)})"
    what = "expected " + ("worth" if config.expected.worth else "accuracy" if _is_share(searched) else "value")
    said = f"{chosen} for budgets {choice.budget_words(result)}: {what} {result.value:.4f}"
    if result.held_out is not None:
        said += f", {result.held_out:.4f} held out"
    best = searched.best_rule
    beside = []
    if best is not None:
        beside.append(f"{_above(result.value - best.value)} the best rule of thumb ({best.name})")
    alone = searched.baseline(ALONE)
    if alone is not None and exits:
        beside.append(f"{_above(result.value - alone.value)} the backbone alone")
    said += f"; {', '.join(beside)}." if beside else "."
    return f"{said} {_proof(searched)}"


def _is_share(searched: Searched) -> bool:
    return searched.result.config.expected.metric == "accuracy"


def _above(difference: float) -> str:
    """By how much one value is above another, in words that do not call a tie a win."""
    if abs(difference) < 5e-5:
        return "equal to"
    return f"{abs(difference):.4f} {'above' if difference > 0 else 'below'}"


def _proof(searched: Searched) -> str:
    optimum = searched.result.config.optimum
    among = " of the trained candidates" if optimum.untrained is not None and optimum.untrained.exits else ""
    if optimum.exact and searched.result.regret == 0:
        return f"Proved: no choice{among} is worth more."
    if optimum.exact:
        return f"Some choice{among} is proved to be worth {searched.result.regret:.4g} more."
    return (
        f"No choice{among} is worth {searched.result.regret:.4g} more than that; the choice itself is not proved best."
    )


def facts(searched: Searched) -> list[Fact]:
    """The numbers to take away."""
    result = searched.result
    found = [
        Fact(f"Expected {searched.value_words}", f"{result.value:.4f}", f"{searched.split} split", "choice"),
    ]
    if result.held_out is not None:
        low_high = "" if result.interval is None else f"95% {result.interval[0]:.4f} to {result.interval[1]:.4f}"
        found.append(Fact("Held out", f"{result.held_out:.4f}", low_high, "choice"))
    rule, alone = searched.best_rule, searched.baseline(ALONE)
    if rule is not None:
        gain = result.value - rule.value
        found.append(Fact("Over the best rule of thumb", f"{gain:+.4f}", rule.name, _state(gain)))
    if alone is not None:
        gain = result.value - alone.value
        found.append(Fact("Over the backbone alone", f"{gain:+.4f}", f"which is {alone.value:.4f}", _state(gain)))
    optimum = result.config.optimum
    found.append(
        Fact("Regret", f"{result.regret:.4g}", "optimum proved", "good")
        if optimum.exact
        else Fact("Regret at most", f"{result.regret:.4g}", "not proved", "plain")
    )
    found.append(Fact("No answer in time", f"{result.no_answer:.1%}", "of all budgets"))
    verdict = searched.profile.verdict.status
    state = {"ok": "good", "given": "plain"}.get(verdict, "bad")
    found.append(
        Fact(
            "The profile's verdict", verdict, searched.profile.condition().split("__", 1)[-1].replace("__", " "), state
        )
    )
    return found


def _state(gain: float) -> str:
    return "good" if gain > 5e-5 else "bad" if gain < -5e-5 else "plain"
