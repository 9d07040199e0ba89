"""Limits on a configuration, as people write them: `[limits]` of a search space, and the options of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from exitsearch.errors import InputError, shown
from exitsearch.specs.document import Part
from exitsearch.specs.table import whole_number


def parse_bytes(text: str) -> int:
    """Read a number of bytes: `500000`, `64MiB`, `1.5GB`.

    >>> parse_bytes("64MiB"), parse_bytes("1.5 GB"), parse_bytes("7")
    (67108864, 1500000000, 7)

    Raises:
        InputError: when it has another form.
    """
    units = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    number = text.strip().rstrip("BbKkMmGgIi ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise InputError(
            f"bytes are written as 64MiB, 1.5GB or 500000, found {text!r}; write a number with its unit"
        ) from None


def parse_energy(text: str) -> float:
    """Read an energy in millijoules: `12mJ`, `0.5J`, or a plain number of mJ. `MJ` would be a million joules.

    >>> parse_energy("12mJ"), parse_energy("0.5 J"), parse_energy("7")
    (12.0, 500.0, 7.0)

    Raises:
        InputError: when it has another form or is not above 0.
    """
    units = {"": 1.0, "mJ": 1.0, "J": 1e3}
    number = text.strip().rstrip("mMJj ")
    unit = text.strip()[len(number) :].strip()
    try:
        found = float(number) * units[unit]
        if not 0 < found < float("inf"):
            raise ValueError
    except (ValueError, KeyError):
        raise InputError(
            f"an energy is written as 12mJ, 0.5J or 12 (mJ), above 0, found {text!r}; write a number with its unit"
        ) from None
    return found


def parse_min_value(text: str, *, full_ms: float) -> tuple[float, float]:
    """Read `20ms=0.7`, `20=0.7` or `50%=0.7`: with that budget the answer must be worth so much.

    >>> parse_min_value("20ms=0.7", full_ms=100), parse_min_value("50%=0.7", full_ms=100)
    ((20.0, 0.7), (50.0, 0.7))

    Args:
        full_ms: the full model's latency, of which `%` is a share.

    Raises:
        InputError: when it has another form.
    """
    time, equals, value = (part.strip() for part in text.partition("="))
    try:
        if not equals:
            raise ValueError
        share = time.endswith("%")
        number = float(time.removesuffix("%").removesuffix("ms"))
        least = float(value)
        if not 0 <= number < float("inf") or not abs(least) < float("inf"):
            raise ValueError
    except ValueError:
        raise InputError(
            f"a least value is written TIME=VALUE, as 20ms=0.7 or 50%=0.7, found {text!r}; write it in that form"
        ) from None
    return (number / 100 * full_ms if share else number), least


def parse_exit(text: str) -> tuple[int, str | None]:
    """Read an exit, `PLACEMENT` or `PLACEMENT:HEAD`.

    >>> parse_exit("3:linear"), parse_exit("3")
    ((3, 'linear'), (3, None))

    Raises:
        InputError: when it has another form.
    """
    number, colon, head = text.partition(":")
    placement = whole_number(number)
    if placement is None:
        raise InputError(
            f"an exit is written PLACEMENT or PLACEMENT:HEAD, as 3 or 3:linear, found {shown(text)}; "
            "write it in that form"
        )
    return placement, head.strip() if colon else None


def _worded(parse: Callable[[str], object], text: str) -> object:
    """What a text says, with an error as pydantic wants it."""
    try:
        return parse(text)
    except InputError as error:
        raise ValueError(str(error)) from None


class Limits(Part):
    """Bounds on a configuration; None means no bound.

    Attributes:
        max_exits: most exits beside the final one.
        max_extra_params: most parameters of all exit heads.
        max_memory: most bytes of the whole model, weights and activations; a number or a text like `64MiB`.
        max_energy: most millijoules that an answer may take, for one batch; a number or a text like `0.5J`.
        min_value_at: what the answer must be worth within a budget, as `20ms=0.7` or `50%=0.7`.
        force: exits that must stand, `PLACEMENT` or `PLACEMENT:HEAD`.
        forbid: exits that must not.
    """

    max_exits: int | None = Field(default=None, ge=0)
    max_extra_params: int | None = Field(default=None, ge=0)
    max_memory: int | None = Field(default=None, ge=0)
    max_energy: float | None = Field(default=None, gt=0)
    min_value_at: list[str] = []
    force: list[str] = []
    forbid: list[str] = []

    @field_validator("max_memory", "max_energy", mode="before")
    @classmethod
    def _read_amount(cls, found: object, info: ValidationInfo) -> object:
        parse: Callable[[str], object] = parse_bytes if info.field_name == "max_memory" else parse_energy
        return _worded(parse, found) if isinstance(found, str) else found

    @field_validator("min_value_at")
    @classmethod
    def _check_min_values(cls, texts: list[str]) -> list[str]:
        for text in texts:
            _worded(lambda text: parse_min_value(text, full_ms=1.0), text)
        return texts

    @field_validator("force", "forbid")
    @classmethod
    def _check_exits(cls, texts: list[str]) -> list[str]:
        for text in texts:
            _worded(parse_exit, text)
        return texts

    def tightened(self, other: Limits) -> Limits:
        """Both limits at once: the smaller of each number, and all of each list.

        >>> Limits(max_exits=4, force=["1"]).tightened(Limits(max_exits=2, force=["3"])).force
        ['1', '3']
        """
        numbers = ("max_exits", "max_extra_params", "max_memory", "max_energy")
        lists = ("min_value_at", "force", "forbid")
        found: dict[str, Any] = {}
        for name in numbers:
            found[name] = min((n for n in (getattr(self, name), getattr(other, name)) if n is not None), default=None)
        for name in lists:
            found[name] = list(dict.fromkeys([*getattr(self, name), *getattr(other, name)]))
        return Limits(**found)
