"""Whether every unit of a runtime computes what eager computes, with random subsets of heads and many replays."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cuda_steps.step import Bench, Skipped, Step
from exitsearch.errors import UnavailableError
from exitsearch.measure.preparation import Condition, made_ready
from exitsearch.measure.runtimes import Runtime, UnitKey
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import check_fits

HEADS = ("linear", "mlp_ee", "attention_pool")
REPLAYS = 60
# Largest difference over the largest output. Fused kernels add in another order: 1e-6 or so a layer in fp32.
TOLERANCE = 1e-3


def candidates(backbone: Backbone, *, every: int = 1) -> list[UnitKey]:
    """Every head of `HEADS` where it fits, at every placement or at every nth."""
    return [
        (place.index, head)
        for place in backbone.placements[::every]
        for head in HEADS
        if check_fits(head, place) is None
    ]


def run_once(runtime: Runtime, x: Tensor, heads: Mapping[int, UnitKey]) -> dict[str, Tensor]:
    """Every tensor of one pass, copied out of memory that the next pass may write again."""
    found: dict[str, Tensor] = {}
    state = runtime.begin(x)
    for placement, segment in enumerate(runtime.segments):
        state = segment(state)
        found[f"features {placement}"] = runtime.features(state).clone()
        if placement in heads:
            key = heads[placement]
            outputs = runtime.heads[key](runtime.features(state))
            found[f"head {key[1]} at placement {placement}"] = outputs.clone()
            runtime.decide(outputs)
    found["final"] = runtime.final(state).clone()
    return found


def compare(bench: Bench, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], worst: dict[str, float]) -> None:
    """Keep the worst relative difference of each unit."""
    for name, tensor in wanted.items():
        scale = float(tensor.abs().max())
        off = float((found[name] - tensor).abs().max()) / scale if scale > 0 else float(found[name].abs().max())
        # A comparison with NaN is false: it must not pass.
        worst[name] = max(worst.get(name, 0.0), off if off == off else float("inf"))


def check_units(bench: Bench, *, model: str, runtime: str) -> None:
    """Replay a runtime with random inputs and random subsets of heads, each replay beside eager."""
    backbone = bench.backbone(model)
    keys = candidates(backbone, every=4 if bench.quick else 1)
    by_placement: dict[int, list[UnitKey]] = {}
    for key in keys:
        by_placement.setdefault(key[0], []).append(key)
    worst: dict[str, float] = {}
    draw, replays = random.Random(0), 3 if bench.quick else REPLAYS
    try:
        conditions = [
            Condition.resolve(bench.device, dtype="fp32", threads=None, runtime=name, seed=0)
            for name in ("eager", runtime)
        ]
    except UnavailableError as error:
        raise Skipped(str(error)) from error
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with (
            made_ready(backbone, keys, conditions[0], batch_size=2) as eager,
            made_ready(backbone, keys, conditions[1], batch_size=2) as other,
            torch.inference_mode(),
        ):
            bench.figures |= dict(other.runtime.preparation)
            wanted: dict[str, Any] = {}
            for _ in range(replays):
                places = draw.sample(sorted(by_placement), draw.randint(0, len(by_placement)))
                heads = {place: draw.choice(by_placement[place]) for place in places}
                x = draw.choice(eager.inputs) * draw.uniform(0.5, 2)
                wanted = run_once(eager.runtime, x, heads)
                compare(bench, wanted, run_once(other.runtime, x, heads), worst)
                whole = {"whole": eager.runtime.whole(x).clone()}
                compare(bench, whole, {"whole": other.runtime.whole(x).clone()}, worst)
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    wrong = sorted((name for name, off in worst.items() if off > TOLERANCE), key=lambda name: -worst[name])
    bench.figures |= {"units": len(worst), "replays": replays, "worst": max(worst.values())}
    bench.require(not wrong, f"units that differ from eager by more than {TOLERANCE:g}: " + ", ".join(wrong[:5]))


def steps(model: str) -> list[Step]:
    """One step for each runtime that a GPU has."""
    needs_s = {"eager": 25, "cudagraph": 30, "compile": 150}
    return [
        Step(f"units:{model}:{runtime}", seconds, functools.partial(_only_here, model=model, runtime=runtime))
        for runtime, seconds in needs_s.items()
    ]


def _only_here(bench: Bench, *, model: str, runtime: str) -> None:
    if runtime == "cudagraph":
        bench.need_gpu()
    check_units(bench, model=model, runtime=runtime)
