"""Costs: what one unit of a profile takes. Times are of one batch, counts of one input."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from exitsearch.specs.document import Part

Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
Count = Annotated[int, Field(ge=0, le=10**18)]


class Cost(Part):
    """What one unit costs. Times are None in a profile that only counts.

    Attributes:
        macs: multiply-accumulates of one input (1 MAC = 2 FLOPs).
        other_ops: elementwise work of norms and the like, which is no multiply-accumulate.
        operators: macs by operator group.
        params: parameters.
        weight_bytes: bytes of parameters and buffers in the profile's dtype.
        activation_bytes: bytes of the features handed on, for one batch.
        scratch_bytes: what running it allocates on the device at most, its results included, for one batch; None where
            torch's allocator does not tell (CPU, other runtimes).
        latency_ms: median time of one batch, each sample divided by the machine's speed in its round (the running
            median of the profile's `slowdown` over nine rounds), and on a device with a queue without what the clock's
            own events cost; of the whole backbone the plain median.
        interval_ms: order-statistic 95% interval of that median.
        samples_ms: every measured time, as the clock read it.
        rounds: the round of each sample, from 0; empty where there is one sample in every round.
        device_ms: median on the device's own clock (CUDA events), where it has one.
        energy_mj: millijoules that the device's meter ran up for one batch, its idle power included.
    """

    macs: Count | None = None
    other_ops: Count | None = None
    operators: dict[str, Count] = {}
    params: Count | None = None
    weight_bytes: Count | None = None
    activation_bytes: Count | None = None
    scratch_bytes: Count | None = None
    latency_ms: Milliseconds | None = None
    interval_ms: tuple[Milliseconds, Milliseconds] | None = None
    samples_ms: list[Milliseconds] = []
    rounds: list[Count] = []
    device_ms: Milliseconds | None = None
    energy_mj: Annotated[float, Field(ge=0, le=1e12)] | None = None


class PartCost(Cost):
    """A part of the backbone: a segment or the final part.

    The fields of `Cost` tell of it behind another part. These are written only where they say something:

    Attributes:
        resume_ms: how much longer it takes right after a head, which has filled the caches with its own weights, or
            whose decision has emptied the device's queue; 0 where no head comes before.
        resumed_samples_ms: every time that was measured right after a head, as the clock read it.
        resumed_rounds: the round of each of them.
    """

    resume_ms: Milliseconds = 0.0
    resumed_samples_ms: list[Milliseconds] = []
    resumed_rounds: list[Count] = []

    @model_serializer(mode="wrap")
    def _without_zero(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Profiles from before these keys stay what they were to the last bit, and so does their identity.
        data: dict[str, Any] = handler(self)
        for name in ("resume_ms", "resumed_samples_ms", "resumed_rounds"):
            if not data[name]:
                del data[name]
        return data


class SegmentCost(PartCost):
    """The segment that ends at `placement`.

    Attributes:
        placement: number of the placement, from 0 in execution order.
        module: name of the module behind which it lies; None where it is not known.
    """

    placement: int = Field(ge=0)
    module: str | None = None


class HeadCost(Cost):
    """One exit head at one placement, its decision (largest probability) included.

    Attributes:
        placement: at which it reads the features.
        head: head type, with options where they differ from the defaults: `gah(stride=2)`.
    """

    placement: int = Field(ge=0)
    head: str
