"""The page's section on what the published accuracies imply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from statistics import median

from reproduce.page import Figures, count, names, paragraph, ranges, table
from reproduce.tables import COUNTS, DATA, FAMILIES, HEADS, NOTHING, POLICIES


def text(found: Figures) -> list[str]:
    """The section of the page."""
    cases = found["cases"]
    own = [name for name in found["profiles"] if any(of(cases, profile=name, own_backbone=True))]
    others = [name for name in found["profiles"] if name not in own]
    return [
        "## What the published accuracies imply",
        "",
        *_what_was_asked(found, own, others),
        *_anchor_words(found["anchor"]),
        *_rules_words(cases),
        *(line for data in DATA for line in _own_table(cases, data, own)),
        *_others_tables(cases, others),
        *_head_types(cases),
        *_limited_words(cases, found["anchor"]["limited"]),
    ]


def of(cases: Iterable[Figures], **wanted: object) -> list[Figures]:
    """The cases with these facts."""
    return [case for case in cases if all(case[key] == value for key, value in wanted.items())]


def _what_was_asked(found: Figures, own: Sequence[str], others: Sequence[str]) -> list[str]:
    profiles, cases = found["profiles"], found["cases"]
    rows = [
        [
            f"`{name}`",
            f"`{facts['backbone']}`",
            facts["verdict"],
            "measured" if name != COUNTS else "counted, 1 GMAC = 1 ms",
            *(f"{100 * facts['head_shares'][head]:.2f}%" for head in HEADS),
        ]
        for name, facts in profiles.items()
    ]
    unproved = sum(not case["proved"] for case in cases)
    return [
        *paragraph(
            "The published test accuracies of 77 heads on CIFAR-10 and CIFAR-100 (`published:mevit-cifar10`, "
            f"`published:mevit-cifar100`), {count(len(profiles), 'profile')} of costs, "
            f"{count(len(FAMILIES), 'family', 'families')} of budgets and both policies make {len(cases)} cases. "
            + (
                "Each was solved exactly, and its optimum is proved."
                if not unproved
                else f"In {unproved} of them the optimum is not proved."
            ),
            "Budgets are shares of the full model's time, so that every profile is asked the same:",
        ),
        *table(["family", "`--budget-dist`"], [[name, f"`{text}`"] for name, text in found["families"].items()]),
        *paragraph(
            "The trace is made, as a load that comes and goes would leave it: of 600 requests the i-th has "
            "max(8%, 60% + 45% sin(2 pi i / 97) + 20% sin(2 pi i / 13)). Times are medians with the profile's measured "
            "slow-downs. The costs, with what each head takes at the median placement in parts of the full model:"
        ),
        *table(["profile", "backbone", "verdict", "costs", *(f"`{head}`" for head in HEADS)], rows),
        *paragraph(
            f"The accuracies are of ViT-B/16 at 384 pixels, so only {names(own)} {'are' if len(own) > 1 else 'is'} of "
            "the backbone that they belong to. "
            + (
                f"On {names(others)} the same accuracies stand in for those of other backbones, of which nothing was "
                "published: these rows say how the choice moves where heads cost more or less beside blocks, not how "
                "good these models would be."
                if others
                else ""
            )
        ),
        "",
    ]


def _anchor_words(anchor: Figures) -> list[str]:
    rows = [[name, f"{expected:.4f}", f"{anchor['found'][name]:.4f}"] for name, expected in anchor["expected"].items()]
    agree = sum(expected == found for _, expected, found in rows)
    return [
        *paragraph(
            "**Against an independent solver.** CIFAR-100, 1 GMAC = 1 ms, `uniform:10,80`: "
            f"{agree} of {len(rows)} figures agree to four decimals; the optimum has "
            f"{count(len(anchor['exits']), 'exit')} ({exits_text(anchor['exits'])})."
        ),
        *table(["", "independent", "ours"], rows),
    ]


def _rules_words(cases: list[Figures]) -> list[str]:
    lines = []
    for policy in POLICIES:
        here = of(cases, policy=policy)
        gains = [(case["value"] - case["best_rule"]["value"], case) for case in here]
        (least, least_case), (most, most_case) = (pick(gains, key=itemgetter(0)) for pick in (min, max))
        greedy = [case["value"] - case["greedy"]["value"] for case in here]
        optimal = sum(gap <= NOTHING for gap in greedy)
        rules: dict[str, int] = {}
        for case in here:
            rules[case["best_rule"]["name"]] = rules.get(case["best_rule"]["name"], 0) + 1
        best = sorted(rules.items(), key=lambda rule: -rule[1])
        lines += [
            *paragraph(
                f"**Rules of thumb, `{policy}`.** Over {len(here)} cases the optimum is worth {least:.4f} "
                f"({_case_name(least_case)}) to {most:.4f} ({_case_name(most_case)}) more than the best rule (one head "
                "type everywhere, or equally spaced), although nobody knows beforehand which rule that is: "
                f"{names((f'{name} (in {times})' for name, times in best), code=False)}. Greedy adding finds the "
                f"optimum in {optimal} of {len(here)} and loses {max(greedy):.4f} at most."
            ),
            "",
        ]
    return lines


def _own_table(cases: list[Figures], data: str, own: Sequence[str]) -> list[str]:
    rows = []
    for name in own:
        for policy in POLICIES:
            for case in of(cases, data=data, profile=name, policy=policy):
                rows.append(
                    [
                        "counted" if name == COUNTS else "measured",
                        policy,
                        case["family"],
                        f"**{case['value']:.4f}**",
                        exits_text(case["exits"]),
                        f"{case['best_rule']['value']:.4f} ({case['best_rule']['name']})",
                        f"{case['greedy']['value']:.4f}",
                        f"{case['best_single']['value']:.4f}",
                        f"{case['backbone_alone']:.4f}",
                    ]
                )
    columns = ["costs", "policy", "budgets", "optimum", "exits", "best rule", "greedy", "one exit", "backbone alone"]
    return [f"**{data}, ViT-B/16 at 384 pixels** (expected accuracy):", *table(columns, rows)]


def _others_tables(cases: list[Figures], others: Sequence[str]) -> list[str]:
    if not others:
        return []
    lines = paragraph(
        "**The same accuracies on the other profiles** (expected accuracy; in brackets the gain over the best rule, "
        "and the head types chosen):"
    )
    for data in DATA:
        rows = []
        for name in others:
            for policy in POLICIES:
                here = {case["family"]: case for case in of(cases, data=data, profile=name, policy=policy)}
                rows.append([f"`{name}`", policy, *(_cell(here[family]) for family in FAMILIES)])
        lines += table([data, "policy", *FAMILIES], rows)
    return lines


def _cell(case: Figures) -> str:
    gain = case["value"] - case["best_rule"]["value"]
    return f"{case['value']:.4f} (+{gain:.4f}; {', '.join(case['used'])})"


def exits_text(exits: Sequence[Sequence[object]]) -> str:
    """Head types with their placements: `cnn_ignore_ee` 0-2; `resmlp_ee` 3, 5-10."""
    places: dict[str, list[int]] = {}
    for placement, head in exits:
        assert isinstance(placement, int)
        places.setdefault(str(head), []).append(placement)
    return "; ".join(f"`{head}` {ranges(found)}" for head, found in places.items())


def _case_name(case: Figures) -> str:
    costs = "counts" if case["profile"] == COUNTS else f"`{case['profile']}`"
    return f"{case['data']}, {case['family']}, {costs}"


def _head_types(cases: list[Figures]) -> list[str]:
    rows, paying = [], {}
    for head in HEADS:
        pays = [case for case in cases if case["worth"][head] > NOTHING]
        paying[head] = pays
        top = max(cases, key=lambda case: case["worth"][head])
        rows.append(
            [
                f"`{head}`",
                *(f"{len(of(pays, policy=policy))} of {len(of(cases, policy=policy))}" for policy in POLICIES),
                f"{_small(top['worth'][head])} ({_case_name(top)}, {top['policy']})" if pays else "nothing",
                _least(of(cases, policy="interruptible"), lambda case, head=head: case["loss"].get(head)),  # type: ignore[misc]
                _least(of(cases, policy="interruptible"), lambda case, head=head: case["alone"][head]),  # type: ignore[misc]
            ]
        )
    columns = ["head type", *(f"pays, {policy}" for policy in POLICIES), "most worth", "least lost by one such exit"]
    return [
        *paragraph(
            "**Which head types pay.** A head type pays in a case where leaving it out of the candidates lowers the "
            "optimum; by how much is what it is worth there. Where it is not chosen, having one such exit all the same "
            "costs the less the less it matters where it stands (`interruptible`; nothing where no budget falls "
            "between it and the next); to have no other type costs more."
        ),
        *table([*columns, "least lost where it is the only type"], rows),
        *_verdict(cases, paying),
    ]


def _least(cases: list[Figures], loss: Callable[[Figures], float | None]) -> str:
    found = [(value, case) for case in cases if (value := loss(case)) is not None]
    if not found:
        return "always chosen"
    value, case = min(found, key=itemgetter(0))
    return f"{_small(value)} ({_case_name(case)}); median {_small(median(value for value, _ in found))}"


def _small(value: float) -> str:
    """A difference of values; of what four decimals cannot show, its size."""
    return f"{value:.4f}" if value >= 5e-5 else f"{value:.0e}" if value > NOTHING else "0"


def _verdict(cases: list[Figures], paying: dict[str, list[Figures]]) -> list[str]:
    never = [head for head in HEADS if not paying[head]]
    elsewhere = [head for head in HEADS if paying[head] and not of(paying[head], own_backbone=True)]
    always = [head for head in HEADS if len(paying[head]) == len(cases)]
    sentences = [
        f"{names(never)} never {'pay' if len(never) > 1 else 'pays'}, in none of {len(cases)} cases."
        if never
        else "Every head type pays somewhere."
    ]
    if elsewhere:
        most = max(case["worth"][head] for head in elsewhere for case in cases)
        sentences.append(
            f"{names(elsewhere)} {'pay' if len(elsewhere) > 1 else 'pays'} on other profiles only, not on those of the "
            f"backbone that the accuracies are of, and {_small(most)} at most."
        )
    if always:
        sentences.append(f"{names(always)} {'pay' if len(always) > 1 else 'pays'} in every case.")
    return [*paragraph(*sentences), ""]


def _limited_words(cases: list[Figures], limited: Figures) -> list[str]:
    """That no limit was set, and what one changes."""
    own = [head for head in HEADS if any(case["worth"][head] > NOTHING for case in of(cases, own_backbone=True))]
    new = [head for head in limited["used"] if head not in own]
    return [
        *paragraph(
            "No limits were set in these cases. With at most "
            f"{limited['max_extra_params']:,} parameters in all heads together (CIFAR-100, 1 GMAC = 1 ms, "
            f"`uniform:10,80`, interruptible) the optimum is {limited['value']:.4f} with "
            f"{exits_text(limited['exits'])}" + (f", so {names(new)} may pay under a limit." if new else ".")
        ),
        "",
    ]
