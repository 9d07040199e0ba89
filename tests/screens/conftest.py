"""`pytest tests/screens --record` writes the screens anew; a reviewer reads the difference."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write tests/screens/recorded/ anew")
