"""Make pictures with sounds and how much is in both: a folder for `--data DIR --metric mae --side audio=1x32x64`.

In every scene some things can only be seen and some only be heard. What is seen are the blobs of `make_counts.py`; what
is heard are short tones in a recording of two seconds, at random times and pitches over white noise, louder and softer.
The target is the sum of both. The two numbers are drawn apart, each evenly from 0 to its most, so a head that reads the
pictures alone cannot have a lower mean error, however well it counts, than the mean distance of the number of tones
from its median: about a quarter of the most tones. The script prints that bound.

    python scripts/make_sounding_counts.py --out scenes     # 3,000 pictures of 28 x 28 pixels with a sound each, 30 s
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import figures
import make_counts
import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from exitsearch.errors import InputError

RATE = 16_000
SECONDS = 2.0

# Tones: length in seconds, pitch in hertz, loudness at their middle, and the noise below them.
LENGTH = 0.04
PITCHES = (300.0, 6000.0)
LOUDNESS = (0.1, 0.3)
NOISE = 0.003

Array = NDArray[np.float64]


def play(count: int, *, rng: np.random.Generator) -> Array:
    """A recording in -1..1 at `RATE`, in which so many tones can be heard."""
    samples = rng.normal(0, NOISE, round(SECONDS * RATE))
    time = np.arange(round(LENGTH * RATE)) / RATE
    swell = np.hanning(len(time))
    starts = rng.integers(0, len(samples) - len(time), count)
    lowest, highest = np.log(PITCHES)
    pitches = np.exp(rng.uniform(float(lowest), float(highest), count))
    for start, pitch, loudness in zip(starts, pitches, rng.uniform(*LOUDNESS, count), strict=True):
        samples[start : start + len(time)] += loudness * swell * np.sin(2 * np.pi * pitch * time)
    return np.clip(samples, -1, 1)


def make(options: argparse.Namespace) -> dict[str, object]:
    """Write pictures, recordings and `labels.csv`; returns figures."""
    rng = np.random.default_rng(options.seed)
    rows: list[list[object]] = []
    heard: list[int] = []
    for name in make_counts.names(options.count):
        seen, heard_here = (int(rng.integers(most + 1)) for most in (options.most, options.most_heard))
        picture, _ = make_counts.draw(seen, size=options.size, rng=rng)
        make_counts.save(picture, options.out / f"{name}.png")
        samples = np.round(play(heard_here, rng=rng) * 32767).astype(np.int16)
        wavfile.write(options.out / f"{name}.wav", RATE, samples)
        rows.append([f"{name}.png", seen + heard_here, f"{name}.wav"])
        heard.append(heard_here)
    make_counts.write_labels(options.out, ["file", "target", "audio"], rows)
    return {
        "scenes": len(heard),
        "least_error_without_sound": round(bound(heard), 3),
        "folder": str(options.out),
    }


def bound(heard: Sequence[int]) -> float:
    """No answer from the pictures alone is nearer to the targets on average: the mean distance from the median."""
    numbers = np.asarray(heard, dtype=np.float64)
    return float(np.abs(numbers - np.median(numbers)).mean())


def work(options: argparse.Namespace) -> int:
    if options.count < 5 or min(options.most, options.most_heard, options.size) < 1:
        raise InputError(
            "--count must be 5 or more (one scene a split), --most, --most-heard and --size 1 or more; found "
            f"{options.count}, {options.most}, {options.most_heard} and {options.size}"
        )
    found = make(options)
    figures.report(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    make_counts.add_options(parser, what="things that are seen", most=20, size=28)
    parser.add_argument("--most-heard", type=int, default=20, metavar="N", help="most that are heard (default: 20)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
