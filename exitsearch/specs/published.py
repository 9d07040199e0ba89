"""Published tables as documents: values and operation counts of Multi-Exit Vision Transformer, to search without torch.

    >>> published_outcomes("mevit-cifar100").final_value()
    0.9124
    >>> round(published_costs("mevit-gmacs").full_ms, 3)
    55.73
    >>> published_costs("mevit-gmacs").head(0, "mlp_ee").params
    289892

Where each number comes from stands in `published/README.md` beside the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from exitsearch.errors import FileError, InputError, one_of
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import HeadCost, PartCost, Profile, SegmentCost, Verdict
from exitsearch.specs.table import cell_head, cell_number, cell_placement, read_table

_PAPER = (
    "Bakhtiarnia, Zhang and Iosifidis, Multi-Exit Vision Transformer for Dynamic Inference, BMVC 2021, "
    "arXiv 2106.15183; numbers from the plotting notebook of the authors' TensorFlow code (copy: GitHub "
    "GooDongWoo/MEV, commit 7e35483)"
)
_BACKBONE = "vit_base_patch16_384"
_INPUT_SIZE = (3, 384, 384)

# Name of each values table: file, data set, number of classes.
_OUTCOMES = {
    "mevit-cifar10": ("mevit_vit_b16_384_cifar10.csv", "CIFAR-10", 10),
    "mevit-cifar100": ("mevit_vit_b16_384_cifar100.csv", "CIFAR-100", 100),
}
_COSTS = {"mevit-gmacs": "mevit_vit_b16_384_gmacs.csv"}
# Parameters of the heads follow from their layers. Those with 100 outputs are taken: a limit on them then holds with
# the heads of either values table, of which those for 10 classes have 23,130 fewer.
_PARAMS, _PARAMS_OUTPUTS = "mevit_vit_b16_384_params.csv", "100"

PUBLISHED_OUTCOMES = tuple(_OUTCOMES)
PUBLISHED_COSTS = tuple(_COSTS)

# The published totals include the exit. The smallest head's own count follows from its layers (768 to 256, 256 to 256
# and 256 to 10 outputs, one token), which splits every total into the backbone's part and the head's.
_SPLITTER = "mlp_ee"
_SPLITTER_GMACS = (768 * 256 + 256 * 256 + 256 * 10) / 1e9


def published_outcomes(name: str) -> Outcomes:
    """A published values table as outcomes: test accuracy of every (placement, head), without samples.

    Args:
        name: one of `PUBLISHED_OUTCOMES`.

    Raises:
        InputError: unknown name.
    """
    if name not in _OUTCOMES:
        raise _unknown("outcomes", name, _OUTCOMES, others=_COSTS, option="--profile")
    file, data, classes = _OUTCOMES[name]
    return Outcomes.parse_values_csv(
        _text(file),
        f"published:{name}",
        metric="accuracy",
        facts=BackboneFacts(name=_BACKBONE, input_size=_INPUT_SIZE, num_outputs=classes),
        source=f"test accuracy on {data}: {_PAPER}",
    )


def published_costs(name: str) -> Profile:
    """Published operation counts as a profile in which 1 GMAC takes 1 ms.

    The heads were counted with 10 outputs. The number of outputs of the profile is left unknown, since 100 outputs
    add less than 0.0001 ms to a head. Their parameters are those with 100 outputs, computed from their layers.

    Args:
        name: one of `PUBLISHED_COSTS`.

    Raises:
        InputError: unknown name.
    """
    if name not in _COSTS:
        raise _unknown("costs", name, _COSTS, others=_OUTCOMES, option="--outcomes")
    path = f"published:{name}"
    totals: dict[tuple[int, str], float] = {}
    whole: float | None = None
    for line, row in read_table(_text(_COSTS[name]), path, ("placement", "head", "gmacs_to_exit")):
        gmacs = cell_number(row, "gmacs_to_exit", path, line)
        if row["placement"] == "final":
            whole = gmacs
        else:
            totals[cell_placement(row, path, line), cell_head(row, path, line)] = gmacs
    if whole is None:
        raise FileError(path, "no row `final,,GMACS`")
    count, params = 1 + max(placement for placement, _ in totals), _params_of_heads()
    arrival = [totals[placement, _SPLITTER] - _SPLITTER_GMACS for placement in range(count)]
    return Profile(
        schema_version=Profile.current_version,
        backbone=BackboneFacts(name=_BACKBONE, input_size=_INPUT_SIZE),
        protocol={"source": f"multiply-accumulates, 1 GMAC = 1 ms: {_PAPER}"},
        segments=[
            SegmentCost(placement=placement, module=f"blocks.{placement}", **_cost(end - start))
            for placement, (start, end) in enumerate(zip([0.0, *arrival], arrival, strict=False))
        ],
        heads=[
            HeadCost(placement=placement, head=head, params=params[head], **_cost(total - arrival[placement]))
            for (placement, head), total in sorted(totals.items())
        ],
        final=PartCost(**_cost(whole - arrival[-1])),
        verdict=Verdict(status="given"),
    )


def _unknown(kind: str, name: str, known: Mapping[str, object], *, others: Iterable[str], option: str) -> InputError:
    """What to say of a name that is not known, or that belongs to the other option."""
    if name in others:
        return InputError(
            f"published:{name} holds no {kind}; give it to {option}. For {kind} there is "
            f"{' or '.join(f'published:{other}' for other in known)}"
        )
    return one_of(f"published {kind}", name, known)


def _params_of_heads() -> dict[str, int]:
    """Parameters of each head type; they are the same at every placement."""
    rows = read_table(_text(_PARAMS), f"published:{_PARAMS}", ("head", "outputs", "params"))
    return {row["head"]: int(row["params"]) for _, row in rows if row["outputs"] == _PARAMS_OUTPUTS}


def _cost(gmacs: float) -> dict[str, Any]:
    return {"macs": round(gmacs * 1e9), "latency_ms": round(gmacs, 9)}


def _text(file: str) -> str:
    return (resources.files("exitsearch.specs") / "published" / file).read_text(encoding="utf-8")
