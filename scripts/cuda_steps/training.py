"""Whether `train-heads` goes on after a kill, and ends where an uninterrupted run ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cuda_steps.step import Bench, Step
from exitsearch.learn.bank.checkpoint import CHECKPOINT_FILE
from exitsearch.specs.load import load_outcomes

# Scores of the killed and the uninterrupted run may differ by this much: on CUDA their last bits may differ.
TOLERANCE = 0.02
LONGEST_S = 240.0


def _command(bench: Bench, out: Path) -> list[str]:
    placements = "0,6" if bench.quick else "0,3,6,9"
    return [
        sys.executable, "-m", "exitsearch", "train-heads", "--device", bench.device, "--heads", "linear",
        "--placements", placements, "--seed", "3", "--out", str(out),
    ]  # fmt: skip


def _epoch(out: Path) -> int:
    """Finished epochs of a training, as its checkpoint says; 0 before the first."""
    try:
        return int(json.loads((out / CHECKPOINT_FILE).read_text())["epoch"])
    except (OSError, ValueError, KeyError):
        return 0


def resume(bench: Bench) -> None:
    """Kill a training after its first epochs, go on with the same command, compare with one that ran through."""
    shutil.rmtree(bench.folder, ignore_errors=True)
    killed, whole = bench.folder / "killed", bench.folder / "whole"
    running = subprocess.Popen(_command(bench, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + LONGEST_S
    while running.poll() is None and _epoch(killed) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    running.kill()
    running.wait()
    bench.figures["killed_after_epochs"] = _epoch(killed)
    bench.require(not (killed / "outcomes.json").exists(), "the training was over before it could be killed")
    for out in (killed, whole):
        done = subprocess.run(_command(bench, out), capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            bench.faults.append(f"train-heads into {out.name} ended with {done.returncode}: {last}")
            return
    scores = [
        {
            (head.placement, head.head, split): score
            for head in load_outcomes(str(out)).heads
            for split, score in head.scores.items()
        }
        for out in (killed, whole)
    ]
    off = max(abs(score - scores[0][key]) for key, score in scores[1].items())
    bench.figures |= {"scores": len(scores[1]), "largest_difference": off}
    limit = TOLERANCE if bench.on_gpu else 0.0
    bench.require(off <= limit, f"scores after a kill differ by {off:.3f} from those of a run that was not killed")


RESUME = Step("train-heads killed and resumed", 120, resume)
