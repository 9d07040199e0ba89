"""What a server takes at most: bytes, pixels, seconds, requests at once."""

from __future__ import annotations

from dataclasses import dataclass

from exitsearch.errors import InputError, shown

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of one server. Its memory beside the bundle is at most `connections` bodies and `workers` decoded images.

    Attributes:
        workers: requests that are computed at the same time, from 1.
        queue: admitted requests that wait for one of them, from 0.
        body_bytes: of a request, from 1.
        pixels: of an image before it is resized, from 1.
        body_seconds: in which a request's body has to be here, above 0.
        header_seconds: in which its header has to be, above 0.
        connections: that are open at the same time, from 1.

    Raises:
        InputError: one is out of its range.
    """

    workers: int = 1
    queue: int = 16
    body_bytes: int = 16 * _MIB
    pixels: int = 32_000_000
    body_seconds: float = 10.0
    header_seconds: float = 10.0
    connections: int = 256

    def __post_init__(self) -> None:
        ranges = {
            "workers": (1, 1024),
            "queue": (0, 65536),
            "body_bytes": (1, 2**30),
            "pixels": (1, 2**30),
            "connections": (1, 65536),
        }
        for name, (low, high) in ranges.items():
            found = getattr(self, name)
            if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
                raise InputError(
                    f"{name} must be a whole number from {low} to {high}, found {shown(found)}; "
                    "give a number in that range"
                )
        for name in ("body_seconds", "header_seconds"):
            found = getattr(self, name)
            if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= 3600:
                raise InputError(
                    f"{name} must be a number above 0, at most 3600, found {shown(found)}; give a number in that range"
                )
