"""Whether a release could go out: built, checked, installed afresh and run on every Python that is at hand.

    python scripts/check_release.py [--pythons 3.11,3.12,3.13] [--keep FOLDER] [--json FILE]

In a clone of the last commit: `python -m build` of both packages, `twine check --strict`, CITATION.cff validated; then
for each Python an environment of its own with the wheel (`uv`, hard links), in which the command line and a search of a
published table are run, and a second one with the wheel of the runtime alone, in which a bundle answers. Needs `uv`
(extra `dev`), which also finds or fetches the Pythons. The first run downloads torch; 5 to 15 minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import figures

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")

# The published optimum that README and docs quote; a wheel that lacks a table or a number differs here.
SEARCH = [
    "search",
    *("--profile", "published:mevit-gmacs", "--outcomes", "published:mevit-cifar100"),
    *("--budget-dist", "uniform:10,80", "--trials", "20", "--json"),
]
# What only a wheel can lack: files that are no Python.
DATA = """
from importlib import resources
for name in ("py.typed", "specs/published/README.md", "models/weights"):
    assert resources.files("exitsearch").joinpath(name).exists() or name.endswith(".md"), name
import exitsearch
model = exitsearch.create_backbone("vit_digits_patch1_8")
import torch
assert model.module(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
print(exitsearch.__version__)
"""
ANSWER = """
import sys
import numpy as np
from exitsearch_runtime import load_bundle
session = load_bundle(sys.argv[1])
print(session.predict(np.zeros(session.manifest.input_size, dtype=np.float32), budget_ms=1000.0).exit)
"""


@dataclass
class Found:
    """What was found.

    Attributes:
        version: of the wheels.
        built: their files and those of the source archives, with their bytes.
        pythons: by version: what its environments printed, or why there is none.
    """

    version: str = ""
    built: dict[str, int] = field(default_factory=dict)
    pythons: dict[str, dict[str, str]] = field(default_factory=dict)


def work(options: argparse.Namespace) -> int:
    """Run all of it; returns 0 where everything holds."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="exitsearch-release-") as name:
        folder = Path(name)
        built = build(folder, found)
        validate_citation(folder / "clone")
        bundle = tiny_bundle(folder)
        for python in options.pythons:
            found.pythons[python] = try_python(python, folder, built, bundle)
            say(f"Python {python}: {found.pythons[python]}")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for file in built:
                shutil.copy2(file, options.keep)
    figures.write(options, asdict(found))
    faults = [python for python, said in found.pythons.items() if "fault" in said]
    say(f"version {found.version}: " + (f"faults on {', '.join(faults)}" if faults else "everything holds"))
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument(
        "--pythons", type=figures.names, default=PYTHONS, help="versions or paths of interpreters, with commas"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for what was built")
    return figures.run(work, parser=parser, argv=argv)


def build(work: Path, found: Found) -> list[Path]:
    """Source archives and wheels of both packages, built in a clone and checked."""
    clone, dist = work / "clone", work / "dist"
    run(["git", "clone", "--quiet", ROOT, clone])
    for source in (clone, clone / "packaging" / "runtime"):
        run([*uvx("build"), "pyproject-build", "--outdir", dist, source])
    files = sorted(dist.iterdir())
    run([*uvx("twine"), "twine", "check", "--strict", *files])
    versions = {file.name.removesuffix(".tar.gz").split("-")[1] for file in files}
    assert len(files) == 4, f"two wheels and two source archives are built, found {[file.name for file in files]}"
    assert len(versions) == 1, f"both packages have one version, found {sorted(versions)}"
    (found.version,) = versions
    found.built = {file.name: file.stat().st_size for file in files}
    check_contents(files, clone)
    say(f"built {', '.join(f'{name} ({size / 1e6:.1f} MB)' for name, size in found.built.items())}")
    return files


def check_contents(files: Sequence[Path], clone: Path) -> None:
    """Whether a wheel holds every file of the package, and a source archive what git holds."""
    tracked = run(["git", "-C", clone, "ls-files", "exitsearch"]).split()
    wheel = next(file for file in files if file.name.startswith("exitsearch-") and file.suffix == ".whl")
    with zipfile.ZipFile(wheel) as archive:
        lost = sorted(set(tracked) - set(archive.namelist()))
        strange = [name for name in archive.namelist() if not name.startswith("exitsearch")]
    assert not lost, f"the wheel lacks {lost}; name them under package-data in pyproject.toml"
    assert not strange, f"the wheel holds what is no part of the package: {strange}"
    sdist = next(file for file in files if file.name.startswith("exitsearch-") and file.name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    absent = sorted({"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", *tracked} - held)
    assert not absent, f"the source archive lacks {absent}"


def validate_citation(clone: Path) -> None:
    """CITATION.cff against the schema of its format."""
    run([*uvx("cffconvert"), "cffconvert", "--validate", "-i", clone / "CITATION.cff"])
    say("CITATION.cff is valid")


def tiny_bundle(work: Path) -> Path:
    """A bundle of the test suite, to be answered from by the runtime alone."""
    folder = work / "bundle"
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\nfrom pathlib import Path\n"
    run(
        [
            sys.executable,
            "-c",
            program + f"from tiny_bundle import write_tiny_bundle\nwrite_tiny_bundle(Path({str(folder)!r}))",
        ]
    )
    return folder


def try_python(python: str, work: Path, built: Sequence[Path], bundle: Path) -> dict[str, str]:
    """Both wheels on one Python, each in an environment of its own, which is removed again."""
    began = time.monotonic()
    said: dict[str, str] = {}
    try:
        for package in ("exitsearch", "exitsearch_runtime"):
            env = work / f"env-{package}"
            wheel = next(file for file in built if file.name.startswith(f"{package}-") and file.suffix == ".whl")
            run(["uv", "venv", "--quiet", "--clear", "--python", python, env])
            said["python"] = run([env / "bin" / "python", "--version"]).split()[1]
            run(["uv", "pip", "install", "--quiet", "--python", env / "bin" / "python", wheel])
            said |= in_whole(env) if package == "exitsearch" else in_runtime(env, bundle)
            shutil.rmtree(env)
    except subprocess.CalledProcessError as error:
        said["fault"] = ((error.stderr or error.stdout or str(error)).strip().splitlines() or [str(error)])[-1]
    except AssertionError as error:
        said["fault"] = str(error)
    said["seconds"] = f"{time.monotonic() - began:.0f}"
    return said


def in_whole(env: Path) -> dict[str, str]:
    """The command line from the wheel, in a folder that holds nothing of ours."""
    command = env / "bin" / "exitsearch"
    with tempfile.TemporaryDirectory() as elsewhere:
        run([command, "--help"], at=elsewhere)
        run([command, "env"], at=elsewhere)
        version = run([env / "bin" / "python", "-c", DATA], at=elsewhere).strip()
        result = json.loads(run([command, *SEARCH], at=elsewhere))
    assert result["exact"], "the published search has a proved optimum"
    return {"version": version, "published search": f"{result['value']:.4f}, regret {result['regret']:g}"}


def in_runtime(env: Path, bundle: Path) -> dict[str, str]:
    """The wheel of the runtime alone: numpy, onnxruntime and nothing of torch."""
    with tempfile.TemporaryDirectory() as elsewhere:
        answer = run([env / "bin" / "python", "-c", ANSWER, bundle], at=elsewhere).strip()
    return {"runtime": f"answered at exit {answer}"}


def uvx(package: str) -> list[str]:
    """A tool in an environment of its own, which uv keeps."""
    return ["uv", "tool", "run", "--quiet", "--from", package]


def run(command: Sequence[str | Path], *, at: Path | str | None = None) -> str:
    """What a command prints.

    Raises:
        CalledProcessError: it failed.
    """
    return subprocess.run([str(part) for part in command], cwd=at, check=True, capture_output=True, text=True).stdout


def say(words: str) -> None:
    """Tell what was done."""
    print(words, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} failed:\n{error.stdout}\n{error.stderr}")
