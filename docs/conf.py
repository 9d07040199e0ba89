"""How the documentation is built: `sphinx-build -W -b html docs docs/_build`.

Nothing that a page shows comes from a network: the theme brings its own styles and scripts, formulas are MathML
(`_ext/mathml.py`), and the fonts are the reader's own.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import exitsearch  # noqa: E402

project = "exitsearch"
author = "the exitsearch authors"
project_copyright = f"2026, {author}"
version = release = exitsearch.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_line",
    "documents",
    "mathml",
    "public",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
nitpicky = False  # annotations name types of torch and numpy, whose own pages are elsewhere

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"  # a single backtick in a docstring
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "exitsearch"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = True
copybutton_prompt_text = "$ "
