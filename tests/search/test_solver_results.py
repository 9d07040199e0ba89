"""Results that were written down before the solvers were last changed in form alone; see solver_results.py."""

from __future__ import annotations

import json
from typing import Any

from solver_results import RESULTS, environment, results


def told_apart(before: Any, now: Any, *, slack: float) -> bool:
    """Whether two results differ in more than rounding; numbers are written in hexadecimal digits."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() != now.keys() or any(told_apart(before[k], now[k], slack=slack) for k in before)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) != len(now) or any(told_apart(a, b, slack=slack) for a, b in zip(before, now, strict=True))
    if slack and isinstance(before, str) and before.lstrip("-").startswith("0x"):
        return abs(float.fromhex(before) - float.fromhex(now)) > slack
    return bool(before != now)


def test_300_problems_have_the_results_of_before() -> None:
    """To the last digit where they were written down; elsewhere a sum may be rounded otherwise."""
    written = json.loads(RESULTS.read_text())
    found = dict(results())
    assert len(found) == 300
    assert found.keys() == written["results"].keys()
    slack = 0.0 if written["environment"] == environment() else 1e-12
    assert {n: r for n, r in found.items() if told_apart(written["results"][n], r, slack=slack)} == {}


def test_the_problems_are_of_all_kinds() -> None:
    written = json.loads(RESULTS.read_text())["results"]
    assert 5 < sum("error" in result for result in written.values()) < 60
    assert sum(result.get("excess", {}) != {} for result in written.values()) > 80
    assert sum(float.fromhex(result["regret"]) > 1e-6 for result in written.values() if "regret" in result) > 60
