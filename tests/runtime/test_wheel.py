"""The second wheel: built from the folder, installed where there is nothing else, and run there.

It makes an environment and downloads onnxruntime, so it runs where it is asked for: EXITSEARCH_TEST_WHEEL=1, as .ci/run
does once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
WHOLE, SOURCE = ROOT / "pyproject.toml", ROOT / "packaging" / "runtime"
asked = pytest.mark.skipif(os.environ.get("EXITSEARCH_TEST_WHEEL") != "1", reason="EXITSEARCH_TEST_WHEEL=1 asks for it")

PROGRAM = """
import json, sys, time
begin = time.perf_counter()
from exitsearch_runtime import MissingError, load_bundle
seconds = time.perf_counter() - begin
import numpy as np
session = load_bundle(sys.argv[1])
x = np.load(sys.argv[2])
answer = session.predict(x, budget_ms=10_000)
try:
    session.predict(np.zeros((8, 8, 3), dtype=np.uint8))
    image = ""
except MissingError as error:
    image = str(error)
from importlib.metadata import distributions
print(json.dumps({
    "seconds": seconds, "outputs": answer.outputs.tolist(), "image": image,
    "packages": sorted(found.name for found in distributions()),
    "foreign": [name for name in ("torch", "exitsearch", "pydantic", "PIL") if name in sys.modules],
}))
"""


def test_both_packages_have_one_version_and_the_link_is_the_folder():
    mine = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    whole = tomllib.loads(WHOLE.read_text())["project"]
    assert "version" in mine["dynamic"]
    assert "version" in whole["dynamic"]
    tags = [tomllib.loads(file.read_text())["tool"]["setuptools_scm"] for file in (WHOLE, SOURCE / "pyproject.toml")]
    assert tags[1] == tags[0] | {"root": "../.."}
    assert mine["requires-python"] == whole["requires-python"]
    assert {text.split(">=")[0] for text in mine["dependencies"]} == {"numpy", "onnxruntime"}
    assert (SOURCE / "exitsearch_runtime").resolve() == ROOT / "exitsearch" / "runtime"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel and what it needs, and the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(SOURCE)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("exitsearch_runtime-*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return python, wheel


@asked
def test_the_wheel_holds_the_source_and_no_more(installed):
    _, wheel = installed
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("exitsearch_runtime-")}
    room = ROOT / "exitsearch" / "runtime"
    files = {path.relative_to(room).as_posix() for path in room.rglob("*") if path.suffix == ".py"} | {"py.typed"}
    assert names == {f"exitsearch_runtime/{name}" for name in files}


@asked
def test_it_answers_where_there_is_nothing_else(installed, tmp_path):
    """With the environment's own packages alone: neither this folder nor what is installed here is looked at."""
    python, _ = installed
    bundle = write_tiny_bundle(tmp_path / "bundle")
    x = np.random.default_rng(0).standard_normal((3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    result = subprocess.run(
        [python, "-I", "-c", PROGRAM, bundle.path, tmp_path / "x.npy"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    np.testing.assert_allclose(found["outputs"], bundle.outputs(x[None], 2)[0], atol=1e-5)
    assert found["foreign"] == []
    assert not {"torch", "exitsearch", "pydantic", "pillow", "onnx"} & set(found["packages"])
    assert "pip install pillow" in found["image"]
    assert result.stderr == ""
    print(found["seconds"], found["packages"])
