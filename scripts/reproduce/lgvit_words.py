"""The page's section on LGViT."""

from __future__ import annotations

from reproduce import lgvit
from reproduce.page import Figures, count, paragraph, ranges, signed, table


def text(found: Figures) -> list[str]:
    """The section of the page."""
    return [
        "## LGViT: its heads, and its speed-up in time",
        "",
        *paragraph(
            "*LGViT: Dynamic Early Exiting for Accelerating Vision Transformer* (Xu and others, ACM Multimedia 2023, "
            "arXiv 2308.00255) puts eight heads (`lph`, `gah`) on ViT-B/16, DeiT-B and Swin-B at 224 pixels. Of the "
            "paper only the abstract could be read here, which states a speed-up of about "
            f"{lgvit.CLAIMED:g}; the tables with accuracies, parameters and speed-ups of each data set could not be "
            "had. Places and layers are those of the authors' code (GitHub falcon-xu/LGViT, commit 3147fb8), which "
            "computes the speed-up as the number of blocks over the mean number of the block that an image left after: "
            "the heads are free in it. How many images leave where is taken from a public re-implementation (GitHub "
            "ionymikler/early_exit_vit, commit 1566268; ViT-B/16, CIFAR-100), which publishes its counts.",
        ),
        *_counts_words(found["counts"]),
        *_checks_words(found),
        *_speed_words(found),
    ]


def _counts_words(counts: Figures) -> list[str]:
    rows = []
    for model, facts in counts.items():
        whole = facts["backbone"]
        for head in facts["heads"]:
            rows.append(
                [
                    f"`{model}`",
                    head["placement"] + 1,
                    f"`{head['head']}`",
                    f"{head['params'] / 1e6:.3f}",
                    f"{head['macs'] / 1e6:,.1f}",
                    f"{100 * head['macs'] / (whole['macs'] / len(facts['segments'])):.1f}%",
                ]
            )
        macs, params = (sum(head[key] for head in facts["heads"]) for key in ("macs", "params"))
        rows.append(
            [
                f"`{model}`",
                "all eight",
                "",
                f"**{params / 1e6:.2f}** ({signed(params / whole['params'], 1)})",
                f"**{macs / 1e6:,.0f}** ({signed(macs / whole['macs'], 1)})",
                "",
            ]
        )
    columns = ["backbone", "after block", "head", "parameters (M)", "MACs (M)", "of a mean block"]
    return [
        "",
        *paragraph(
            "**Heads at the paper's places**, 100 outputs; a mean block is the backbone's multiply-accumulates over "
            "its number of blocks, and percentages in brackets are of the backbone."
        ),
        *table(columns, rows),
    ]


def _checks_words(found: Figures) -> list[str]:
    heads = found["counts"][lgvit.MEASURED]["heads"]
    equal = [head for head in heads if head["params"] == head["published_params"]]
    total, theirs = (sum(head[key] for head in heads) for key in ("params", "published_params"))
    size = found["checkpoint"]
    return [
        *paragraph(
            f"**Against published figures.** Parameters of {len(equal)} of {len(heads)} heads of ViT-B/16 are those "
            f"that the re-implementation reports for its own, {theirs:,} together (ours: {total:,}). The authors' own "
            f"file of weights of LGViT on DeiT-B has {size['published_bytes'] / 1e6:.0f} MB; backbone and heads as "
            f"counted here make {size['bytes'] / 1e6:.1f} MB in fp32 ({signed(size['ratio'] - 1, 1)}), which leaves "
            f"{(size['published_bytes'] - size['bytes']) / 4e6:.2f} M numbers for what is no part of either (a pooler, "
            "statistics of BatchNorm). Multiply-accumulates and times of single heads are not among what could be read."
        ),
        "",
    ]


def _speed_words(found: Figures) -> list[str]:
    shares, last = found["head_shares"], found["by_block"][-1]
    dear, cheap = (pick(shares, key=lambda row: row["of_a_block"]) for pick in (max, min))
    return [
        *paragraph(
            f"**In time.** From the profile `{found['profile']}` (ViT-B/16 at 224 pixels, one thread of a shared "
            f"virtual machine, heads measured in place, verdict `{found['verdict']}`; `--measure` takes it anew). "
            "Times are given as ratios only. A head takes "
            f"{100 * cheap['of_a_block']:.0f}% (`{cheap['head']}` after block {cheap['placement'] + 1}) to "
            f"{100 * dear['of_a_block']:.0f}% (`{dear['head']}` after block {dear['placement'] + 1}) of a block; an "
            f"image that no head lets go takes {1 / last['time']:.3f} times as long as without them."
        ),
        *table(
            ["leaves after block", "speed-up in blocks", "in MACs, heads paid", "in time, heads free", "in time, paid"],
            [
                [row["block"], *(f"{row[key]:.2f}" for key in ("blocks", "macs", "time_heads_free", "time"))]
                for row in found["by_block"]
            ],
        ),
        *_caution(found["verdict"]),
        *_mixed_words(found),
    ]


def _caution(verdict: str) -> list[str]:
    """What is to be said of times that were not measured in peace."""
    if verdict == "ok":
        return []
    words = {
        "invalid": "its times were disturbed (`exitsearch check` says by what)",
        "noisy": "its medians are not known as well as was asked",
    }
    return [
        *paragraph(
            f"The verdict on this profile is `{verdict}`: {words.get(verdict, 'it was not measured here')}. Its ratios "
            "can be off by some percent, so speed-ups that are a few hundredths apart are not to be told apart by it."
        ),
        "",
    ]


def _mixed_words(found: Figures) -> list[str]:
    """The speed-up of the mean over all test images."""
    claimed, thresholds = found["claimed"], found["thresholds"]
    mixes = [*thresholds.values(), claimed]
    lost, not_blocks = ([1 - row[key] / row["blocks"] for row in mixes] for key in ("time", "time_heads_free"))
    agreeing = sum(round(row["blocks"], 4) == row["stated_blocks"] for row in thresholds.values())
    return [
        *paragraph(
            "Over all test images of CIFAR-100, with the shares that left after each block at three thresholds on the "
            f"softmax (the speed-up in blocks is the stated one to four decimals in {count(agreeing, 'row')} of "
            f"{len(thresholds)}), and for the abstract's {lgvit.CLAIMED:g} the two thresholds around it mixed:"
        ),
        *table(
            [
                "threshold",
                "right",
                "in blocks",
                "in MACs, heads paid",
                "in time, heads free",
                "**in time, heads paid**",
                "theirs, over its own last answer",
            ],
            [
                *(
                    [
                        name,
                        f"{row['right']:.4f}",
                        *(f"{row[key]:.2f}" for key in ("blocks", "macs", "time_heads_free")),
                        f"**{row['time']:.2f}**",
                        f"{row['theirs_over_last']:.2f}",
                    ]
                    for name, row in thresholds.items()
                ),
                [
                    "(mixed)",
                    "",
                    *(f"{claimed[key]:.2f}" for key in ("blocks", "macs", "time_heads_free")),
                    f"**{claimed['time']:.2f}**",
                    "",
                ],
            ],
        ),
        *paragraph(
            f"So a speed-up of {lgvit.CLAIMED:g} in blocks is one of {claimed['time']:.2f} in time. Over these rows "
            f"{100 * min(lost):.0f}% to {100 * max(lost):.0f}% of the speed-up in blocks is not there in time; of the "
            f"plain backbone's own (the embedding and the last norm take time, and are no block) are at most "
            f"{100 * max(not_blocks):.1f}%, the rest are the heads. {_break_even(found['by_block'])}",
            "The last column is the re-implementation's own mean time on its GPU, in parts of its answer after the "
            "last block: there the heads are in both, so it is no speed-up over the plain backbone.",
        ),
        "",
    ]


def _break_even(ends: list[Figures]) -> str:
    """Which early exits come too late to gain anything."""
    late = [row["block"] for row in ends if row["time"] < 1 and row["block"] < lgvit.BLOCKS]
    if not late:
        return "An image gains time wherever it leaves before the last block."
    blocks = ranges(late)
    return f"An image that leaves after {'blocks' if len(late) > 1 else 'block'} {blocks} has gained no time at all."
