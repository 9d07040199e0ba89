"""The page of file formats holds every key of every document, with an explanation."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Annotated

import documents
import pages
import pytest
from pydantic import Field

import exitsearch
from exitsearch.specs.document import Document, Part


def all_documents() -> list[type[Document]]:
    """Every document of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(exitsearch.__path__, "exitsearch."):
        source = Path(*module.name.split("."))
        file = pages.ROOT / (source / "__init__.py" if module.ispkg else source.with_suffix(".py"))
        if re.search(r"^class \w+\(.*Document\b", file.read_text(), re.MULTILINE):
            importlib.import_module(module.name)
    found, left = [], [Document]
    while left:
        children = left.pop().__subclasses__()
        found += [child for child in children if "kind" in vars(child)]  # the others are never written under their name
        left += children
    return sorted((each for each in found if each.__module__.startswith("exitsearch.")), key=lambda each: each.__name__)


DOCUMENTS = all_documents()


def test_every_document_is_on_the_page() -> None:
    named = re.findall(r"^```{document} (\S+)$", (pages.DOCS / "files.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(f"{each.__module__}.{each.__name__}" for each in DOCUMENTS)
    assert len(named) > 6


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.__name__)
def test_every_key_is_explained(document: type[Document]) -> None:
    lacking = [
        f"{part.__module__}.{part.__name__}.{key}"
        for part in documents.parts(document)
        for key in part.model_fields
        if not documents.explanations(part).get(key)
    ]
    assert not lacking, "write them under Attributes: in the docstring of the class"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.__name__)
def test_every_key_is_written_with_its_type(document: type[Document]) -> None:
    text = documents.markdown(document)
    for part in documents.parts(document):
        for key in part.model_fields:
            assert f"\n`{key}`\n: " in text
    assert "anything or" not in text


def test_no_docstring_speaks_of_a_key_that_is_not_there() -> None:
    """A key that was renamed or removed is not explained any longer; properties may be."""
    stale = [
        f"{part.__name__}.{key}"
        for document in DOCUMENTS
        for part in documents.parts(document)
        for key in documents.explanations(part)
        if not hasattr(part, key) and key not in part.model_fields
    ]
    assert not stale


class Inner(Part):
    """A part.

    Attributes:
        ms: a time, in
            milliseconds.
    """

    ms: Annotated[float, Field(ge=0)]


class Outer(Inner):
    """A whole.

    It has a second paragraph.

    Attributes:
        inner: by name.
        mode: how.
        pair: two numbers.
        share: of it.
        more: whatever else.
    """

    inner: dict[str, Inner]
    mode: tuple[str, ...] = ("a",)
    pair: tuple[int, float] | None = None
    share: Annotated[float, Field(gt=0, le=1e6)] = 1
    more: Inner = Inner(ms=1)


def test_a_small_document_in_full() -> None:
    assert documents.markdown(Outer).splitlines() == [
        "(outer-outer)=",
        "### Outer",
        "",
        "A whole.",
        "",
        "It has a second paragraph.",
        "",
        "`ms`",
        ": number ≥ 0. A time, in milliseconds.",
        "",
        "`inner`",
        ": table, by name: [Inner](#outer-inner). By name.",
        "",
        "`mode`",
        ': list of text; `["a"]` where left out. How.',
        "",
        "`pair`",
        ": list of 2: whole number, number or null; may be left out. Two numbers.",
        "",
        "`share`",
        ": number > 0, ≤ 1000000; `1` where left out. Of it.",
        "",
        "`more`",
        ": [Inner](#outer-inner); may be left out: each of its keys at its own default. Whatever else.",
        "",
        "(outer-inner)=",
        "### Inner",
        "",
        "A part.",
        "",
        "`ms`",
        ": number ≥ 0. A time, in milliseconds.",
    ]
