"""The model card of a bundle, in Markdown: what it is, what it answers and when, and how that was checked."""

from __future__ import annotations

from exitsearch.deploy.checks import Ratios
from exitsearch.specs.bundle import Bundle

_POLICIES = {
    "interruptible": "the budget is not known until it strikes: every head on the way is run, and the best finished "
    "answer counts",
    "contract": "the budget is known beforehand: one head is run, the best that is in time",
    "confidence": "an input leaves at the first exit that is sure enough",
}
_PRECISIONS = {
    "fp32": "single precision",
    "fp16": "weights in half precision, computed with in single precision: half the size, the same speed",
    "int8": "weights of matrix products in 8 bits, their inputs quantised as they come: answers depend a little on "
    "what else is in the batch",
}


def card(bundle: Bundle, ratios: Ratios | None) -> str:
    """The text of `README.md`."""
    model, size = bundle.model, "x".join(map(str, bundle.input.size))
    lines = [
        f"# {model.name}, with {len(bundle.exits)} early exit{'' if len(bundle.exits) == 1 else 's'}",
        "",
        f"A multi-exit model for {model.task} with {model.num_outputs} outputs over inputs {size}, exported by "
        f"`exitsearch export`. It answers at {len(bundle.exits) + 1} points on the way, later answers being better.",
        "",
        f"- Format: {bundle.format}, opset {bundle.opset}; {bundle.precision}: {_PRECISIONS[bundle.precision]}.",
        f"- Policy: {bundle.policy} ({_POLICIES[bundle.policy]}).",
        f"- Chosen for the budgets `{bundle.budget}` (milliseconds).",
        f"- Made: {bundle.created}. Weights: {bundle.outcomes.get('weights', 'not known')}.",
        "",
        "## Exits",
        "",
        f"Values come from {bundle.outcomes.get('values', 'the configuration')}. Times are in ms for a batch of "
        f"{bundle.latency.batch_size} on {bundle.latency.threads} thread{'s' if bundle.latency.threads > 1 else ''}, "
        f"from the input to the answer with {_heads_run(bundle)} ({_source(bundle)}).",
        "",
        "| exit | placement | head | value | median ms | same answer as fp32 | largest difference |",
        "|---|---|---|---|---|---|---|",
        *_rows(bundle),
        "",
        "## Checked at export",
        "",
        *_checks(bundle, ratios),
        "",
        "## Input",
        "",
        *_input(bundle),
        "",
        "## Files",
        "",
        "`bundle.json` names every file with its size and SHA-256. There is no code in this folder, and nothing in it "
        "is a pickle.",
        "",
    ]
    return "\n".join(lines)


def _heads_run(bundle: Bundle) -> str:
    return "no head but its own" if bundle.policy == "contract" else "every head on the way"


def _source(bundle: Bundle) -> str:
    facts = bundle.profile.get("latency", {})
    if facts.get("source") != "measured":
        return "summed over a profile's placements: the merged graphs take less"
    verdict = facts["verdict"]["status"]
    return f"measured as deployed on {facts['cpu']}, {facts['rounds']} rounds; verdict: {verdict}"


def _rows(bundle: Bundle) -> list[str]:
    names = [(str(exit_.placement), str(exit_.choice)) for exit_ in bundle.exits] + [("", "final exit")]
    rows = []
    for number, (placement, head) in enumerate(names):
        agreement = bundle.agreement[number]
        same = "not measured" if agreement.agreement is None else f"{agreement.agreement:.4f} of {agreement.samples}"
        difference = agreement.largest_difference
        rows.append(
            f"| {number} | {placement} | {head} | {bundle.values[number]:.4f} | "
            f"{bundle.latency.answers_ms(bundle.policy)[number]:.3f} | {same} | "
            f"{'' if difference is None else f'{difference:.2g}'} |"
        )
    return rows


def _checks(bundle: Bundle, ratios: Ratios | None) -> list[str]:
    found = ["- Outputs of every exit were compared with torch in single precision, over random inputs (table above)."]
    if ratios is None:
        return [*found, "- No times were measured."]
    return [
        *found,
        f"- The segments one after the other over the plain backbone as one graph: {ratios.chain_over_whole:.3f} times "
        "its time.",
        f"- No-exit tax (every head on the way run, up to the end, over the plain backbone): {ratios.no_exit_tax:.3f}.",
        f"- The plain backbone took {ratios.whole_ms:.3f} ms.",
    ]


def _input(bundle: Bundle) -> list[str]:
    step = bundle.preprocessing
    shape = f"`{bundle.input.name}`: {bundle.input.dtype} [batch, {', '.join(map(str, bundle.input.size))}]"
    beside = [
        f"- `{side.name}`: {side.dtype} [batch, {', '.join(map(str, side.size))}], which the heads of exits "
        f"{', '.join(str(head.exit) for head in bundle.heads if side.name in head.side_inputs)} read; prepared by "
        "whoever gives it."
        for side in bundle.side_inputs
    ]
    if step is None:
        return [f"- {shape}; inputs are prepared by whoever gives them.", *beside]
    return [
        f"- {shape}",
        f"- From an image: {step.mode}; resized to {step.resize[0]} x {step.resize[1]} ({step.crop_mode}, "
        f"{step.interpolation}, antialiased); cut around the centre; pixels in 0..1 less {step.mean} over {step.std}.",
        *beside,
    ]
