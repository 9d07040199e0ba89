"""Formulas as MathML, which every browser draws by itself: no script, no font and no network.

docutils translates LaTeX; what it cannot translate is a warning, and so an error of the build.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def translated(node: nodes.Element, *, block: bool) -> str:
    """MathML of a formula; its LaTeX, with a warning, where it cannot be translated."""
    text = node.astext().strip()
    try:
        return str(latex2mathml.tex2mathml(text, as_block=block))
    except MathError as error:
        logger.warning("a formula cannot be written as MathML: %s: %s", error, text, location=node)
        return f"<code>{text}</code>"


def inline(translator: Any, node: nodes.math) -> None:
    """A formula within a line."""
    translator.body.append(translated(node, block=False))
    raise nodes.SkipNode


def displayed(translator: Any, node: nodes.math_block) -> None:
    """A formula on a line of its own, which scrolls where the page is narrow."""
    translator.body.append(f'<div class="math" style="overflow-x: auto">{translated(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer to `html_math_renderer`."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
