"""Make recordings of spoken digits: a folder for `--data audio-folder:DIR`, one folder a digit.

espeak-ng (`apt-get install espeak-ng`) says the ten words in English accents and voices, at many speeds and pitches,
with some noise. No voice is in two splits, so that what is measured is hearing words and not knowing voices. Where
espeak-ng is not installed, or with `--tones`, a digit is a melody of three notes instead, in many keys, tempos and
timbres: this is said aloud, and is another and easier task.

    python scripts/make_spoken_digits.py --out spoken      # 2,000 recordings, about two minutes
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import figures
import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import resample_poly

from exitsearch.errors import ExitSearchError, InputError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
RATE = 16_000

# espeak-ng's English accents, and its voices by split.
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VOICES = {"train": ("m1", "m2", "m3", "m4", "f1", "f2", "f3"), "val": ("m5", "m6", "f4"), "test": ("m7", "m8", "f5")}
SPEEDS = (110, 230)  # words a minute
PITCHES = (20, 80)  # espeak-ng's own unit, 0 to 99
NOISES = (10.0, 30.0)  # decibels below the signal

# Where there is no espeak-ng: semitones above a key of its own, note by note.
MELODIES = (
    (0, 0, 0),
    (0, 0, 7),
    (0, 7, 0),
    (0, 7, 7),
    (7, 0, 0),
    (7, 0, 7),
    (7, 7, 0),
    (0, 4, 7),
    (7, 4, 0),
    (4, 0, 7),
)
KEYS = (180.0, 360.0)  # hertz
NOTES = (0.1, 0.25)  # seconds

Array = NDArray[np.float64]


def say(word: str, *, split: str, rng: np.random.Generator) -> Array:
    """A word by espeak-ng in -1..1, at `RATE`, in a voice of a split.

    Raises:
        ExitSearchError: espeak-ng failed; says how.
    """
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(VOICES[split])}"
    speed, pitch = rng.integers(*SPEEDS), rng.integers(*PITCHES)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", file.name, word]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ExitSearchError(f"espeak-ng ended with status {done.returncode}: {done.stderr.strip()}")
        own, samples = wavfile.read(file.name)
    return np.asarray(resample_poly(samples / 32768.0, RATE, own))


def play(digit: int, *, rng: np.random.Generator) -> Array:
    """A digit's melody in -1..1, at `RATE`."""
    key, seconds = rng.uniform(*KEYS), rng.uniform(*NOTES)
    overtones = rng.uniform(0, 1, 4) / np.arange(1, 5)
    time = np.arange(round(seconds * RATE)) / RATE
    swell = np.sin(np.pi * time / seconds)
    notes = []
    for step in MELODIES[digit]:
        tone = 2 * np.pi * key * 2 ** (step / 12) * time
        notes.append(swell * sum(part * np.sin((order + 1) * tone) for order, part in enumerate(overtones)))
    return np.asarray(0.5 * np.concatenate(notes) / overtones.sum())


def with_noise(samples: Array, rng: np.random.Generator) -> Array:
    """A recording in -1..1 with white noise below it."""
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(*NOISES) / 20)
    return np.clip(samples + rng.normal(0, level, len(samples)), -1, 1)


def work(options: argparse.Namespace) -> int:
    if options.count < 50:
        raise InputError(f"--count must be 50 or more, one recording of each digit a split; found {options.count}")
    spoken = not options.tones and shutil.which("espeak-ng") is not None
    if not spoken and not options.tones:
        print("espeak-ng is not installed (apt-get install espeak-ng): melodies instead of words", flush=True)
    rng = np.random.default_rng(options.seed)
    written, seconds = 0, 0.0
    for split, share in SHARES.items():
        for number in range(round(share * options.count)):
            digit = number % len(WORDS)
            samples = say(WORDS[digit], split=split, rng=rng) if spoken else play(digit, rng=rng)
            path = options.out / split / WORDS[digit] / f"{number:05d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(path, RATE, np.round(with_noise(samples, rng) * 32767).astype(np.int16))
            written, seconds = written + 1, seconds + len(samples) / RATE
    found = {
        "recordings": written,
        "kind": "words by espeak-ng" if spoken else "melodies",
        "mean_seconds": round(seconds / written, 3),
        "folder": str(options.out),
    }
    figures.report(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="recordings (default: 2000)")
    parser.add_argument("--tones", action="store_true", help="melodies instead of words, without espeak-ng")
    figures.add_options(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
