"""Step: one thing that a GPU must show, how long it may take, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from exitsearch.models.backbone import Backbone, create_backbone

# The smallest model that timm has in place of each, for trying the steps without a GPU.
SMALLEST = {
    "vit_tiny_patch16_224": "test_vit",
    "swin_tiny_patch4_window7_224": "test_convnext",
    "resnet50": "test_resnet",
}


class Skipped(Exception):
    """A step that makes no sense here; says why."""


@dataclass
class Bench:
    """Where a step runs, and what it found.

    Attributes:
        device: as for `exitsearch profile`.
        quick: take the smallest size that runs at all, and judge no times: they would say nothing.
        folder: the step's own, kept between calls.
        figures: what was measured.
        faults: what is not as it must be, in sentences.
    """

    device: str
    quick: bool
    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return torch.device(self.device).type == "cuda"

    def need_gpu(self) -> None:
        """Skip the step where there is none.

        Raises:
            Skipped: the device is the CPU.
        """
        if not self.on_gpu:
            raise Skipped("needs a CUDA device")

    def backbone(self, name: str) -> Backbone:
        """A model with random weights, or the smallest of its kind."""
        return create_backbone(SMALLEST[name] if self.quick else name, pretrained=False)

    def seconds(self, wanted: float) -> float:
        """Time for one measurement."""
        return min(wanted, 0.02) if self.quick else wanted

    def require(self, holds: bool, fault: str) -> None:
        """Note a fault unless something holds."""
        if not holds:
            self.faults.append(fault)

    def require_time(self, holds: bool, fault: str) -> None:
        """The same for what depends on times, which nobody judges at the smallest size."""
        self.require(holds or self.quick, fault)


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: in the record and in `--steps`.
        needs_s: it is not begun with less time left than this.
        run: does it; raises `Skipped` where it makes no sense.
    """

    name: str
    needs_s: float
    run: Callable[[Bench], None]
