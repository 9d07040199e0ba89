"""Profile: measured costs of every segment and exit head on one device in one condition, and the time of any path.

A segment runs from placement k-1 (or the input) to placement k, a head from the features at its placement to its
outputs, `final` from the last placement to the backbone's own outputs. A path that runs through some exit heads takes
the sum of its parts (`path_ms`); the profiler checks that this holds by running paths whole.

The part after a head takes its `resume_ms` longer than behind another part: on a CPU it finds the caches full of the
head's weights, on a device with a queue, where the host waits for every decision, it begins on an idle device:

    answer of exit k = segments up to k + heads before k + resumes of the parts after those heads + head k
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from exitsearch.errors import FileError, InputError
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.cost import Cost as Cost
from exitsearch.specs.cost import HeadCost as HeadCost
from exitsearch.specs.cost import PartCost as PartCost
from exitsearch.specs.cost import SegmentCost as SegmentCost
from exitsearch.specs.document import Document, Part, read_text, write_text
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.frames.profile import PROFILE
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.placement import Placement
from exitsearch.specs.table import cell_head, cell_number, cell_placement, read_table
from exitsearch.specs.verdict import Reason as Reason
from exitsearch.specs.verdict import Verdict as Verdict

Scalar = str | int | float | bool | None

COSTS_COLUMNS = ("part", "placement", "head", "latency_ms")


class Environment(Part):
    """The conditions of a measurement, in three groups.

    Attributes:
        identity: a difference here makes times incomparable (device, dtype, batch, threads, runtime, ...).
        soft: a difference here is worth a warning (driver, clocks, patch versions).
        state: how the machine was while measuring (temperature, load); feeds the verdict.
    """

    identity: dict[str, Scalar] = {}
    soft: dict[str, Scalar] = {}
    state: dict[str, Scalar] = {}


class BatchCosts(Part):
    """The same units measured with another batch size; times and energies are for one batch of it.

    Attributes:
        batch_size: inputs of one batch.
        state: how the machine was while measuring this one.
        protocol: as in the profile, of this batch size; so are the others below.
        segments: one for each placement, in order.
        heads: every measured head.
        final: from the last placement to the backbone's own outputs.
        whole: the plain backbone in one piece.
        slowdown: samples of the machine's speed.
        verdict: whether the times can be believed.
    """

    batch_size: int = Field(ge=1)
    state: dict[str, Scalar] = {}
    protocol: dict[str, Scalar] = {}
    segments: list[SegmentCost]
    heads: list[HeadCost] = []
    final: PartCost
    whole: Cost | None = None
    slowdown: list[Annotated[float, Field(gt=0, le=1e6)]] = []
    verdict: Verdict


# What a profile and each of its further batch sizes have in common.
_MEASURED = ("protocol", "segments", "heads", "final", "whole", "slowdown", "verdict")


class Profile(Document):
    """Costs of every segment and every exit head of a backbone, and of the plain backbone as yardstick.

    A profile measured with several batch sizes holds the first in its own fields, the others in `batches`; `at_batch`
    gives the profile of any one of them.

    Attributes:
        created: when, in ISO 8601, UTC.
        backbone: that was measured.
        placements: shape and kind of the features at each placement; empty in tables that were brought.
        environment: on what, and in which condition.
        protocol: how it was measured, by name: clock, rounds, seconds, asked precision, what was not counted, the sum
            of the parts over the whole, quantiles of the whole, idle power, and why there is no energy where there is
            none.
        segments: one for each placement, in order: from the placement before (or the input) to it.
        heads: every measured head at every placement.
        final: from the last placement to the backbone's own outputs.
        whole: the plain backbone in one piece, in the same rounds; None where it was not measured.
        slowdown: each round's pass of the plain backbone over the median one: equally likely factors on every latency.
        verdict: whether the times can be believed.
        batches: the same with further batch sizes.
    """

    kind: ClassVar[str] = "profile"
    frame: ClassVar[Frame] = PROFILE
    created: str = ""
    backbone: BackboneFacts
    placements: list[Placement] = []
    environment: Environment = Environment()
    protocol: dict[str, Scalar] = {}
    segments: list[SegmentCost] = Field(min_length=1)
    heads: list[HeadCost] = []
    final: PartCost
    whole: Cost | None = None
    slowdown: list[Annotated[float, Field(gt=0, le=1e6)]] = []
    verdict: Verdict
    batches: list[BatchCosts] = []

    @model_validator(mode="after")
    def _check_parts(self) -> Profile:
        found = [segment.placement for segment in self.segments]
        if found != list(range(len(found))):
            raise ValueError(f"segments must be numbered 0, 1, 2, ... in order, found {found}")
        numbers = [placement.index for placement in self.placements]
        if numbers and numbers != found:
            raise ValueError(f"placements must be numbered like the segments, found {numbers}")
        seen: set[tuple[int, str]] = set()
        for number, head in enumerate(self.heads):
            if head.placement >= len(found):
                raise ValueError(f"heads[{number}] is at placement {head.placement}, the last one is {len(found) - 1}")
            if (head.placement, head.head) in seen:
                raise ValueError(f"heads[{number}]: {head.head} at placement {head.placement} stands there twice")
            HeadChoice.parse(head.head)
            seen.add((head.placement, head.head))
        _check_rounds(self)
        timed = {cost.latency_ms is not None for cost in (*self.segments, *self.heads, self.final)}
        if len(timed) > 1:
            raise ValueError("latency_ms must stand in every segment, head and final, or in none")
        sizes = self.batch_sizes
        if self.batches and (sizes[0] is None or len(set(sizes)) < len(sizes)):
            raise ValueError(f"every batch size must be known and stand there once, found {sizes}")
        for batch in self.batches:
            _check_rounds(batch)
            units = [segment.placement for segment in batch.segments], [(h.placement, h.head) for h in batch.heads]
            if units != (found, [(h.placement, h.head) for h in self.heads]):
                raise ValueError(f"batch size {batch.batch_size} must hold the same segments and heads as the first")
            if {cost.latency_ms is not None for cost in (*batch.segments, *batch.heads, batch.final)} != timed:
                raise ValueError(f"latency_ms must stand in every unit of batch size {batch.batch_size}, or in none")
        return self

    @property
    def batch_sizes(self) -> list[int | None]:
        """The batch sizes that were measured, the first one's None where it is not known."""
        first = self.environment.identity.get("batch_size")
        return [first if type(first) is int else None, *(batch.batch_size for batch in self.batches)]

    def at_batch(self, batch_size: int | None = None) -> Profile:
        """The profile of one batch size alone.

        Args:
            batch_size: one of `batch_sizes`; None means the first.

        Raises:
            InputError: when it was not measured.
        """
        if batch_size is None or batch_size == self.batch_sizes[0]:
            return self.model_copy(update={"batches": []})
        for batch in self.batches:
            if batch.batch_size == batch_size:
                environment = Environment(
                    identity={**self.environment.identity, "batch_size": batch_size},
                    soft=self.environment.soft,
                    state=batch.state,
                )
                measured = {name: getattr(batch, name) for name in _MEASURED}
                return self.model_copy(update={**measured, "environment": environment, "batches": []})
        known = ", ".join(str(size) for size in self.batch_sizes if size is not None) or "an unknown one"
        raise InputError(
            f"--batch-size {batch_size} is not in this profile, which holds {known}; measure it with "
            f"exitsearch profile --batch-size {batch_size}"
        )

    @property
    def is_timed(self) -> bool:
        """Whether it holds times, not only counts."""
        return self.final.latency_ms is not None

    @property
    def arrival_ms(self) -> NDArray[np.float64]:
        """Latency of the backbone up to each placement, heads left out: t_k of DESIGN section 5 [placements]."""
        return np.cumsum([self._time(segment) for segment in self.segments])

    @property
    def full_ms(self) -> float:
        """Latency of the backbone without any exit: the sum of its segments and its final part."""
        return float(self.arrival_ms[-1]) + self._time(self.final)

    def check_energies(self) -> None:
        """Whether energies were measured at all; those of single heads matter only where they may be chosen.

        Raises:
            InputError: they were not.
        """
        if any(cost.energy_mj is None for cost in (*self.segments, self.final)):
            raise InputError(
                "the profile does not hold the energies of all segments and heads, so --max-energy cannot hold and "
                "energy is no objective; make it again with exitsearch profile --energy"
            )

    @property
    def resume_ms(self) -> NDArray[np.float64]:
        """How much longer the part after each placement takes when a head has run there [placements]."""
        return np.array([part.resume_ms for part in (*self.segments[1:], self.final)])

    def head_ms(self, placement: int, head: str) -> float:
        """Latency of one head at one placement."""
        return self._time(self.head(placement, head))

    def head(self, placement: int, head: str) -> HeadCost:
        """The costs of one head at one placement.

        Raises:
            InputError: when it was not measured.
        """
        for cost in self.heads:
            if cost.placement == placement and cost.head == head:
                return cost
        here = ", ".join(cost.head for cost in self.heads if cost.placement == placement) or "none"
        raise InputError(
            f"the profile holds no head {head!r} at placement {placement}; there: {here}; "
            "name one of these, or measure it with exitsearch profile --heads"
        )

    def path_ms(self, exits: Sequence[tuple[int, str]]) -> list[float]:
        """When each exit of a multi-exit model answers, every chosen head on the way being run.

        Args:
            exits: (placement, head) pairs in placement order.

        Returns:
            Milliseconds from the input to the answer of each chosen exit, and last of the final exit.
        """
        arrival, resume, delay, times = self.arrival_ms, self.resume_ms, 0.0, []
        for placement, head in exits:
            delay += self.head_ms(placement, head)
            times.append(float(arrival[placement]) + delay)
            # The exit has answered; what comes after it waits for its first launch.
            delay += float(resume[placement])
        return [*times, self.full_ms + delay]

    @staticmethod
    def _time(cost: Cost) -> float:
        if cost.latency_ms is None:
            raise InputError("this profile only counts operations; measure times with exitsearch profile")
        return cost.latency_ms

    def condition(self) -> str:
        """The condition in the words of the file name: `<backbone>__<device>__<dtype>__bs<N>__<runtime>`.

        Several batch sizes are written `bs1-8-32`; a pause of 33 ms before every pass ends it with `__pause33`.
        """
        facts = self.environment.identity
        name = (self.backbone.name or "backbone").replace("/", "_")
        batch = "-".join(str(size) for size in self.batch_sizes if size is not None)
        pause = f"pause{facts['pause_ms']:g}" if facts.get("pause_ms") else None
        parts = [facts.get("device"), facts.get("dtype"), f"bs{batch}" if batch else None, facts.get("runtime"), pause]
        return "__".join([name, *(str(part) for part in parts if part)])

    def to_costs_csv(self, path: Path | str) -> Path:
        """Write the costs table, which `from_costs_csv` and other programs read.

        The column `resume_ms` is there only where a part takes longer behind a head.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        resumes = any(self.resume_ms)
        table.writerow([*COSTS_COLUMNS, "macs", "params", *(["resume_ms"] if resumes else [])])

        def row(part: str, placement: int | str, head: str, cost: Cost) -> None:
            cells: list[float | None] = [cost.latency_ms, cost.macs, cost.params]
            if resumes:
                cells.append((cost.resume_ms or None) if isinstance(cost, PartCost) else None)
            table.writerow([part, placement, head, *("" if cell is None else cell for cell in cells)])

        for segment in self.segments:
            row("segment", segment.placement, "", segment)
        for head in self.heads:
            row("head", head.placement, head.head, head)
        row("final", "", "", self.final)
        return write_text(path, text.getvalue())

    @classmethod
    def from_costs_csv(cls, path: Path | str, *, backbone: str | None = None) -> Profile:
        """Read a costs table: `part,placement,head,latency_ms` with optional `macs,params,resume_ms`.

        Args:
            path: the CSV file.
            backbone: name of the backbone that was measured, when known.

        Raises:
            FileError: when a column is missing or a row breaks a rule.
        """
        return cls.parse_costs_csv(read_text(path), path, backbone=backbone)

    @classmethod
    def parse_costs_csv(cls, text: str, path: Path | str, *, backbone: str | None = None) -> Profile:
        """Like `from_costs_csv`, for text already read; `path` names it in errors."""
        segments: dict[int, dict[str, Any]] = {}
        heads: list[dict[str, Any]] = []
        final: dict[str, Any] | None = None
        for line, row in read_table(text, path, COSTS_COLUMNS):
            cost: dict[str, Any] = {"latency_ms": cell_number(row, "latency_ms", path, line)}
            for key in ("macs", "params"):
                if row.get(key):
                    cost[key] = int(cell_number(row, key, path, line))
            if row.get("resume_ms"):
                if row["part"] == "head":
                    raise FileError(path, f"row {line}: resume_ms is of a segment or the final part, behind a head")
                cost["resume_ms"] = cell_number(row, "resume_ms", path, line)
            match row["part"]:
                case "segment":
                    placement = cell_placement(row, path, line)
                    if placement in segments:
                        raise FileError(path, f"row {line}: segment {placement} stands there twice")
                    segments[placement] = {"placement": placement, **cost}
                case "head":
                    placement = cell_placement(row, path, line)
                    heads.append({"placement": placement, "head": cell_head(row, path, line), **cost})
                case "final":
                    if final is not None:
                        raise FileError(path, f"row {line}: final stands there twice")
                    final = cost
                case other:
                    raise FileError(path, f"row {line}: part must be segment, head or final, found {other!r}")
        if final is None:
            raise FileError(path, "no row with part final, the cost from the last placement to the end")
        return cls.parse(
            {
                "schema_version": cls.current_version,
                "backbone": {"name": backbone},
                "segments": [segments[placement] for placement in sorted(segments)],
                "heads": heads,
                "final": final,
                "verdict": {"status": "given"},
            },
            path,
        )


def _check_rounds(measured: Profile | BatchCosts) -> None:
    """Rounds stand beside samples and among those of which the slow-down is known."""
    for cost in (*measured.segments, *measured.heads, measured.final):
        count = len(measured.slowdown)
        if cost.rounds and (len(cost.rounds) != len(cost.samples_ms) or max(cost.rounds) >= count):
            raise ValueError(
                f"rounds must name one of the {count} rounds of slowdown for each of {len(cost.samples_ms)} samples, "
                f"found {len(cost.rounds)} up to {max(cost.rounds)}"
            )
