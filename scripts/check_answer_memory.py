"""How much memory scoring takes beyond the weights: made-up samples through a made-up backbone and heads.

    python scripts/check_answer_memory.py [--samples 25000] [--exits 89] [--classes 1000] [--json FILE]

The real writer of answers and the real trainer run over a backbone that costs next to nothing, so that many samples,
exits and classes are done in minutes: the last placement's segment hands its input on, a head is one linear layer. Each
of the splits `choice` and `report` has so many samples. The peak of the process's resident memory is read from the
system (VmHWM, reset before scoring), less what was resident when backbone, heads and data stood in memory. Whole
outputs of one split would take samples * exits * classes * 4 bytes.

Exit status 1 when the peak is above --at-most.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
import torch
from torch import Tensor, nn

from exitsearch.errors import UnavailableError
from exitsearch.learn.answers import HELD_OUT, write_answers
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, Split
from exitsearch.learn.scored import document
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

MIB = 2**20
CHANNELS = 16
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Narrow(nn.Module):
    """A backbone of one block on vectors."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.head = nn.Linear(CHANNELS, classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.block(x)
        outputs: Tensor = self.head(features.mean((2, 3)))
        return outputs


class Head(nn.Module):
    """One linear layer on the mean of a map [batch, channels, 1, 1]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(CHANNELS, classes)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.fc(x.mean((2, 3)))
        return outputs


class Drawn(Split):
    """Samples drawn when they are asked for; only their labels are held."""

    def __init__(self, samples: int, classes: int, *, seed: int) -> None:
        super().__init__(torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed)))
        self.directions = torch.randn((classes, CHANNELS), generator=torch.Generator().manual_seed(0))

    def read(self, indices: list[int]) -> Tensor:
        """Features [batch, channels, 1, 1] in the direction of their class."""
        noise = torch.randn((len(indices), CHANNELS), generator=torch.Generator().manual_seed(indices[0]))
        return (self.directions[self.labels[indices]] + noise)[:, :, None, None]


def resident(name: str) -> float:
    """A line of the process's status, in MiB: VmRSS, what is resident; VmHWM, the most that was."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise UnavailableError(f"{STATUS} has no {name}; this check needs Linux")


def reset_peak() -> None:
    """Let VmHWM start from what is resident now."""
    try:
        CLEAR.write_text("5")
    except OSError as error:
        raise UnavailableError(f"{CLEAR} cannot be written ({error.strerror}); this check needs Linux") from None


def made(options: argparse.Namespace) -> tuple[HeadTrainer, DataSplits]:
    """Backbone, heads and data in memory."""
    torch.manual_seed(options.seed)
    narrow, example = Narrow(options.classes), torch.zeros(1, CHANNELS, 1, 1)
    backbone: Backbone = create_backbone(narrow, placements=["block"], example_input=example)
    backbone.final_is_trained = True
    heads: dict[tuple[int, str], nn.Module] = {(0, f"made{k}"): Head(options.classes) for k in range(options.exits - 1)}
    recipe = HeadRecipe(
        name="made up",
        description="",
        epochs=1,
        batch_size=options.batch_size,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="one_cycle",
    )
    trainer = HeadTrainer(backbone, heads, recipe, seed=0, device=torch.device("cpu"))
    splits: dict[str, Any] = {
        name: Drawn(options.samples, options.classes, seed=seed) for seed, name in enumerate(("heads", *HELD_OUT))
    }
    return trainer, DataSplits("made up", "made up", "classification", options.classes, **splits)


def score(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Score once; figures in MiB and seconds."""
    trainer, data = made(options)
    trainer.backbone(torch.zeros(2, CHANNELS, 1, 1))  # what torch allocates once for all
    reset_peak()
    before, start = resident("VmRSS"), time.perf_counter()
    dropped = write_answers(trainer, data, folder)
    written, seconds = resident("VmHWM"), time.perf_counter() - start
    assert not dropped
    reset_peak()
    found = document(trainer, data, folder)
    found.write(folder / DOCUMENT_NAME)
    summed = resident("VmHWM")
    reset_peak()
    samples = Outcomes.load(folder).samples("choice")
    assert samples is not None
    assert len(samples.outputs) == options.exits - 1
    read = resident("VmHWM")
    files = sum(path.stat().st_size for path in (folder / "answers").rglob("*.safetensors"))
    return {
        "resident_before_mib": before,
        "writing_mib": written - before,
        "document_mib": summed - before,
        "reading_mib": read - before,
        "answers_mib": files / MIB,
        "whole_outputs_mib": options.samples * options.exits * options.classes * 4 / MIB,
        "seconds": seconds,
    }


def work(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = score(options, Path(folder))
    print(
        f"{options.samples} samples a split, {options.exits} exits, {options.classes} classes: whole outputs of a "
        f"split take {found['whole_outputs_mib']:.0f} MiB"
    )
    for name, words in (
        ("writing_mib", "writing the answers of both splits, peak beyond weights and data"),
        ("document_mib", "making the document from them"),
        ("reading_mib", "reading a split for a search"),
        ("answers_mib", "the answers of both splits on disk"),
    ):
        print(f"  {words}: {found[name]:.0f} MiB")
    print(f"  {found['seconds']:.0f} s to write them")
    most = max(found["writing_mib"], found["document_mib"])
    figures.write(options, found)
    return 1 if most > options.at_most else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--threads", "--seed")
    figures.add_option(parser, "--batch-size", default=32, help="of training; scoring takes four times as many")
    parser.add_argument("--samples", type=int, default=25_000, metavar="N", help="of each split (default: %(default)s)")
    parser.add_argument("--exits", type=int, default=89, metavar="N", help="with the final one (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--at-most", type=float, default=4096, metavar="MIB", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for the answers (default: the system's own)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
