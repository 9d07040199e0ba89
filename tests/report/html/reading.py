"""A page as a browser takes it, without one: text, tables, data, and everything that it refers to."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from exitsearch.report.html.search.searched import Searched
from exitsearch.search.sensitivity import sensitivity

# What a browser loads by itself, or runs.
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class ReadPage(HTMLParser):
    """What stands in a page.

    Attributes:
        references: everything that it names to be loaded or gone to.
        tables: by their captions, heading first.
        figures: Plotly's data and layouts, by key.
    """

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.references, self.text, self.policies = [], [], [], [], []
        self.tables, self.figures, self.charts, self.labels = {}, {}, [], []
        self._title, self._rows, self._script = "", [], None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.references += [value for name, value in attributes if name in LOADING]
        assert not [name for name in found if name.startswith("on")]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(found["content"])
        if "data-figure" in found:
            self.charts.append(found["data-figure"])
            self.labels.append(found["aria-label"])
        self._script = found.get("id") if tag == "script" else None
        if tag == "table":
            self._title, self._rows = "", []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        raise AssertionError(f"<{tag}/> is no HTML")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            assert self._title not in self.tables
            self.tables[self._title] = self._rows

    def handle_data(self, data):
        inside = set(self.open)
        if "script" in inside:
            if self._script == "figures":
                self.figures = json.loads(data)
        elif "style" in inside:
            assert "url(" not in data
            assert "@import" not in data
        elif "caption" in inside:
            self._title += data
        elif inside & {"td", "th"}:
            self._rows[-1][-1] += data
        else:
            self.text.append(data)

    @property
    def said(self):
        """All text outside tables, in one line."""
        return " ".join(" ".join(self.text).split())


def searched(result, profile, outcomes, **more):
    """What a command hands to the report."""
    worlds = sensitivity(result.problem, result.choice) if result.problem.policy != "confidence" else ()
    return Searched(result, profile, outcomes, **{"worlds": worlds, **more})
