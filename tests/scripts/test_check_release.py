"""The check of a release, where it must say no: a wheel that lacks a file, a Python that is not there."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import check_release
import pytest

TRACKED = ["exitsearch/__init__.py", "exitsearch/specs/table.csv"]
BESIDE = ["LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"]


def archives(folder: Path, *, wheel: Sequence[str], sdist: Sequence[str]) -> list[Path]:
    """A wheel and a source archive that hold empty files of these names."""
    empty = folder / "empty"
    empty.touch()
    built = [folder / "exitsearch-0.2.0-py3-none-any.whl", folder / "exitsearch-0.2.0.tar.gz"]
    with zipfile.ZipFile(built[0], "w") as archive:
        for name in wheel:
            archive.write(empty, name)
    with tarfile.open(built[1], "w:gz") as archive:
        for name in sdist:
            archive.add(empty, f"exitsearch-0.2.0/{name}")
    return built


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository in which the tracked files are those of `TRACKED`."""
    clone = tmp_path / "clone"
    for name in TRACKED:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", clone, *command], check=True)
    return clone


def test_a_whole_wheel_passes(tmp_path: Path, clone: Path) -> None:
    metadata = "exitsearch-0.2.0.dist-info/METADATA"
    check_release.check_contents(
        archives(tmp_path, wheel=[*TRACKED, metadata], sdist=[*TRACKED, *BESIDE, "PKG-INFO"]), clone
    )


@pytest.mark.parametrize(
    ("wheel", "sdist", "words"),
    [
        (TRACKED[:1], [*TRACKED, *BESIDE], "the wheel lacks .*table.csv"),
        ([*TRACKED, "tests/conftest.py"], [*TRACKED, *BESIDE], "no part of the package: .*conftest"),
        (TRACKED, [*TRACKED, "README.md"], "archive lacks .*LICENSE"),
        (TRACKED, [TRACKED[0], *BESIDE], "archive lacks .*table.csv"),
    ],
)
def test_what_is_lost_or_strange_is_said(
    tmp_path: Path, clone: Path, wheel: list[str], sdist: list[str], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        check_release.check_contents(archives(tmp_path, wheel=wheel, sdist=sdist), clone)


def test_a_python_that_is_not_there_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: Sequence[str | Path], *, at: Path | None = None) -> str:
        raise subprocess.CalledProcessError(2, [str(part) for part in command], stderr="looking\nno interpreter 9.9\n")

    monkeypatch.setattr(check_release, "run", fails)
    built = archives(tmp_path, wheel=TRACKED, sdist=TRACKED)
    assert check_release.try_python("9.9", tmp_path, built, tmp_path)["fault"] == "no interpreter 9.9"


def test_the_citation_says_what_the_package_says() -> None:
    """cffconvert validates it where a release is checked; here the licence and the name."""
    import tomllib

    import yaml  # comes with huggingface-hub

    said = yaml.safe_load((check_release.ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((check_release.ROOT / "pyproject.toml").read_text())["project"]
    assert (said["cff-version"], said["type"], said["license"]) == ("1.2.0", "software", project["license"])
    assert said["title"].startswith(project["name"])
    assert "version" not in said, "the version is that of the tag"
    assert {"message", "authors", "title", "cff-version"} <= said.keys()
