"""From an HTTP request to what is asked: bounded in bytes and time, and a 4xx with one sentence for what is wrong.

A request is an image as the body (`Content-Type: image/...`), an image as the one file of a form
(`multipart/form-data`), or an input that is prepared already (`application/octet-stream`: float32, little-endian, as
the bundle's input size). Nothing is written to the disk.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, QueryParams
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from exitsearch.errors import shown
from exitsearch.runtime import Session
from exitsearch.serving.admission.line import Asked
from exitsearch.serving.bounds import Bounds
from exitsearch.serving.faults import WrongRequest

# The budget of a request, in ms from the arrival of its header.
BUDGET_HEADER = "X-Budget-Ms"
# What a proxy (Envoy, Istio) says how long it will wait for this server, in ms; the budget does not exceed it.
PROXY_HEADER = "X-Envoy-Expected-Rq-Timeout-Ms"
PARAMETERS = ("confidence", "mean_budget_ms", "outputs")
_LONGEST_MS = 1e9
# What proxies and clients write; no exponents, signs or names of numbers, which not every parser reads alike.
_NUMBER = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")
_NUMBERS = "application/octet-stream"


class Gone(Exception):
    """Whoever sent a request has closed the connection."""


async def read_asked(
    request: Request, session: Session, *, bounds: Bounds, default_ms: float, arrived: float
) -> tuple[Asked, bool]:
    """What a request asks, and whether its answer is to hold all outputs.

    Args:
        request: not read yet.
        session: that will answer.
        bounds: of the server.
        default_ms: budget where the request names none.
        arrived: when its header was here, in s by the clock.

    Raises:
        WrongRequest: it breaks a rule.
        Gone: nobody waits any more.
    """
    budget_ms = read_budget(request.headers, default_ms=default_ms)
    numbers, outputs = _parameters(request.query_params)
    kind = _kind(request.headers, session)
    body = await read_body(request, bounds)
    if kind == "multipart/form-data":
        body = await _file(request.headers, body)
    if not body:
        raise WrongRequest(400, "a request holds an image or an input, found nothing; send one as the body")
    if kind == _NUMBERS and len(body) != (size := 4 * math.prod(session.manifest.input_size)):
        raise WrongRequest(
            422,
            f"an input is {list(session.manifest.input_size)} of float32, {size} bytes, found {len(body)} bytes; send "
            "images with Content-Type: image/jpeg or the like",
        )
    asked = Asked(content=body, image=kind != _NUMBERS, budget_ms=budget_ms, arrived=arrived, **numbers)
    return asked, outputs


def read_budget(headers: Headers, *, default_ms: float) -> float:
    """The budget in ms that a request's headers name, or the default."""
    own, proxy = (_header_number(headers, name) for name in (BUDGET_HEADER, PROXY_HEADER))
    budget = default_ms if own is None else own
    return budget if proxy is None else min(budget, proxy)


def _header_number(headers: Headers, name: str) -> float | None:
    found = headers.getlist(name)
    if not found:
        return None
    if len(found) > 1:
        raise WrongRequest(400, f"{name} must stand in a request once, found {len(found)} of them; send one")
    return _number(name, found[0])


def _number(name: str, text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0 < number <= _LONGEST_MS:
        raise WrongRequest(
            400, f"{name} must be a decimal number above 0, at most {_LONGEST_MS:.0f}, found {shown(text)}; write 25"
        )
    return number


def _parameters(found: QueryParams) -> tuple[dict[str, float], bool]:
    numbers: dict[str, float] = {}
    outputs = False
    for name, text in found.multi_items():
        if name not in PARAMETERS:
            raise WrongRequest(400, f"unknown parameter {shown(name)}; known: {', '.join(PARAMETERS)}")
        if len(found.getlist(name)) > 1:
            raise WrongRequest(400, f"{name} must be given once, found {len(found.getlist(name))} times")
        if name == "outputs":
            if text not in ("true", "false"):
                raise WrongRequest(400, f"outputs must be true or false, found {shown(text)}")
            outputs = text == "true"
        else:
            numbers[name] = _number(name, text)
    return numbers, outputs


def _kind(headers: Headers, session: Session) -> str:
    """The content type without its parameters, one of those that are taken."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise WrongRequest(
            415,
            f"a body must not be compressed once more, found {shown(headers['content-encoding'])}; send it as it is",
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _NUMBERS:
        return kind
    if not kind.startswith("image/") and kind != "multipart/form-data":
        raise WrongRequest(
            415,
            "Content-Type must be image/jpeg or another image/..., multipart/form-data with one file, or "
            f"{_NUMBERS} for an input of float32, found {shown(kind) if kind else 'none'}",
        )
    if session.manifest.preprocessing is None:
        raise WrongRequest(
            415,
            f"this bundle does not say how images become inputs; send float32 {list(session.manifest.input_size)} with "
            f"Content-Type: {_NUMBERS}",
        )
    return kind


async def read_body(request: Request, bounds: Bounds) -> bytes:
    """All of a request's body.

    Raises:
        WrongRequest: it is too large (413), or was not here in time (408).
        Gone: nobody sends any more.
    """
    most = bounds.body_bytes
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > most:
        raise _too_large(most)
    chunks, total = [], 0
    try:
        async with asyncio.timeout(bounds.body_seconds):
            async for chunk in request.stream():
                total += len(chunk)
                if total > most:
                    raise _too_large(most)
                chunks.append(chunk)
    except TimeoutError:
        raise WrongRequest(
            408, f"a body must be here within {bounds.body_seconds:g} s, found {total} bytes by then; send it faster"
        ) from None
    except ClientDisconnect:
        raise Gone from None
    return b"".join(chunks)


def _too_large(most: int) -> WrongRequest:
    return WrongRequest(413, f"a body has at most {most} bytes here, found more; make the image smaller")


async def _file(headers: Headers, body: bytes) -> bytes:
    """The one file of a form."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(headers, stream(), max_files=1, max_fields=0)
    parser.spool_max_size = len(body) + 1  # more than any part can have: it stays in memory
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise WrongRequest(
            400, f"a form must hold one file and nothing else ({error.message.rstrip('.')}); send it with curl -F"
        ) from None
    except (KeyError, ValueError, UnicodeError) as error:
        raise WrongRequest(400, f"a form that cannot be read ({type(error).__name__}); send it with curl -F") from None
    try:
        files = [value for _, value in form.multi_items() if not isinstance(value, str)]
        if len(files) != 1:
            raise WrongRequest(400, "a form must hold one file, found none; send it with curl -F image=@FILE")
        return await files[0].read()
    finally:
        await form.close()
