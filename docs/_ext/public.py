"""The directive `{public}`: the functions of `exitsearch` under the names by which users call them.

They live in modules of their own and are loaded when first used, so autodoc is told where each is; what it prints is
the public name.
"""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import exitsearch


class Public(SphinxDirective):
    """Written into the page where it stands."""

    def run(self) -> list[nodes.Node]:
        """The nodes of every public name, in alphabetic order."""
        found: list[nodes.Node] = []
        for name in exitsearch.__all__:
            home = exitsearch.public(name)
            text = f".. autofunction:: {home.__module__}.{home.__qualname__}"
            inside = nodes.section()
            inside.document = self.state.document
            lines = StringList(["```{eval-rst}", text, "```"], source=self.env.docname)
            self.state.nested_parse(lines, 0, inside)
            for signature in inside.findall(lambda node: node.tagname == "desc_addname"):
                signature.clear()
                signature += nodes.Text("exitsearch.")
            found += inside.children
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("public", Public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
