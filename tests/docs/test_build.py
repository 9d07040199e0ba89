"""The site is built without a warning, and asks no network for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import mathml
import pages
import pytest
from docutils import nodes

# What a browser fetches by itself; a link is fetched by a person.
_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed)\b[^>]*\ssrc=["'](?P<src>[^"']+)"""
    r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|preload|icon|shortcut icon|modulepreload)["'])"""
    r"""[^>]*\shref=["'](?P<href>[^"']+)"""
)
_STYLES = re.compile(r"(?:@import\s+|url\()\s*[\"']?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.environ.get("EXITSEARCH_TEST_DOCS"):
        pytest.skip("builds the site; set EXITSEARCH_TEST_DOCS=1 to run it")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(pages.DOCS), str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(pages.ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_there(site: Path) -> None:
    for page in pages.DOCS.glob("*.md"):
        assert (site / f"{page.stem}.html").exists()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for file in site.rglob("*.html"):
        loaded = [found["src"] or found["href"] for found in _LOADS.finditer(file.read_text())]
        assert loaded, "every page has a style sheet"
        assert not [target for target in loaded if target.startswith(("http:", "https:", "//"))], file
    for file in site.rglob("*.css"):
        assert not _STYLES.search(file.read_text()), file


def test_formulas_are_mathml(site: Path) -> None:
    text = (site / "formulas.html").read_text()
    assert text.count("<math") > 50
    # MyST marks pages with a class for MathJax; what counts is that no script of it is loaded.
    assert not [found for found in _LOADS.finditer(text) if "mathjax" in found[0].lower()]


def test_keys_options_and_functions_are_there(site: Path) -> None:
    assert "price_of_not_knowing" in (site / "files.html").read_text()
    assert "--budget-dist" in (site / "commands.html").read_text()
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text())
    assert "exitsearch.search(" in text
    assert "exitsearch.pipeline" not in text.split("Results")[0]


def test_a_formula_that_cannot_be_translated_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert mathml.translated(nodes.math(text="x^2"), block=False).startswith("<math")
    assert "<code>" in mathml.translated(nodes.math(text=r"\nosuchcommand"), block=True)
