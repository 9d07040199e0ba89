"""How few heads the search has trained: made-up banks, whose values are shown only when a round asks for them.

    python scripts/check_rounds.py [--banks N] [--profile P --outcomes O] [--json FILE]

Each bank is a profile and the values of all its heads. Rounds train heads, that is look their values up, until the rest
could add no more than the tolerance; then all values are shown, and the best choice among all is held against what was
said. Policies, budgets, metrics and limits take turns. With a profile and outcomes of one's own, in which every
candidate is trained, the same is done with these.

heads   share of the candidates that was trained, and of the time that training all of them takes
bound   what the rest could add, as the result says
gain    what the rest does add, as the search over all of them shows

Exit status 1 where a gain is above its bound, a bound above the tolerance, or where with tolerance 0 the choice is not
that of all candidates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import figures
import numpy as np

from exitsearch.pipeline.rounds import Rounds, train_in_rounds
from exitsearch.search.result import SearchResult
from exitsearch.search.run import search_request
from exitsearch.search.untrained import candidates_of
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import POLICIES, Policy, SearchRequest

# Sums of values are good to a few 1e-15.
ROUNDING = 1e-12
EXACT: tuple[Policy, ...] = POLICIES[:2]
BUDGETS = ("uniform:10%,100%", "normal:50%,20%", "exponential:40%", "discrete:30%@0.5,70%@0.5", "lognormal:40%,0.6")
LIMITS = ("none", "max_exits", "max_extra_params", "max_energy", "min_value_at", "force", "forbid")


@dataclass(frozen=True)
class Bank:
    """A question, and the values of all candidates.

    Attributes:
        name: for the table.
    """

    name: str
    profile: Profile
    outcomes: Outcomes
    request: SearchRequest


@dataclass(frozen=True)
class Row:
    """What came of one question at one tolerance.

    Attributes:
        candidates: how many there are.
        trained: how many were trained.
        cost: share of the heads' times that they have.
        rounds: how many there were.
        value: of the best trained choice.
        bound: what the rest could add.
        gain: what it adds.
        same: whether the exits are those of the search over all.
        wrong: what is not as it must be, in words.
    """

    bank: str
    policy: str
    tolerance: float
    candidates: int
    trained: int
    cost: float
    rounds: int
    value: float
    bound: float
    gain: float
    same: bool
    wrong: str


class Lookup:
    """Trains by looking up. Values of candidates that were not asked for are not in what it returns.

    Attributes:
        asked: the pairs of each round.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._all = outcomes
        self.asked: list[list[Pair]] = []

    def __call__(self, exits: Sequence[Pair], *, words: str = "") -> Outcomes:
        self.asked.append(list(exits))
        shown = {pair for pairs in self.asked for pair in pairs}
        heads = [head for head in self._all.heads if (head.placement, head.head) in shown]
        return self._all.model_copy(update={"heads": heads})


def made_up(seed: int, *, placements: int = 8, heads: int = 6, metric: str = "accuracy", limit: str = "none") -> Bank:
    """A backbone of equal blocks with heads that are better, and dearer, from the first to the last.

    Args:
        seed: of every number.
        metric: `accuracy`, or `mae` with errors of up to 20 and no answer worth 25.
        limit: name of a limit of the request that leaves something to choose.
    """
    rng = np.random.default_rng([seed, placements, heads])
    block_ms = rng.uniform(0.8, 1.2, placements)
    # From a small part of a block to more than two, as heads have over small backbones.
    dear = np.sort(np.exp(rng.uniform(np.log(0.05), np.log(2.5), heads)))
    depth = (np.arange(placements) + 1) / placements
    good = rng.uniform(0.3, 0.8) * (1 - depth**0.5) + 0.95 * depth**0.5
    costs, values = [], []
    for place in range(placements):
        for number in range(heads):
            time = float(dear[number] * rng.uniform(0.7, 1.4))
            gain = 0.4 * (1 - good[place]) * number / heads + rng.normal(0, 0.01)
            value = float(np.clip(good[place] + gain, 0.05, 0.99))
            head = f"h{number}"
            costs.append({"placement": place, "head": head, "latency_ms": time, "params": 10 + int(1e4 * dear[number])})
            costs[-1]["energy_mj"] = time
            score = value if metric == "accuracy" else 20 * (1 - value)
            values.append({"placement": place, "head": head, "scores": {"choice": score}})
    final = 0.95 if metric == "accuracy" else 20 * 0.05
    profile = Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "made_up"},
            "segments": [
                {"placement": k, "latency_ms": float(ms), "energy_mj": float(ms)} for k, ms in enumerate(block_ms)
            ],
            "heads": costs,
            "final": {"latency_ms": 0.1, "energy_mj": 0.1},
            "slowdown": rng.lognormal(0, 0.05, 5).tolist() if seed % 2 else [],
            "verdict": {"status": "ok", "reasons": []},
        }
    )
    outcomes = Outcomes.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "made_up"},
            "metric": metric,
            "fallback": 0.0 if metric == "accuracy" else 25.0,
            "splits": {"choice": 0},
            "source": "made up",
            "heads": values,
            "final": {"scores": {"choice": final}},
        }
    )
    request = SearchRequest.asked(budget=BUDGETS[seed % len(BUDGETS)], **_limits(limit, rng, profile, outcomes))
    return Bank(f"{seed} {metric} {limit}", profile, outcomes, request)


def _limits(limit: str, rng: np.random.Generator, profile: Profile, outcomes: Outcomes) -> dict[str, Any]:
    """Keywords of a limit that some choice keeps to."""
    scores = {(head.placement, head.head): head.scores["choice"] for head in outcomes.heads}
    pairs = sorted(scores)
    place, head = pairs[rng.integers(len(pairs))]
    match limit:
        case "max_exits":
            return {"max_exits": int(rng.integers(1, 4))}
        case "max_extra_params":
            return {"max_extra_params": int(np.median([cost.params or 0 for cost in profile.heads]) * 2)}
        case "max_energy":
            return {"max_energy": float(profile.full_ms * rng.uniform(1.02, 1.2))}
        case "min_value_at":
            time = float(profile.arrival_ms[place]) + profile.head_ms(place, head)
            return {"min_value_at": [f"{time * 1.0001}ms={scores[place, head]}"]}
        case "force":
            return {"force": [f"{place}:{head}" if rng.random() < 0.5 else str(place)]}
        case "forbid":
            return {"forbid": [f"{place}:{head}" if rng.random() < 0.5 else str(place)]}
    return {}


def in_rounds(bank: Bank, *, tolerance: float | None) -> tuple[Rounds, SearchResult]:
    """Train a bank's candidates in rounds, and search what is trained."""
    exits = candidates_of(bank.profile, bank.request)
    rounds = train_in_rounds(bank.profile, bank.request, exits, train=Lookup(bank.outcomes), tolerance=tolerance)
    return rounds, search_request(bank.profile, rounds.outcomes, bank.request, trials=0, untrained=rounds.untrained)


def judge(bank: Bank, *, tolerance: float) -> Row:
    """Hold what rounds of a tolerance say against the search over all candidates."""
    rounds, found = in_rounds(bank, tolerance=tolerance)
    whole = search_request(bank.profile, bank.outcomes, bank.request, trials=0)
    said = found.config.optimum.untrained
    assert said is not None  # candidates were named
    gain = whole.value - found.value
    same = found.config.exits == whole.config.exits
    wrong = []
    if gain > said.could_add + ROUNDING:
        wrong.append(f"the rest adds {gain:.3g}, more than the bound {said.could_add:.3g}")
    if said.could_add > tolerance + ROUNDING:
        wrong.append(f"the bound {said.could_add:.3g} is above the tolerance {tolerance:g}")
    if tolerance == 0 and not same:
        wrong.append("the choice is another one than that of all candidates")
    times = {(cost.placement, cost.head): cost.latency_ms or 0.0 for cost in bank.profile.heads}
    shown = [pair for pairs in rounds.trained for pair in pairs]
    return Row(
        bank=bank.name,
        policy=bank.request.policy,
        tolerance=tolerance,
        candidates=len(times),
        trained=len(shown),
        cost=sum(times[pair] for pair in shown) / sum(times.values()),
        rounds=len(rounds.trained),
        value=found.value,
        bound=said.could_add,
        gain=gain,
        same=same,
        wrong="; ".join(wrong),
    )


def banks(options: argparse.Namespace) -> Iterator[Bank]:
    """The questions that the options ask for, under the exact policies in turn."""
    given = figures.documents(options)
    for policy in EXACT:
        if given is not None:
            for budget in BUDGETS:
                request = SearchRequest.asked(budget=budget, policy=policy)
                yield Bank(budget, *given, request)
            continue
        for seed in range(options.seed, options.seed + options.banks):
            metric, limit = ("accuracy", "mae")[seed // len(LIMITS) % 2], LIMITS[seed % len(LIMITS)]
            bank = made_up(seed, placements=options.placements, heads=options.head_types, metric=metric, limit=limit)
            yield Bank(bank.name, bank.profile, bank.outcomes, bank.request.changed(policy=policy))


def work(options: argparse.Namespace) -> int:
    table = None if options.quiet else figures.Table(
        {"bank": "<28", "policy": "<13", "tolerance": "9g", "rounds": "6d", "heads": "9", "cost": "6.1%",
         "value": "9.4f", "bound": "9.2g", "gain": "9.2g", "same": "5"}
    )  # fmt: skip
    rows: list[Row] = []
    for bank in banks(options):
        for tolerance in options.tolerances:
            # Of errors of up to 20, a hundredth is a twentieth of a percent: in units of the largest error.
            scaled = tolerance * (1.0 if bank.outcomes.metric == "accuracy" else bank.outcomes.fallback or 1.0)
            row = judge(bank, tolerance=scaled)
            rows.append(row)
            if table is not None:
                table.row(row.bank, row.policy, row.tolerance, row.rounds, f"{row.trained}/{row.candidates}", row.cost,
                          row.value, row.bound, row.gain, row.same)  # fmt: skip
    for tolerance in options.tolerances:
        mine = rows[list(options.tolerances).index(tolerance) :: len(options.tolerances)]
        print(
            f"tolerance {tolerance:g}: {np.mean([row.trained / row.candidates for row in mine]):.1%} of the heads, "
            f"{np.mean([row.cost for row in mine]):.1%} of their time, {np.mean([row.rounds for row in mine]):.1f} "
            f"rounds; largest bound {max(row.bound for row in mine):.2g}, largest gain "
            f"{max(row.gain for row in mine):.2g}; the choice of all in {sum(row.same for row in mine)} of {len(mine)}"
        )
    wrong = [row for row in rows if row.wrong]
    for row in wrong:
        print(f"{row.bank}, {row.policy}, tolerance {row.tolerance:g}: {row.wrong}")
    figures.write(options, {"rows": [asdict(row) for row in rows], "wrong": len(wrong)})
    return 1 if wrong else 0


def tolerances(text: str) -> tuple[float, ...]:
    """Numbers from 0 with commas between, for argparse."""
    try:
        found = tuple(float(word) for word in text.split(","))
        if any(not 0 <= number < float("inf") for number in found):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers from 0 with commas between, as 0,0.01; found {text!r}") from None
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--profile", "--outcomes", "--seed")
    parser.add_argument("--banks", type=int, default=50, metavar="N", help="made-up banks (default: 50)")
    parser.add_argument("--placements", type=int, default=12, metavar="N", help="of a bank (default: 12)")
    parser.add_argument("--head-types", type=int, default=14, metavar="N", help="of a bank (default: 14)")
    parser.add_argument(
        "--tolerances",
        type=tolerances,
        default=(0.0, 0.01),
        metavar="A,B",
        help="shares of the scale (default: 0,0.01)",
    )
    parser.add_argument("--quiet", action="store_true", help="only the means")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
