"""Mutated bundles and requests, drawn by a seed: what `fuzz_bundle.py` loads and asks."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image
from tiny_bundle import MANIFEST, write_manifest

# What a value is replaced with: other types, bounds and beyond, names that lead elsewhere.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**400, -0.0, 0.5, 1e308, -1e308, "", "x", "..", "../secret.bin",
    "/etc/passwd", "a/b", "a\\b", "\0", "\ud800", "é" * 300, "x" * 100_000, [], [None], [[]], {}, {"x": {}}, [1] * 5000,
    "softmax", "patience", "onnx", "openvino", "features_0", "segment_0.onnx", "bundle.json", "float16", "regression",
)  # fmt: skip


def _places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document but the outermost."""
    below = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    places = []
    for key, value in below:
        places += [(*path, key), *_places(value, (*path, key))]
    return places


def _picked(rng: Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _flip(rng: Generator, content: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(data))))
        action = int(rng.integers(6))
        if action <= 2 and data:
            data[at % len(data)] = int(rng.integers(256))
        elif action == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif action == 4:
            data[at:at] = data[at : at + int(rng.integers(1, 33))] or b"\xff" * 4
        else:
            del data[at + 1 :]
    return bytes(data)


def _graphs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".onnx")


def _document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return found


def _altered_file(rng: Generator, folder: Path) -> str:
    """A file altered behind the manifest's back."""
    name = _picked(rng, sorted(path.name for path in folder.iterdir()))
    (folder / name).write_bytes(_flip(rng, (folder / name).read_bytes()))
    return f"altered {name}"


def _altered_value(rng: Generator, folder: Path) -> str:
    """One to three values of the manifest replaced, taken out, or put in."""
    document = _document(folder)
    done = []
    for _ in range(int(rng.integers(1, 4))):
        path = _picked(rng, _places(document))
        place = document
        for key in path[:-1]:
            place = place[key]
        action = int(rng.integers(4))
        if action == 0:
            del place[path[-1]]
        elif action == 1 and isinstance(place, dict):
            place[str(_picked(rng, HOSTILE))[:50]] = _picked(rng, HOSTILE)
        else:
            place[path[-1]] = _picked(rng, HOSTILE)
        done.append(".".join(map(str, path)))
        if not document:
            break
    (folder / MANIFEST).write_text(json.dumps(document))
    return f"manifest: {', '.join(done)}"


def _hostile_graph(rng: Generator, folder: Path) -> str:
    """A graph altered by somebody who writes checksums that agree."""
    name = _picked(rng, _graphs(folder))
    (folder / name).write_bytes(_flip(rng, (folder / name).read_bytes()))
    write_manifest(folder, _document(folder))
    return f"graph {name} with a checksum that agrees"


def _hostile_weights(rng: Generator, folder: Path) -> str:
    """The same of the weights, or of what graphs say about them."""
    if rng.integers(2):
        path = folder / "weights.safetensors"
        path.write_bytes(_flip(rng, path.read_bytes()))
        what = "weights"
    else:
        path = folder / _picked(rng, _graphs(folder))
        names = (b"../secret.bin00000", b"/tmp/x/secret.bin0", b"weights.safetensor", b"bundle.json\0\0\0\0\0\0\0")
        path.write_bytes(path.read_bytes().replace(b"weights.safetensors", _picked(rng, names) + b"s"))
        what = f"location in {path.name}"
    write_manifest(folder, _document(folder))
    return f"{what} with a checksum that agrees"


def _swapped_graphs(rng: Generator, folder: Path) -> str:
    names = _graphs(folder)
    one, other = _picked(rng, names), _picked(rng, names)
    first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
    (folder / one).write_bytes(second)
    (folder / other).write_bytes(first)
    write_manifest(folder, _document(folder))
    return f"{one} and {other} swapped"


def _altered_folder(rng: Generator, folder: Path) -> str:
    """Files taken out, put in, or replaced by links, folders and pipes."""
    name = _picked(rng, sorted(path.name for path in folder.iterdir()))
    path, action = folder / name, int(rng.integers(6))
    if action == 0:
        path.unlink()
    elif action == 1:
        (folder / f"{name}.py").write_text("raise SystemExit(3)")
    else:
        path.unlink()
        if action == 2:
            path.symlink_to(folder.parent / "secret.bin")
        elif action == 3:
            path.mkdir()
        elif action == 4:
            os.mkfifo(path)
        else:
            path.symlink_to(folder)
    return f"folder: {('gone', 'one more', 'link', 'folder', 'pipe', 'loop')[action]} at {name}"


BUNDLES: tuple[Callable[[Generator, Path], str], ...] = (
    _altered_file, _altered_value, _altered_value, _hostile_graph, _hostile_graph, _hostile_weights, _swapped_graphs,
    _altered_folder,
)  # fmt: skip


def mutate_bundle(rng: Generator, original: Path, folder: Path) -> str:
    """Copy a bundle and alter it; says how.

    Args:
        original: stays as it is.
        folder: is put in place of what stands there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    return _picked(rng, BUNDLES)(rng, folder)  # type: ignore[no-any-return]


_SHAPES = ((3, 8, 8), (1, 3, 8, 8), (5, 3, 8, 8), (0, 3, 8, 8), (3, 8), (), (1,), (8, 8, 3), (3, 8, 9), (2, 3, 8, 8, 1))
_TYPES = ("f4", "f8", "f2", "i4", "i8", "u1", "u2", "?", "O", "c8", "U3", "M8[s]", "V4")
_EXTREMES = (0.0, np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 65504.0)
_NUMBERS: tuple[Any, ...] = (
    1.0,
    5.0,
    1e-9,
    0,
    -1,
    np.nan,
    np.inf,
    10**400,
    True,
    None,
    "25",
    [],
    1e9,
    1e10,
    np.float32(2),
    1j,
    np.complex64(1),
)


def _array(rng: Generator) -> Any:
    shape = _picked(rng, _SHAPES)
    found = rng.standard_normal(shape) * _picked(rng, (1.0, 1e3, 1e30))
    if rng.integers(2) and found.size:
        found = np.where(rng.random(shape) < 0.1, _picked(rng, _EXTREMES), found)
    with np.errstate(all="ignore"):
        kind = _picked(rng, _TYPES)
        try:
            found = np.asarray(found).astype(kind)
        except (TypeError, ValueError):
            found = np.zeros(shape, dtype=kind)
    return found[..., ::-1] if rng.integers(3) == 0 and found.ndim else found


_KINDS = (
    ("RGB", "PNG"), ("L", "JPEG"), ("RGBA", "WEBP"), ("P", "GIF"), ("RGB", "TIFF"), ("1", "BMP"), ("L", "PPM"),
    ("I;16", "PNG"), ("LA", "PNG"), ("RGB", "JPEG"),
)  # fmt: skip


def _plain(rng: Generator) -> Any:
    """An input as it should be."""
    found = rng.standard_normal((3, 8, 8)).astype(_picked(rng, ("f4", "f4", "f8", "f2")))
    return found[None] if rng.integers(2) else found


def _image(rng: Generator) -> Any:
    """An image of any mode and format, mostly with bytes altered; or pixels."""
    size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    mode, kind = _picked(rng, _KINDS)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    written = io.BytesIO()
    image.save(written, kind)
    content = written.getvalue()
    return io.BytesIO(_flip(rng, content) if rng.integers(4) else content)


def _stranger(rng: Generator) -> Any:
    return _picked(rng, (None, 3, "absent.png", "", "\0", Path("/"), [], {}, object(), io.BytesIO(), b"bytes", [[1.0]]))


def draw_request(rng: Generator) -> tuple[str, Any, dict[str, Any]]:
    """The method of a session, its input and its options."""
    x = _picked(rng, (_plain, _plain, _plain, _array, _image, _image, _stranger))(rng)
    method = _picked(rng, ("predict", "predict", "predict_batch", "start"))
    if method == "predict_batch" and rng.integers(2):
        x = [x] * int(rng.integers(0, 4))
    options: dict[str, Any] = {}
    if method != "start":
        for name in ("budget_ms", "confidence", "mean_budget_ms"):
            if rng.integers(4) == 0:
                options[name] = _picked(rng, _NUMBERS) if rng.integers(3) == 0 else float(rng.uniform(0.01, 1.5))
    if rng.integers(8) == 0:
        options["arrived"] = _picked(rng, _NUMBERS)
    return method, x, options
