"""A look into an ONNX graph before any other parser sees it: which files it names, and what could open others.

The wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) needs no library: a message is a
row of fields, each a number, a wire type and a payload. Followed are the fields that can hold a tensor or a node, by
their numbers in onnx.proto; all else is stepped over. A field that stands there twice is looked at twice, since parsers
merge them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .fields import FieldError

# Field numbers of onnx.proto that lead from a message to a tensor or a node: message to {number: message}.
_WAYS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_NODE_OPERATOR = 4
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Operators that read a file or run code of their own when the session is made.
_FORBIDDEN = {b"EPContext", b"PyOp", b"PythonOp"}
# Protocol buffers' own limit of nested messages.
_DEEPEST = 100
# A larger graph is read as long as nothing else; real ones without their weights are below 10 MB.
_LARGEST = 2**31 - 1
# ONNX Runtime tells its own format, which is none of protocol buffers, by these bytes at this place.
_ORT_MARK, _ORT_PLACE = b"ORTM", 4


@dataclass(frozen=True)
class ExternalData:
    """Where a tensor's numbers lie.

    Attributes:
        location: a file's name.
        offset: of the first byte.
        length: bytes; None: up to the end of the file.
    """

    location: str
    offset: int = 0
    length: int | None = None


@dataclass
class _Found:
    external: list[ExternalData] = field(default_factory=list)
    operators: set[bytes] = field(default_factory=set)


def external_data(graph: bytes | memoryview) -> list[ExternalData]:
    """Every place outside the graph that its tensors name.

    Raises:
        FieldError: the bytes are no ONNX graph, or it holds an operator that reads files.
    """
    view = memoryview(graph)
    if len(view) > _LARGEST:
        raise FieldError(f"an ONNX graph has at most {_LARGEST} bytes, found {len(view)}")
    if bytes(view[_ORT_PLACE : _ORT_PLACE + len(_ORT_MARK)]) == _ORT_MARK:
        raise FieldError("must be an ONNX graph, found ONNX Runtime's own format")
    found = _Found()
    if not any(number == 7 for number, _ in _fields(view)):
        raise FieldError("must be an ONNX graph, found bytes without a graph in them")
    _walk(view, "model", found, depth=0)
    if forbidden := found.operators & _FORBIDDEN:
        raise FieldError(f"operators that read files or run code are refused, found {sorted(forbidden)[0].decode()}")
    return found.external


def _walk(message: memoryview, kind: str, found: _Found, *, depth: int) -> None:
    if depth > _DEEPEST:
        raise FieldError(f"an ONNX graph is nested at most {_DEEPEST} deep, found more")
    entries: list[tuple[bytes, bytes]] = []
    for number, payload in _fields(message):
        if kind == "node" and number == _NODE_OPERATOR:
            found.operators.add(bytes(payload))
        below = _WAYS[kind].get(number)
        if below == "entry":
            entries.append(_entry(payload))
        elif below is not None:
            _walk(payload, below, found, depth=depth + 1)
    if entries:
        found.external.append(_external(entries))


def _entry(message: memoryview) -> tuple[bytes, bytes]:
    key, value = b"", b""
    for number, payload in _fields(message):
        if number == _ENTRY_KEY:
            key = bytes(payload)
        elif number == _ENTRY_VALUE:
            value = bytes(payload)
    return key, value


def _external(entries: list[tuple[bytes, bytes]]) -> ExternalData:
    """One tensor's entries, each key at most once: of two, parsers may take either."""
    given: dict[bytes, bytes] = {}
    for key, value in entries:
        if key in given or key not in (b"location", b"offset", b"length", b"checksum"):
            raise FieldError(f"external data has a location, an offset and a length, each once, found {key[:40]!r}")
        given[key] = value
    if b"location" not in given:
        raise FieldError("external data must name its location, found none")
    try:
        location = given[b"location"].decode("ascii")
    except UnicodeDecodeError:
        raise FieldError(f"a location must be the name of a file, found {given[b'location'][:40]!r}") from None
    length = _whole(given, b"length")
    return ExternalData(location, _whole(given, b"offset") or 0, length)


def _whole(given: dict[bytes, bytes], key: bytes) -> int | None:
    if key not in given:
        return None
    if not given[key].isdigit() or len(given[key]) > 18:
        raise FieldError(f"external data's {key.decode()} must be a whole number from 0, found {given[key][:40]!r}")
    return int(given[key])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and payload of every field; the payload is empty where it is a number."""
    at, end = 0, len(message)
    nothing = message[:0]
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise FieldError("not an ONNX graph that can be read: a field without a number")
        payload = nothing
        if wire == _VARINT:
            _, at = _varint(message, at)
        elif wire == _BYTES:
            length, at = _varint(message, at)
            payload = message[at : at + length]
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise FieldError(f"not an ONNX graph that can be read: a field of wire type {wire}")
        if at > end:
            raise FieldError("not an ONNX graph that can be read: it ends within a field")
        yield number, payload


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number of 7 bits a byte, lowest first, and where it ends."""
    value = 0
    for place in range(10):
        if at >= len(message):
            raise FieldError("not an ONNX graph that can be read: it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise FieldError("not an ONNX graph that can be read: a number of more than 10 bytes")
