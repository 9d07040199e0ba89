"""The page at /docs: the OpenAPI schema as plain HTML that loads nothing (FastAPI's own loads scripts from a CDN)."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
h2 code { background: #eef; padding: .1em .4em }
td, th { text-align: left; vertical-align: top; padding: .1em 1em .1em 0 }
pre { background: #f4f4f4; padding: 1em; overflow: auto }
"""


def docs_page(schema: dict[str, Any]) -> str:
    """A page for people.

    Args:
        schema: OpenAPI's.
    """
    info = schema["info"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>",
        "<p>As a schema for programs: <a href='openapi.json'>openapi.json</a></p>",
    ]
    for path, methods in schema["paths"].items():
        for method, what in methods.items():
            parts.append(_operation(method, path, what))
    for name, form in schema.get("components", {}).get("schemas", {}).items():
        rows = [(key, field.get("description", "")) for key, field in form.get("properties", {}).items()]
        parts.append(f"<h3 id='{escape(name)}'>{escape(name)}</h3>{_rows(rows)}")
    return "".join(parts) + "</body></html>"


def _operation(method: str, path: str, what: dict[str, Any]) -> str:
    parts = [f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(what.get('summary', ''))}</p>"]
    if text := what.get("description"):
        parts.append(f"<pre>{escape(text)}</pre>")
    parts.append(_rows([(f"{p['name']} ({p['in']})", p.get("description", "")) for p in what.get("parameters", [])]))
    content = what.get("requestBody", {}).get("content", {})
    parts.append(_rows([(kind, facts.get("schema", {}).get("description", "")) for kind, facts in content.items()]))
    parts.append(_rows([(status, facts.get("description", "")) for status, facts in what["responses"].items()]))
    return "".join(parts)


def _rows(rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><th><code>{escape(left)}</code></th><td>{escape(right)}</td></tr>" for left, right in rows)
    return f"<table>{cells}</table>"
