"""Answer the frames of a camera at its frame rate: a bundle, a budget per frame, and frames dropped rather than late.

    python examples/camera_loop.py BUNDLE [--fps 30] [--seconds 5]

A frame has until the next one comes. Whoever reads a camera gets frames whether or not the last one was answered, so a
loop that falls behind must drop frames; this one takes the newest and answers it from the best exit that is still in
time, counted from the moment the frame was taken. Frames are made here (a bright square that moves over noise); with
OpenCV, `frames` is

    camera = cv2.VideoCapture(0)
    def frames():
        while True:
            good, pixels = camera.read()                      # waits for the next frame
            if not good:
                return
            yield time.perf_counter(), pixels[:, :, ::-1]     # OpenCV gives blue, green, red

and the loop runs as it stands. Needs numpy, onnxruntime and Pillow alone.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exitsearch.runtime import Answer, Session, load_bundle

Pixels = NDArray[np.uint8]
# A frame's moment (s, by the clock) and its pixels [height, width, 3].
Frame = tuple[float, Pixels]


@dataclass
class Tally:
    """What became of the frames.

    Attributes:
        frames: that came.
        dropped: that were older than a frame when the loop was free again.
        statuses: of the answers: ok, late, refused.
        exits: that answered.
    """

    frames: int = 0
    dropped: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)


def made_frames(
    *,
    fps: float,
    seconds: float,
    size: tuple[int, int] = (120, 160),
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Frame]:
    """Frames as a camera gives them: at their moment, or at once where it has passed.

    Args:
        fps: frames a second, above 0.
        seconds: how long.
        size: (height, width).
        clock: seconds.
        wait: for so many seconds.
    """
    rng = np.random.default_rng(0)
    height, width = size
    noise = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    begin = clock()
    for number in range(int(fps * seconds)):
        moment = begin + number / fps
        if (early := moment - clock()) > 0:
            wait(early)
        pixels = noise.copy()
        left = 4 * number % (width - 20)
        pixels[height // 3 : height // 3 + 20, left : left + 20] = 255
        yield moment, pixels


def answer_frames(
    session: Session,
    frames: Iterable[Frame],
    *,
    fps: float,
    seen: Callable[[int, Answer], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Tally:
    """Answer frames until there are none any more.

    Args:
        session: that answers.
        frames: of a camera.
        fps: frames a second: a frame's budget is what lies between two.
        seen: gets every answered frame's number and its answer.
        clock: seconds; the session's own.
    """
    tally, budget_ms = Tally(), 1e3 / fps
    for number, (moment, pixels) in enumerate(frames):
        tally.frames += 1
        if clock() - moment >= 1 / fps:
            tally.dropped += 1  # the next one is here already
            continue
        answer = session.predict(pixels, budget_ms=budget_ms, arrived=moment)
        tally.statuses[answer.status] += 1
        if answer.exit is not None:
            tally.exits[session.exits[answer.exit]] += 1
        if seen is not None:
            seen(number, answer)
    return tally


def main() -> None:
    """Run the loop over frames that are made here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that exitsearch export wrote")
    parser.add_argument("--fps", type=float, default=30.0, metavar="N", help="frames a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="how long (default: %(default)s)")
    options = parser.parse_args()
    if options.fps <= 0 or options.seconds <= 0:
        parser.error("--fps and --seconds must be above 0")
    session = load_bundle(options.bundle)
    tally = answer_frames(session, made_frames(fps=options.fps, seconds=options.seconds), fps=options.fps)
    print(
        f"{tally.frames} frames of {1e3 / options.fps:.1f} ms: answers {dict(tally.statuses)}, dropped {tally.dropped}"
    )
    print(f"exits {dict(tally.exits)}, slow-down {session.slow_down:.2f}")


if __name__ == "__main__":
    main()
