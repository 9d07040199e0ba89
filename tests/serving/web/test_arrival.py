"""Every wrong request gets its status and one sentence as JSON; what is at its bound is taken."""

from __future__ import annotations

import asyncio
import struct
import zlib

import numpy as np
import pytest
from asking import ask, counted, with_client
from serving_images import encoded
from starlette.datastructures import Headers
from tiny_bundle import write_tiny_bundle

from exitsearch.serving import create_app
from exitsearch.serving.bounds import Bounds
from exitsearch.serving.faults import WrongRequest
from exitsearch.serving.web.arrival import read_budget

PHOTO = {"Content-Type": "image/jpeg"}
NUMBERS = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def part(headers, content=b"x"):
    return b"--b\r\n" + headers + b"\r\n\r\n" + content + b"\r\n--b--\r\n"


def bomb(side):
    """A PNG of very many pixels in a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(3000))) + chunk(b"IEND", b"")
    )


FILE = b'Content-Disposition: form-data; name="image"; filename="a.png"'
WRONG = {
    "no body": ({"headers": PHOTO}, 400, "found nothing"),
    "no content type": ({"content": b"x"}, 415, "found none"),
    "another content type": ({"content": b"x", "headers": {"Content-Type": "text/html"}}, 415, "found 'text/html'"),
    "a compressed body": ({"content": b"x", "headers": PHOTO | {"Content-Encoding": "gzip"}}, 415, "compressed"),
    "no image": ({"content": b"no image", "headers": PHOTO}, 422, "not an image"),
    "half an image": ({"content": encoded("PNG")[:200], "headers": PHOTO}, 422, "not an image"),
    "a drawing": ({"content": b"<svg/>", "headers": {"Content-Type": "image/svg+xml"}}, 422, "not an image"),
    "a bomb": ({"content": bomb(5000), "headers": PHOTO}, 422, "1 to 1000 pixels, found 5000 x 5000"),
    "a bomb that Pillow refuses": ({"content": bomb(30000), "headers": PHOTO}, 422, "900000000 pixels"),
    "too many pixels": ({"content": encoded("JPEG", (40, 26)), "headers": PHOTO}, 422, "1 to 1000 pixels"),
    "a large body": ({"content": bytes(5001), "headers": PHOTO}, 413, "at most 5000 bytes"),
    "too few numbers": ({"content": bytes(764), "headers": NUMBERS}, 422, "768 bytes, found 764"),
    "no numbers": ({"content": b"\xff" * 768, "headers": NUMBERS}, 422, "finite"),
    "a form without a boundary": (
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "oundary",
    ),
    "a form of nothing": ({"content": b"--b--\r\n", "headers": FORM}, 400, "found none"),
    "a form that is none": ({"content": b"nothing of the kind", "headers": FORM}, 400, "form"),
    "a form of words": (
        {"content": part(b'Content-Disposition: form-data; name="image"'), "headers": FORM},
        400,
        "one file and nothing else",
    ),
    "a form of two files": (
        {"files": [("image", ("a.png", encoded("PNG"))), ("image", ("b.png", encoded("PNG")))]},
        400,
        "one file and nothing else",
    ),
    "a part without a name": ({"content": part(b"Content-Disposition: form-data"), "headers": FORM}, 400, "form"),
    "an empty file": ({"content": part(FILE, b""), "headers": FORM}, 400, "found nothing"),
    "a boundary of another alphabet": (
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=\xff".encode("latin-1")}},
        400,
        "form",
    ),
    "an unknown parameter": ({"params": {"budget": "3"}, "content": b"x", "headers": PHOTO}, 400, "'budget'"),
    "a parameter twice": ({"params": [("confidence", "1")] * 2, "content": b"x", "headers": PHOTO}, 400, "2 times"),
    "outputs of another kind": ({"params": {"outputs": "1"}, "content": b"x", "headers": PHOTO}, 400, "true or false"),
    "a confidence that is none": ({"params": {"confidence": "nan"}, "content": b"x", "headers": PHOTO}, 400, "'nan'"),
    "a confidence above 1": (
        {"params": {"confidence": "2"}, "content": encoded("PNG"), "headers": PHOTO},
        422,
        "confidence must be",
    ),
    "another method": ({"method": "GET"}, 405, "use POST"),
    "a method of nobody": ({"method": "X" * 100}, 405, "use POST"),
    "another path": ({"path": "/predict/x"}, 404, "known: /bundle"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_gets_one_sentence(bundle, name):
    options, status, words = WRONG[name]
    app = create_app(bundle, bounds=Bounds(body_bytes=5000, pixels=1000))
    response = ask(app, **options)
    found = response.json()
    assert (response.status_code, list(found)) == (status, ["error"])
    assert words in found["error"]
    assert "\n" not in found["error"]
    assert len(found["error"]) < 400
    assert counted(app, "wrong_requests_total", status=str(status)) == 1


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "inf", "nan", "+5", "5 ", "0x5", "٥", "1" * 11, "5,5", "5ms"])
def test_a_budget_that_is_none(text):
    headers = Headers(raw=[(b"x-budget-ms", text.encode("utf-8"))])
    with pytest.raises(WrongRequest, match="X-Budget-Ms must be a decimal number above 0"):
        read_budget(headers, default_ms=1.0)


def test_budgets():
    def of(*pairs):
        return read_budget(Headers(raw=list(pairs)), default_ms=50.0)

    own, proxy = b"x-budget-ms", b"x-envoy-expected-rq-timeout-ms"
    assert of() == 50.0
    assert of((own, b"25.5")) == 25.5
    assert of((proxy, b"15000")) == 50.0
    assert of((proxy, b"20")) == 20.0
    assert of((own, b"1000"), (proxy, b"20")) == 20.0
    with pytest.raises(WrongRequest, match="once, found 2"):
        of((own, b"5"), (own, b"6"))


def test_a_slow_body_is_given_up(bundle):
    app = create_app(bundle, bounds=Bounds(body_seconds=0.05))

    async def slowly():
        yield b"x"
        await asyncio.sleep(30)

    async def send(client):
        return await client.post("/predict", content=slowly(), headers=PHOTO)

    response = with_client(app, send)
    assert response.status_code == 408
    assert "within 0.05 s, found 1 bytes" in response.json()["error"]


def test_a_body_in_chunks_is_bounded_too(bundle):
    app, taken = create_app(bundle, bounds=Bounds(body_bytes=100)), []

    async def many():
        for number in range(1000):
            taken.append(number)
            yield bytes(50)

    async def send(client):
        return await client.post("/predict", content=many(), headers=PHOTO)

    assert with_client(app, send).status_code == 413
    assert len(taken) == 3


def test_what_is_at_its_bound_is_taken(bundle):
    image = encoded("PNG", (25, 40))
    app = create_app(bundle, bounds=Bounds(body_bytes=len(image), pixels=1000))
    assert ask(app, content=image, headers=PHOTO).status_code == 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_formats(bundle, kind):
    assert ask(create_app(bundle), files={"image": encoded(kind)}).status_code == 200


def test_a_bundle_without_images_takes_numbers_alone(tmp_path):
    app = create_app(write_tiny_bundle(tmp_path / "bundle", preprocessing=None).path)

    async def both(client):
        image = await client.post("/predict", content=encoded("PNG"), headers=PHOTO)
        numbers = np.zeros((3, 8, 8), dtype="<f4").tobytes()
        return image, await client.post("/predict", content=numbers, headers=NUMBERS)

    image, numbers = with_client(app, both)
    assert (image.status_code, numbers.status_code) == (415, 200)
    assert "float32 [3, 8, 8]" in image.json()["error"]
