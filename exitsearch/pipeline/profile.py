"""The step `profile`: find a profile, or make one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.errors import UnavailableError
from exitsearch.pipeline import places
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.document import Part
from exitsearch.specs.load import load_profile, load_space
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Candidates, Pair
from exitsearch.specs.question.space import SearchSpace
from exitsearch.specs.side import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

PRECISION = 0.02
MAX_SECONDS = 60.0
# Where a document came from that was handed over as it is.
GIVEN = "(given)"


class Measuring(Part):
    """How costs are measured; the attributes are arguments of `profile_backbone`."""

    device: str = "cpu"
    dtype: str = "fp32"
    batch_sizes: tuple[int, ...] = (1,)
    threads: int | None = None
    runtime: str = "eager"
    precision: float = PRECISION
    max_seconds: float = MAX_SECONDS
    energy: bool = False
    counts_only: bool = False
    pause_ms: float = 0.0
    seed: int = 0

    def check_energy(self) -> None:
        """Whether energies can be measured here.

        Raises:
            UnavailableError: the device has no meter; says why.
        """
        from exitsearch.measure.energy import NoMeter, find_meter
        from exitsearch.measure.machine.fingerprint import resolve_device

        meter = find_meter(resolve_device(self.device))
        if isinstance(meter, NoMeter):
            raise UnavailableError(
                "a limit on energy, or energy as an objective, needs a profile with energies, and they cannot be "
                f"measured here: {meter.reason}; leave it out, or bring a profile with --profile"
            )


def make_profile(
    model: BackboneRequest,
    measuring: Measuring,
    *,
    candidates: Candidates | None = None,
    exits: Iterable[Pair] | None = None,
    watch: Watch,
) -> Profile:
    """Measure a backbone and its candidates. Nothing is written.

    Args:
        candidates: what may be chosen; None takes every head wherever it fits.
        exits: exact (placement, head) pairs instead.
    """
    from exitsearch.measure.machine.fingerprint import resolve_device
    from exitsearch.measure.profiler import profile_backbone
    from exitsearch.models.heads import fitting_exits

    # Weights do not change what is measured: none are downloaded unless asked for, none loaded only to count.
    device = "meta" if measuring.counts_only else str(resolve_device(measuring.device))
    backbone = model.create(device=device)
    if exits is None:
        exits = fitting_exits(backbone.placements, candidates)
    with watch.progress(f"profiling {backbone.facts.name}") as report:
        return profile_backbone(
            backbone,
            exits=list(exits),
            device=device,
            dtype=measuring.dtype,
            batch_size=measuring.batch_sizes,
            threads=measuring.threads,
            runtime=measuring.runtime,
            precision=measuring.precision,
            max_seconds=measuring.max_seconds,
            seed=measuring.seed,
            counts_only=measuring.counts_only,
            energy=measuring.energy,
            pause_ms=measuring.pause_ms,
            progress=report,
        )


def profile(
    model: str | None = None,
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    batch_size: int | Sequence[int] = 1,
    threads: int | None = None,
    runtime: str = "eager",
    heads: str | Iterable[str] | None = None,
    placements: str | Iterable[int] | None = None,
    space: SearchSpace | Path | str | None = None,
    num_outputs: int | None = None,
    image_size: int | None = None,
    in_chans: int | None = None,
    side_inputs: Mapping[str, Size] | str | None = None,
    pretrained: bool | None = None,
    checkpoint: Path | str | None = None,
    precision: float = PRECISION,
    max_seconds: float = MAX_SECONDS,
    energy: bool = False,
    counts_only: bool = False,
    pause_ms: float = 0.0,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch | None = None,
) -> Profile:
    """Measure a backbone and its candidate heads, and write the profile: `exitsearch profile`.

    Args:
        model: timm's name; None takes the space's backbone, or the embedded default.
        heads: candidate heads, as a text with commas or one by one; None takes all that fit.
        placements: candidate placements, numbers or a text like `0,2,4-8`; None takes all.
        space: a search space or its file; it and the options both hold.
        side_inputs: further inputs that heads may read, by name or as `audio=1x32x64`.
        out: the file to write; None takes `profiles/<condition>.json`.
        watch: is shown the progress.

    The other arguments are those of `create_backbone` and `profile_backbone`, and their errors too.
    """
    space = as_space(space)
    asked = BackboneRequest.asked(
        model,
        space=space,
        pretrained=pretrained,
        checkpoint=checkpoint,
        num_outputs=num_outputs,
        image_size=image_size,
        in_chans=in_chans,
        side_inputs=side_inputs,
        seed=seed,
    )
    measuring = Measuring.given(
        "measurement",
        device=device,
        dtype=dtype,
        batch_sizes=(batch_size,) if isinstance(batch_size, int) else tuple(batch_size),
        threads=threads,
        runtime=runtime,
        precision=precision,
        max_seconds=max_seconds,
        energy=energy,
        counts_only=counts_only,
        pause_ms=pause_ms,
        seed=seed,
    )
    candidates = Candidates.of(heads=heads, placements=placements, space=space)
    found = make_profile(asked, measuring, candidates=candidates, watch=watch or Quiet())
    found.write(out or places.profile_file(found))
    return found


def find_profile(source: Profile | str | None, *, name: str | None, device: str | None) -> tuple[Profile, str] | None:
    """The profile that was named, or the newest that fits, with where it came from; None when there is none.

    Args:
        source: itself, or as `load_profile` takes it; None looks in `profiles/`.
        name: of the backbone; None takes any.
        device: `cpu`, `cuda` or `cuda:N`; None takes any.
    """
    if isinstance(source, Profile):
        return source, GIVEN
    if source is not None:
        return load_profile(source, backbone=name), source
    path = places.newest_profile(name=name, device=device)
    return None if path is None else (load_profile(path, backbone=name), str(path))


def as_space(space: SearchSpace | Path | str | None) -> SearchSpace | None:
    """A search space from itself or from its file."""
    return load_space(space) if isinstance(space, Path | str) else space


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads inside; None leaves its own number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_threads(watch: Watch) -> int | None:
    """How many CPU threads to take where nobody said: none for the cores that other programs keep busy.

    Two threads that share a core with a neighbour wait for each other at the end of every operation; one that has a
    core to itself is faster. Says so in one sentence.

    Returns:
        The number; None leaves torch's own, where nobody is busy or the kernel does not tell.
    """
    import torch

    from exitsearch.measure.machine.load import busy_neighbours, usable_cores

    mine = torch.get_num_threads()
    if mine == 1:
        return None
    busy = busy_neighbours()
    free = max(1, usable_cores() - busy)
    if free >= mine:
        return None
    watch.note(
        f"other programs keep {busy} of {usable_cores()} cores busy, so {free} of {mine} threads "
        f"{'is' if free == 1 else 'are'} used; --threads N takes N"
    )
    return free
