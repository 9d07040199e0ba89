"""SL-ViT: what its head costs beside the convolutional exit, on the backbones of its paper."""

from __future__ import annotations

from statistics import median

import torch

from exitsearch.measure.macs.count import Counts, count_head
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head
from exitsearch.specs.placement import Placement
from reproduce.page import Figures, count, names, paragraph, table

MODELS = ("densenet201", "resnet152", "inception_v3")
OURS, USUAL = "sl_vit", "conv"
OUTPUTS = 10


def find() -> Figures:
    """Both heads at every placement of the three backbones."""
    return {model: _model(model) for model in MODELS}


def _model(model: str) -> list[Figures]:
    backbone = create_backbone(model, num_outputs=OUTPUTS, pretrained=False, device="meta")
    known: dict[tuple[object, ...], Figures] = {}
    rows = []
    for place in backbone.placements:
        key = (place.channels, *place.grid)
        if key not in known:
            ours, usual = _counted(OURS, place), _counted(USUAL, place)
            known[key] = {
                "macs": ours.macs,
                "params": ours.params,
                "usual_macs": usual.macs,
                "usual_params": usual.params,
            }
        rows.append({"placement": place.index, "channels": place.channels, "grid": list(place.grid), **known[key]})
    return rows


def _counted(head: str, place: Placement) -> Counts:
    assert place.layout == "nchw", "the paper's backbones are convolutional"
    features = torch.empty((1, place.channels, *place.grid), device="meta")
    return count_head(create_head(head, placement=place, num_outputs=OUTPUTS, device="meta").eval(), features)


def text(found: Figures) -> list[str]:
    """The section of the page."""
    rows: list[list[object]] = []
    total, lighter, heavier = 0, 0, []
    for model, places in found.items():
        both = [row for row in places if row["macs"] < row["usual_macs"] and row["params"] < row["usual_params"]]
        macs, params = ([row[key] / row[f"usual_{key}"] for row in places] for key in ("macs", "params"))
        rows.append(
            [
                f"`{model}`",
                len(places),
                len(both),
                f"{min(macs):.3f}, {median(macs):.3f}, {max(macs):.3f}",
                f"{min(params):.3f}, {median(params):.3f}, {max(params):.3f}",
            ]
        )
        total, lighter = total + len(places), lighter + len(both)
        if len(both) < len(places):
            heavier.append(model)
    verdict = (
        f"So the head is the lighter one at every one of the {count(total, 'placement')}, as the abstract says of it."
        if total == lighter
        else f"So the head is the lighter one at {lighter} of {count(total, 'placement')}; where it is not (in "
        f"{names(heavier)}), the abstract's statement does not hold for these sizes."
    )
    return [
        "## SL-ViT: the cost of its head",
        "",
        *paragraph(
            "*Single-Layer Vision Transformers for More Accurate Early Exits with Less Overhead* (Bakhtiarnia, Zhang "
            "and Iosifidis, 2022, arXiv 2105.09121) states in its abstract that its exits cost less than conventional "
            "ones. Its tables could not be had, and no sizes of its layers: those of our `sl_vit` are our own "
            "(`exitsearch/models/heads/slvit.py`), so what can be checked is the statement, not a figure. On the "
            f"paper's three backbones at their own input sizes, {OUTPUTS} outputs, `sl_vit` over `{USUAL}` (the "
            "convolutional exit) at every placement, smallest, median and largest ratio:",
        ),
        *table(["backbone", "placements", "lighter in both", "MACs", "parameters"], rows),
        *paragraph(verdict),
        "",
    ]
