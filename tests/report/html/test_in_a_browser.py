"""A report in a real browser; skipped, saying why, where there is none. `scripts/check_report.py` does the large."""

from __future__ import annotations

import check_report
import pytest
from reading import searched
from rendering import toy_outcomes, toy_profile, toy_result

from exitsearch.errors import UnavailableError
from exitsearch.report.html.search.report import write_report


@pytest.fixture(scope="module")
def opened():
    try:
        check_report.chromium()
    except UnavailableError as error:
        pytest.skip(str(error))
    with check_report.browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    strange = "</script><b>&amp; 'a' %{x}"
    result = toy_result(folder, trials=8, source=strange, objectives=("value", "params"))
    outcomes = toy_outcomes(folder / "outcomes", source=strange)
    return write_report(searched(result, toy_profile(), outcomes), folder / "report.html")


def test_a_report_is_as_it_must_be(opened, report):
    found = check_report.check(opened, report)
    assert found.faults == []
    assert found.told == []
    assert found.charts >= 8
    assert found.tables >= 5
    assert found.rules > 100


def test_faults_are_found(opened, report, tmp_path):
    """What is broken on purpose is told: the check can fail."""
    text = report.read_text()
    broken = {
        "asked for https://example.invalid/": text.replace("<footer>", '<img alt="" src="https://example.invalid/"><footer>'),
        "console": text.replace('"use strict";', '"use strict"; console.error("x");'),
        "sideways": text.replace("<footer>", '<p style="width: 3000px; max-width: none">wide</p><footer>'),
        "axe": text.replace("<footer>", '<img src="data:,"><footer>'),
        "not drawn": text.replace('data-figure="value"', 'data-figure="value" hidden'),
    }  # fmt: skip
    for what, page in broken.items():
        assert page != text
        file = tmp_path / "broken.html"
        file.write_text(page)
        assert any(what in fault for fault in check_report.check(opened, file, views=[("light", 400)]).faults), what
