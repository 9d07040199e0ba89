"""A multi-exit model answered by CUDA graphs against eager, on a GPU, interleaved.

    python scripts/bench_cuda_session.py --json out.json                    # vit_tiny, batch 1, three exits
    python scripts/bench_cuda_session.py --dtype fp16 --batch-size 8
    python scripts/bench_cuda_session.py --model test_vit --device cpu      # tries the script where there is no GPU

In every round each exit is answered both ways, in random order: by the session (`exitsearch.deploy.cuda`), with all
that a request costs there, and by plain torch, which copies the input, runs the segments and that exit's head, and
copies the outputs back. Weights are random. `ratio` is eager over the session, of medians, and `predicted` the time
that the session's own table says over what was measured. `every head` is an interruptible request to its end.

Exit status 1 when an answer of the session differs from eager's by more than 1e-3 of the largest output (fp32; 5e-2
below), or when, on a GPU at batch 1, the final exit is less than 2 times faster. On the CPU both sides run the same
operators, so that the times say nothing, and are not judged.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import figures
import numpy as np
import torch
from bench_prediction import build
from numpy.typing import NDArray

from exitsearch.deploy.cuda import CudaSession, cuda_session
from exitsearch.deploy.cuda.load import device_of
from exitsearch.errors import InputError
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.multi_exit import MultiExitModel

Arrays = NDArray[Any]
Answers = Callable[[Arrays], list[Arrays]]

MUST_BE_FASTER = 2.0
TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2, "bf16": 5e-2}
_WARM_UP_ROUNDS = 20


def made_model(backbone: Backbone, placements: Sequence[int], *, head: str) -> MultiExitModel:
    """A multi-exit model with one head type at some placements."""
    beyond = [place for place in placements if not 0 <= place < len(backbone.placements)]
    if beyond or len(set(placements)) != len(placements):
        raise InputError(
            f"--exits are placements of {backbone.facts.name}, 0 to {len(backbone.placements) - 1}, each once; found "
            f"{','.join(map(str, placements))}"
        )
    return build(backbone, tuple((place, head) for place in sorted(placements)))


def forced(session: CudaSession, exit_: int) -> CudaSession:
    """The same graphs, so valued that one exit answers where there is time for all."""
    values = tuple(float(number == exit_) for number in range(len(session.exits)))
    return session.revalued(values)


def by_eager(model: MultiExitModel, exit_: int | None) -> Answers:
    """Plain torch: up to one exit whose head alone is run, or every exit."""
    parameter = next(model.parameters())
    exits = list(zip((chosen.placement for chosen in model.config.exits), model.heads, strict=True))

    def answers(xs: Arrays) -> list[Arrays]:
        with torch.inference_mode():
            x = torch.from_numpy(xs).to(parameter.device, parameter.dtype)
            if exit_ is None:
                found = list(model(x))
            elif exit_ == len(exits):
                found = [model.backbone.module(x)]
            else:
                states = model.backbone.states(x)
                for _ in range(exits[exit_][0]):
                    next(states)
                found = [exits[exit_][1](next(states)[0])]
            return [outputs.float().cpu().numpy() for outputs in found]

    return answers


def by_session(session: CudaSession, exit_: int | None) -> Answers:
    """A request."""
    if exit_ is not None:
        one = forced(session, exit_)
        return lambda xs: [np.array([answer.outputs for answer in one.predict_batch(xs)])]

    def every(xs: Arrays) -> list[Arrays]:
        with session.start(xs[0]) as started:
            started.wait()
            outputs = started.answer().outputs
        assert outputs is not None
        return [outputs[None]]

    return every


def compare(
    model: MultiExitModel, session: CudaSession, *, batch_size: int, rounds: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Medians of both sides for each exit, the largest difference of answers, and what the table says.

    Args:
        model: that the session is of, on its device.
        session: over it.
        batch_size: inputs of one request, one of the session's sizes.
        rounds: after a warm-up.
        seed: of inputs and order.
    """
    names: dict[str, int | None] = {f"exit {k} ({name})": k for k, name in enumerate(session.exits)}
    if batch_size == 1:
        names["every head"] = None
    sides = {name: (by_eager(model, k), by_session(session, k)) for name, k in names.items()}
    draw, numbers = random.Random(seed), np.random.default_rng(seed)
    size = (batch_size, *model.backbone.input_size)
    inputs = [numbers.standard_normal(size, dtype=np.float32) for _ in range(4)]
    times: dict[tuple[str, int], list[float]] = {(name, side): [] for name in sides for side in (0, 1)}
    apart = dict.fromkeys(sides, 0.0)
    for number in range(_WARM_UP_ROUNDS + rounds):
        x = draw.choice(inputs)
        last: dict[tuple[str, int], Arrays] = {}
        for key in draw.sample(list(times), len(times)):
            begin = time.perf_counter()
            last[key] = sides[key[0]][key[1]](x)[-1]
            if number >= _WARM_UP_ROUNDS:
                times[key].append((time.perf_counter() - begin) * 1e3)
        for name, k in names.items():
            if k is not None:  # what counts of an interruptible request may be any exit
                wanted = last[name, 0]
                apart[name] = max(apart[name], float(np.abs(last[name, 1] - wanted).max() / np.abs(wanted).max()))
    return {name: _row(times[name, 0], times[name, 1], apart[name], session, k) for name, k in names.items()}


def _row(
    eager: Sequence[float], session: Sequence[float], apart: float, of: CudaSession, exit_: int | None
) -> dict[str, float]:
    found = {
        "eager_ms": median(eager),
        "session_ms": median(session),
        "ratio": median(eager) / median(session),
        "session_p99_ms": float(np.quantile(session, 0.99)),
        "largest_difference": apart,
    }
    if exit_ is not None:
        table = of.manifest.latency
        predicted = sum(table.segments[0.5][: exit_ + 1]) + (*table.heads[0.5], 0.0)[exit_]
        found["predicted_over_measured"] = predicted / median(session)
    return found


def faults_of(rows: Mapping[str, Mapping[str, float]], *, dtype: str, judged: bool) -> list[str]:
    """What is not as it must be, in sentences.

    Args:
        rows: as `compare` gives them.
        dtype: that the session computes in.
        judged: whether times are.
    """
    most = TOLERANCES[dtype]
    found = [
        f"{name}: the session's answer differs from eager's by {row['largest_difference']:.2g} of the largest output, "
        f"more than {most:g}"
        for name, row in rows.items()
        if not row["largest_difference"] <= most
    ]
    final = next(name for name in rows if name.endswith("(final)"))
    if judged and rows[final]["ratio"] < MUST_BE_FASTER:
        found.append(f"{final}: eager over session is {rows[final]['ratio']:.2f}, less than {MUST_BE_FASTER:g}")
    return found


def work(options: argparse.Namespace) -> int:
    on_gpu = device_of(options.device).device.type == "cuda"
    if options.rounds < 1 or options.batch_size < 1:
        raise InputError(f"--rounds and --batch-size are 1 or more, found {options.rounds} and {options.batch_size}")
    backbone = create_backbone(options.model, pretrained=False)
    last = len(backbone.placements) - 1
    exits = options.exits or sorted({last // 4, last // 2, 3 * last // 4})
    model = made_model(backbone, exits, head=options.head)
    session = cuda_session(
        model,
        values=[0.0] * (len(exits) + 1),
        device=options.device,
        dtype=options.dtype,
        batch_sizes=(options.batch_size,),
        max_seconds=options.max_seconds,
    )
    rows = compare(model, session, batch_size=options.batch_size, rounds=options.rounds, seed=options.seed)
    where = torch.cuda.get_device_name() if on_gpu else "no GPU: plain torch on both sides, whose times say nothing"
    print(f"{options.model}, {options.dtype}, batch {options.batch_size}; {where}")
    table = figures.Table(
        {"": "<24", "eager ms": "9.3f", "session ms": "10.3f", "p99": "8.3f", "ratio": "6.2f", "predicted": "9.3f",
         "apart": "9.1e"}
    )  # fmt: skip
    for name, row in rows.items():
        cells = (row["eager_ms"], row["session_ms"], row["session_p99_ms"], row["ratio"])
        table.row(name, *cells, row.get("predicted_over_measured"), row["largest_difference"])
    faults = faults_of(rows, dtype=options.dtype, judged=on_gpu and options.batch_size == 1)
    for sentence in (*session.warnings, *faults):
        print(sentence)
    figures.write(
        options,
        {"gpu": where if on_gpu else None, "exits": list(session.exits), "runs": rows, "faults": faults,
         "warnings": list(session.warnings)},
    )  # fmt: skip
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--model", "--dtype", "--batch-size", "--seed")
    figures.add_option(parser, "--device", default="cuda")
    figures.add_option(parser, "--max-seconds", default=5.0, help="for the session's table")
    parser.add_argument("--exits", type=figures.numbers, metavar="A,B", help="placements (default: the quarters)")
    parser.add_argument("--head", default="linear", help="head type at each of them (default: linear)")
    parser.add_argument("--rounds", type=int, default=300, metavar="N", help="of every side (default: 300)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
