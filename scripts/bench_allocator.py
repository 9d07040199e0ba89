"""What giving freed memory back to the kernel costs a forward pass: page faults and time, with and without.

    python scripts/bench_allocator.py --model efficientnet_b0 --threads 1 --rounds 40

Two processes take turns, pass by pass: one leaves the C library as it is, the other calls
`exitsearch.keep_freed_memory()`. Each times timm's own model by itself, behind a pass with a random head at every
placement, and the backbone's segments within such a pass. Ratios are of medians of passes that took turns.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection

import figures
import numpy as np
import torch

from exitsearch.allocator import keep_freed_memory
from exitsearch.errors import InputError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head, fitting_exits
from exitsearch.specs.question.candidates import Candidates

WAYS = ("left alone", "kept")
PASSES = ("whole", "whole behind heads", "segments among heads")
# Milliseconds and page faults of a pass.
Seen = tuple[float, int]


class Passes:
    """A backbone with heads, and its passes.

    Args:
        model: timm's name.
        threads: that torch computes with.
        seed: of weights, the input and the drawn heads.
    """

    def __init__(self, model: str, *, threads: int, seed: int) -> None:
        torch.set_num_threads(threads)
        self.backbone = create_backbone(model, pretrained=False, seed=seed)
        self.x = self.backbone.example_input(1, generator=torch.Generator().manual_seed(seed))
        self.draw = random.Random(seed)
        self.heads: dict[int, list[torch.nn.Module]] = {}
        for placement, head in fitting_exits(self.backbone.placements, Candidates.of()):
            made = create_head(
                head, placement=self.backbone.placements[placement], num_outputs=self.backbone.num_outputs, seed=seed
            )
            self.heads.setdefault(placement, []).append(made.eval())

    @torch.inference_mode()
    def run(self) -> list[Seen]:
        """One of each of `PASSES`, in their order."""
        self.whole()
        by_itself = self.whole()
        segments = self.among_heads()
        return [by_itself, self.whole(), segments]

    def whole(self) -> Seen:
        faults, begin = _faults(), time.perf_counter()
        self.backbone.module(self.x)
        return (time.perf_counter() - begin) * 1e3, _faults() - faults

    def among_heads(self) -> Seen:
        seconds, total = 0.0, 0
        states = self.backbone.states(self.x)
        for placement in range(len(self.backbone.placements)):
            faults, begin = _faults(), time.perf_counter()
            state = next(states)
            seconds, total = seconds + time.perf_counter() - begin, total + _faults() - faults
            if placement in self.heads:
                self.draw.choice(self.heads[placement])(state[0])
        faults, begin = _faults(), time.perf_counter()
        self.backbone.final(state)
        return (seconds + time.perf_counter() - begin) * 1e3, total + _faults() - faults


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def serve(connection: Connection, way: str, model: str, threads: int, seed: int) -> None:
    """A process that runs the passes whenever it is asked to."""
    if way == "kept" and not keep_freed_memory():
        connection.send("only glibc can be told to keep what is freed")
        return
    passes = Passes(model, threads=threads, seed=seed)
    connection.send(None)
    while connection.recv():
        connection.send(passes.run())


def measured(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Milliseconds and faults by way [rounds, passes, 2]."""
    context = get_context("spawn")
    seen: dict[str, list[list[Seen]]] = {way: [] for way in WAYS}
    ends: dict[str, Connection] = {}
    with ExitStack() as stack:
        for way in WAYS:
            ends[way], other = context.Pipe()
            arguments = (other, way, options.model, options.threads or 1, options.seed)
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            stack.callback(process.join, 10)
            other.close()
        for way in WAYS:
            if trouble := ends[way].recv():
                raise InputError(trouble)
        for number in range(options.rounds + 2):  # two to warm up
            for way in WAYS:
                ends[way].send(True)
                found = ends[way].recv()
                if number >= 2:
                    seen[way].append(found)
        for way in WAYS:
            ends[way].send(False)
    return {way: np.array(found) for way, found in seen.items()}


def work(options: argparse.Namespace) -> int:
    if options.rounds < 1:
        raise InputError(f"--rounds must be 1 or more; found {options.rounds}")
    found = {way: np.median(seen, axis=0) for way, seen in measured(options).items()}
    table = figures.Table(
        {
            "pass": "<22",
            "ms, left alone": "15.3f",
            "ms, kept": "10.3f",
            "ratio": "7.3f",
            "faults": "9.0f",
            "kept": "6.0f",
        }
    )
    rows = []
    for number, name in enumerate(PASSES):
        (left_ms, left_faults), (kept_ms, kept_faults) = (found[way][number] for way in WAYS)
        table.row(name, left_ms, kept_ms, left_ms / kept_ms, left_faults, kept_faults)
        rows.append(
            {
                "pass": name,
                "left_ms": float(left_ms),
                "kept_ms": float(kept_ms),
                "ratio": float(left_ms / kept_ms),
                "left_faults": float(left_faults),
                "kept_faults": float(kept_faults),
            }
        )
    figures.write(options, {"model": options.model, "passes": rows})
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--model", "--threads", "--seed")
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="default: 40")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
