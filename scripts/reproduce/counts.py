"""Operations and parameters of the seven heads of Multi-Exit Vision Transformer, against the published figures."""

from __future__ import annotations

import csv
from importlib import resources

from exitsearch.measure.macs.units import count_units
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head
from exitsearch.specs.placement import Placement
from exitsearch.specs.table import read_table
from reproduce import tensorflow_rules as rules
from reproduce.page import Figures, paragraph, signed, table

MODEL, PLACEMENTS = "vit_base_patch16_384", 11
HEADS = tuple(rules.HEADS)

# Float operations from the input up to and including the first exit, and of every further block, to the last one, as
# the authors' plotting notebook has them (GitHub GooDongWoo/MEV, commit 7e35483, Reference/plots.ipynb). The table in
# the package holds the halves of all 77, rounded to a million.
FIRST_EXIT_FLOPS = {
    "mlp_ee": 9_915_005_706,
    "cnn_ignore_ee": 10_039_666_312,
    "cnn_add_ee": 10_039_666_312,
    "cnn_project_ee": 10_167_068_296,
    "vit_ee": 19_146_015_574,
    "mlp_mixer_ee": 16_054_064_008,
    "resmlp_ee": 15_880_944_520,
}
BLOCK_FLOPS = 9_231_009_868


def find() -> Figures:
    """Counts by our own counter and by TensorFlow's rules beside the published ones."""
    backbone = create_backbone(MODEL, num_outputs=rules.Shape().outputs, pretrained=False, device="meta")
    exits = [(placement, head) for placement in range(PLACEMENTS) for head in HEADS]
    counted = count_units(backbone, exits, lambda done, text: None)
    published = _published_gmacs()
    arrival, totals = 0, []
    for placement in range(PLACEMENTS):
        arrival += counted["segment", placement].macs
        for head in HEADS:
            ours = arrival + counted[placement, head].macs
            theirs = FIRST_EXIT_FLOPS[head] + placement * BLOCK_FLOPS
            recount = rules.to_exit(rules.Shape(), head, placement)
            totals.append(
                {
                    "placement": placement,
                    "head": head,
                    "macs": ours,
                    "published_flops": theirs,
                    "published_gmacs": published[str(placement), head],
                    "table_agrees": round(theirs / 2e9, 3) == published[str(placement), head],
                    "relative_difference": ours / (theirs / 2) - 1,
                    "recounted_flops": recount.flops,
                    "recounted_macs": recount.macs,
                }
            )
    whole = arrival + counted["segment", PLACEMENTS].macs + counted["final", 0].macs
    return {
        "totals": totals,
        "backbone": {
            "macs": whole,
            "published_gmacs": published["final", ""],
            "recounted_flops": rules.whole(rules.Shape()).flops,
            "block_macs": counted["segment", 1].macs,
            "block_elementwise": dict(rules.block(rules.Shape()).elementwise),
        },
        "heads": [_head(head, counted[0, head].macs, counted[0, head].params) for head in HEADS],
        "params": _params(backbone.placements[0]),
    }


def _head(head: str, macs: int, params: int) -> Figures:
    recount = rules.HEADS[head](rules.Shape())
    return {
        "head": head,
        "macs": macs,
        "params": params,
        "recounted_flops": recount.flops,
        "relative_difference": macs / (recount.flops / 2) - 1,
        "elementwise": dict(recount.elementwise),
    }


def _params(placement: Placement) -> list[Figures]:
    text = (resources.files("exitsearch.specs") / "published" / "mevit_vit_b16_384_params.csv").read_text()
    found = []
    for row in csv.DictReader(text.splitlines()):
        head = create_head(row["head"], placement=placement, num_outputs=int(row["outputs"]), device="meta")
        ours = sum(parameter.numel() for parameter in head.parameters())
        found.append({"head": row["head"], "outputs": int(row["outputs"]), "params": ours, "table": int(row["params"])})
    return found


def _published_gmacs() -> dict[tuple[str, str], float]:
    text = (resources.files("exitsearch.specs") / "published" / "mevit_vit_b16_384_gmacs.csv").read_text()
    rows = read_table(text, "mevit_vit_b16_384_gmacs.csv", ("placement", "head", "gmacs_to_exit"))
    return {(row["placement"], row["head"]): float(row["gmacs_to_exit"]) for _, row in rows}


def text(found: Figures) -> list[str]:
    """The section of the page."""
    return [
        "## Counts and parameters of the seven heads",
        "",
        *paragraph(
            "*Multi-Exit Vision Transformer for Dynamic Inference* (Bakhtiarnia, Zhang and Iosifidis, BMVC 2021, arXiv "
            "2106.15183): ViT-B/16 at 384 pixels, 10 outputs, exits after each of blocks 1 to 11 (placements 0 to 10). "
            'Published are TensorFlow\'s "float operations" from the input up to and including an exit, halved '
            "(`published:mevit-gmacs`; its source is in `exitsearch/specs/published/README.md`). Ours are "
            "multiply-accumulates alone, counted by fvcore and by torch, which agree."
        ),
        "",
        *_totals_words(found["totals"]),
        *_totals_table(found["totals"]),
        *_why(found),
        "",
        "**Heads alone**, the same at any placement (millions of operations):",
        *_heads_table(found["heads"]),
        *_heads_words(found["heads"]),
        *_params_words(found["params"]),
    ]


def _totals_words(totals: list[Figures]) -> list[str]:
    least, most = (pick(totals, key=lambda row: row["relative_difference"]) for pick in (min, max))
    ends = [
        f"{signed(row['relative_difference'])} (`{row['head']}` at placement {row['placement']})"
        for row in (least, most)
    ]
    side = "Ours are below the published ones everywhere" if most["relative_difference"] < 0 else "Both differ"
    return paragraph(
        f"**Totals.** {side}: the relative difference is {ends[0]} to {ends[1]}. The table has our billions of "
        "multiply-accumulates and, in brackets, how far they are from the published number."
    )


def _why(found: Figures) -> list[str]:
    totals, backbone = found["totals"], found["backbone"]
    exact = sum(row["recounted_flops"] == row["published_flops"] for row in totals)
    same_macs = sum(row["recounted_macs"] == row["macs"] for row in totals)
    rounded = sum(row["table_agrees"] for row in totals)
    purposes = sorted(backbone["block_elementwise"].items(), key=lambda part: -part[1])
    conclusion = (
        "So the whole difference is elementwise work, which TensorFlow counts and which is no multiply-accumulate."
        if exact == same_macs == len(totals)
        else "What the others differ by is not explained."
    )
    return paragraph(
        f"**Why they differ.** Counted once more by the rules of TensorFlow's profiler (`scripts/reproduce/"
        f"tensorflow_rules.py`), {exact} of {len(totals)} published totals come out to the last operation, with our "
        f"multiply-accumulates in {same_macs} of them. {conclusion} Of the {BLOCK_FLOPS:,} operations of a block it is "
        f"{BLOCK_FLOPS - 2 * backbone['block_macs']:,}: "
        + ", ".join(f"{purpose} {operations:,}" for purpose, operations in purposes)
        + ". (Additions are not counted; the totals come out without a rule for them.) The package's table is the "
        f"published operations, halved and rounded to a million, in {rounded} of {len(totals)} rows. The whole "
        f"backbone, published with fewer digits as {backbone['published_gmacs']:g}, is "
        f"{backbone['recounted_flops'] / 2e9:.4f} by the same rules and {backbone['macs'] / 1e9:.4f} in "
        "multiply-accumulates."
    )


def _totals_table(totals: list[Figures]) -> list[str]:
    cells = {(row["placement"], row["head"]): row for row in totals}
    rows = []
    for placement in range(PLACEMENTS):
        shown = [cells[placement, head] for head in HEADS]
        rows.append([placement, *(f"{row['macs'] / 1e9:.3f} ({signed(row['relative_difference'])})" for row in shown)])
    return table(["placement", *(f"`{head}`" for head in HEADS)], rows)


def _heads_table(heads: list[Figures]) -> list[str]:
    rows = []
    for head in heads:
        parts = sorted(head["elementwise"].items(), key=lambda part: -part[1])
        rows.append(
            [
                f"`{head['head']}`",
                f"{head['params']:,}",
                f"{head['macs'] / 1e6:,.3f}",
                f"{head['recounted_flops'] / 2e6:,.3f}",
                signed(head["relative_difference"]),
                ", ".join(f"{purpose} {ops / 2e6:,.3f}" for purpose, ops in parts if ops >= 1e3),
            ]
        )
    columns = ["head", "parameters", "MACs", "TensorFlow / 2", "difference", "of which elementwise"]
    return table(columns, rows)


def _heads_words(heads: list[Figures]) -> list[str]:
    sentences = []
    for head in heads:
        if abs(head["relative_difference"]) <= 0.01:
            continue
        purpose, operations = max(head["elementwise"].items(), key=lambda part: part[1])
        share = operations / (head["recounted_flops"] - 2 * head["macs"])
        sentences.append(
            f"`{head['head']}` alone differs by {signed(head['relative_difference'], 1)}, {100 * share:.1f}% of it "
            f"{purpose}."
        )
        if head["head"] == "mlp_ee":
            sentences.append(
                f"The authors' head normalises all {rules.Shape().tokens} tokens and then uses one; ours takes that "
                "token first, which gives the same answer and saves the other norms. `published:mevit-gmacs` splits "
                "every total with this head's multiply-accumulates, so there this work stays with the backbone."
            )
    return [*paragraph(*sentences), ""] if sentences else []


def _params_words(params: list[Figures]) -> list[str]:
    equal = sum(row["params"] == row["table"] for row in params)
    outputs = sorted({row["outputs"] for row in params})
    wrong = [f"{row['head']} with {row['outputs']}" for row in params if row["params"] != row["table"]]
    return [
        *paragraph(
            f"**Parameters.** {equal} of {len(params)} numbers (seven heads with {', '.join(map(str, outputs))} "
            "outputs) are those that follow by hand from the layer definitions"
            + (f", not those of {', '.join(wrong)}" if wrong else "")
            + ". The authors' notebooks hold no numbers of parameters to compare with."
        ),
        "",
    ]
