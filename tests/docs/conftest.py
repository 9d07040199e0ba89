"""The site's own extensions are no package; Sphinx finds them by conf.py, the tests by this."""

from __future__ import annotations

import sys

from pages import DOCS

sys.path.insert(0, str(DOCS / "_ext"))
