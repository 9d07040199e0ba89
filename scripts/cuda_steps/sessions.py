"""Whether a session of CUDA graphs answers what eager does, as fast as it must, and interrupts for real."""

from __future__ import annotations

import time

import numpy as np
from bench_cuda_session import compare, faults_of, made_model

from cuda_steps.step import Bench, Step
from exitsearch.deploy.cuda import CudaSession, cuda_session

MODEL = "vit_tiny_patch16_224"
ROUNDS, INTERRUPTED = 300, 200
# At p99 planning on a quiet machine (issue: at most 1%), with room for 2 of 200 requests.
MOST_LATE = 0.02


def check_session(bench: Bench) -> None:
    """Answers and times against eager, deadlines kept, and the best finished answer at any moment."""
    backbone = bench.backbone(MODEL)
    last = len(backbone.placements) - 1
    model = made_model(backbone, sorted({last // 4, last // 2, 3 * last // 4}), head="linear")
    session = cuda_session(
        model,
        values=[0.5 + 0.1 * number for number in range(len(model.heads) + 1)],
        device=bench.device,
        max_seconds=bench.seconds(5),
    )
    rows = compare(model, session, batch_size=1, rounds=3 if bench.quick else ROUNDS)
    count = 5 if bench.quick else INTERRUPTED
    late = _share_late(session, count)
    bench.figures |= {
        "runs": rows,
        "late": late,
        "interrupted": _interrupted(bench, session, count),
        "warnings": list(session.warnings),
    }
    for fault in faults_of(rows, dtype="fp32", judged=bench.on_gpu and not bench.quick):
        bench.require(False, fault)
    bench.require_time(late <= MOST_LATE, f"{late:.1%} of the requests with a deadline were late")


def _budgets(session: CudaSession, count: int) -> np.ndarray:
    """Budgets from half of the first exit's time to twice the last one's."""
    table = session.manifest.latency
    first, whole = table.segments[0.5][0], sum(table.segments[0.5])
    return np.random.default_rng(0).uniform(first / 2, 2 * whole, count)


def _share_late(session: CudaSession, count: int) -> float:
    x = np.random.default_rng(1).standard_normal(session.manifest.input_size, dtype=np.float32)
    statuses = [session.predict(x, budget_ms=float(budget)).status for budget in _budgets(session, count)]
    return statuses.count("late") / count


def _interrupted(bench: Bench, session: CudaSession, count: int) -> dict[str, float]:
    """Interrupt for real; every answer must be what the same exit gives when nobody is in a hurry."""
    x = np.random.default_rng(1).standard_normal(session.manifest.input_size, dtype=np.float32)
    wanted, took, answered = session.every_exit(x[None]), [], 0
    for budget in _budgets(session, count):
        with session.start(x) as started:
            time.sleep(float(budget) / 1e3)
            begin = time.perf_counter()
            answer = started.answer()
            took.append((time.perf_counter() - begin) * 1e6)
        if answer.exit is None or answer.outputs is None:
            continue
        answered += 1
        apart = float(np.abs(answer.outputs - wanted[answer.exit][0]).max())
        bench.require(apart <= 1e-3, f"an interrupted request's exit {answer.exit} is {apart:.2g} off")
    return {"answered": answered / count, "answer_us": float(np.median(took)), "worst_us": max(took)}


SESSION = Step(f"session:{MODEL}", 60, check_session)
