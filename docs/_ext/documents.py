"""The directive `{document} MODULE.CLASS`: every key of a document, read from its pydantic model.

Types, ranges and defaults are those that a file is checked against; the explanation of a key is the line on it under
`Attributes:` in the docstring of its class, or of the class that it inherits from.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
_RANGES = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_DEFAULTS: tuple[object, ...] = (None, "", [], {})
_ATTRIBUTE = re.compile(r"^\.\. attribute:: ([\w, ]+)\n((?:\n|   .*\n)*)", re.MULTILINE)


def explanations(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model and of its bases say of its keys, in one line each."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel and "__doc__" in vars(cls):
            text = str(GoogleDocstring(inspect.cleandoc(cls.__doc__ or ""), what="class"))
            for match in _ATTRIBUTE.finditer(text + "\n"):
                found |= dict.fromkeys(match[1].split(", "), " ".join(match[2].split()))
    return found


def parts(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and every model within it, each once, in the order in which keys lead to them."""
    found = [model]
    for cls in found:
        for field in cls.model_fields.values():
            found += [part for part in _models(field.annotation) if part not in found]
    return found


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def type_in_words(schema: dict[str, Any], anchors: dict[str, str]) -> str:
    """A JSON schema in words, parts as links.

    Args:
        anchors: of each part's heading, by its name.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchors[name]})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_in_words(option, anchors) for option in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        kinds = dict.fromkeys(type_in_words(item, anchors) for item in schema["prefixItems"])
        return f"list of {len(schema['prefixItems'])}: {', '.join(kinds)}"
    if kind == "array":
        return f"list of {type_in_words(schema.get('items', {}), anchors)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"table, by name: {type_in_words(inner, anchors)}" if isinstance(inner, dict) else "table"
    bounds = ", ".join(f"{sign} {float(schema[name]):.15g}" for name, sign in _RANGES.items() if name in schema)
    return f"{_TYPES.get(kind or '', 'anything')} {bounds}".rstrip()


def default_in_words(schema: dict[str, Any]) -> str:
    """What a key is where it is left out."""
    default = schema.get("default")
    if any(type(default) is type(nothing) and default == nothing for nothing in _DEFAULTS):
        return "may be left out"
    if isinstance(default, dict):
        return "may be left out: each of its keys at its own default"
    return f"`{json.dumps(default)}` where left out"


def anchor(document: type[BaseModel], part: type[BaseModel]) -> str:
    """The anchor of a part's heading; parts that several documents share stand under each."""
    return f"{document.__name__}-{part.__name__}".lower()


def markdown(document: type[BaseModel]) -> str:
    """A document and its parts, as Markdown."""
    schema = document.model_json_schema()
    schemas = {document.__name__: schema, **schema.get("$defs", {})}
    anchors = {part.__name__: anchor(document, part) for part in parts(document)}
    lines = []
    for part in parts(document):
        said = explanations(part)
        intro = inspect.cleandoc(part.__doc__ or "").split("\n\nAttributes:")[0]
        lines += [f"({anchors[part.__name__]})=", f"### {part.__name__}", "", intro, ""]
        mine = schemas[part.__name__]
        for key, rule in mine["properties"].items():
            if key not in said:
                logger.warning("the key %s of %s has no explanation in its docstring", key, part.__name__)
            needed = "" if key in mine.get("required", []) else f"; {default_in_words(rule)}"
            lines += [f"`{key}`", f": {type_in_words(rule, anchors)}{needed}. {_sentence(said.get(key, ''))}", ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


class DocumentKeys(SphinxDirective):
    """Written into the page where it stands."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of one document."""
        module, _, name = self.arguments[0].rpartition(".")
        document = getattr(importlib.import_module(module), name)
        self.env.note_dependency(str(inspect.getfile(document)))
        return self.parse_text_to_nodes(markdown(document), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("document", DocumentKeys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
