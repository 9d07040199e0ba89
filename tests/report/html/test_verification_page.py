"""The page of a verification: predicted and observed side by side, and which of them decides."""

from __future__ import annotations

import pytest
from reading import ReadPage

from exitsearch.report.html.verification import verification_page, write_verification, write_verification_plots
from exitsearch.specs.verification import Verification

EXITS = [("0:linear", 0.25, 0.30, 1.0, 1.5), ("final", 0.70, 0.60, 4.0, 4.5)]


def use(name, share, median, p99):
    return {"exit": name, "share": share, "median_ms": median, "p90_ms": p99, "p99_ms": p99}


def phase(name, *, decides=False, within=True, late=None, struck=None):
    return {
        "name": name,
        "policy": "interruptible",
        "load": 0,
        "correction": True,
        "decides": decides,
        "predicted": {
            "value": 0.9,
            "distribution_value": 0.9,
            "no_answer": 0.05,
            "exits": [use(n, share, ms, ms + 1) for n, share, _, ms, _ in EXITS],
        },
        "observed": {
            "requests": 200,
            "value": 0.85,
            "interval": [0.8, 0.9],
            "no_answer": 0.1,
            "refused": 0.02,
            "late": late,
            "struck": struck,
            "exits": [use(n, share, ms, ms + 2) for n, _, share, _, ms in EXITS],
        },
        "allowed": [0.86, 0.94],
        "within": within,
        "state": {"load_average": 0.5},
    }


@pytest.fixture
def verification():
    return Verification.model_validate(
        {
            "schema_version": 1,
            "created": "2026-01-01T00:00:00+00:00",
            "bundle": "a </script> bundle",
            "bundle_identity": "abc",
            "cpu": "a processor",
            "budget": "uniform:0.4586701216995756,4.5",
            "data": "digits",
            "samples": 50,
            "values_observed": True,
            "seconds": 12.0,
            "quantile": 0.99,
            "seed": 3,
            "phases": [
                phase(
                    "quiet, interrupted",
                    decides=True,
                    within=False,
                    struck={"share": 0.1, "median_ms": 0.5, "worst_ms": 2.0},
                ),
                phase("load, deadlines", late={"share": 0.0}),
            ],
            "sentences": ["the observed value has left the interval"],
            "within": False,
        }
    )


def test_the_first_sentence_is_of_the_phase_that_decides(verification):
    page = verification_page(verification)
    assert page.sentence == (
        "Observed 0.8500, predicted 0.9000: the observed value has left the prediction's interval 0.8600 to 0.9400 "
        "(quiet, interrupted, 200 requests)."
    )
    states = {fact.title: (fact.number, fact.state) for fact in page.facts}
    assert states["Observed"] == ("0.8500", "bad")
    assert states["Requests"][0] == "400"
    kept = verification.model_copy(update={"within": True})
    assert {fact.title: fact.state for fact in verification_page(kept).facts}["Observed"] == "good"


def test_predicted_beside_observed(verification, tmp_path):
    read = ReadPage(write_verification(verification, tmp_path / "v.html").read_text())
    rows = read.tables["Expected value, predicted and observed"]
    assert rows[1] == ["quiet, interrupted", "200", "0.9000", "0.8600", "0.9400", "0.8500", "0.8000", "0.9000", "no"]
    exits = read.tables["Exits, predicted and observed: quiet, interrupted"]
    assert exits[1] == ["0:linear", "25.0%", "30.0%", "1", "1.5", "2", "3.5", "2", "3.5"]
    late = read.tables["Answers of each phase"]
    assert late[1] == ["quiet, interrupted", "5.0%", "10.0%", "2.0%", "", "10.0%", "0.5", "2"]
    assert late[2][4:6] == ["0.00%", ""]
    predicted, observed = read.figures["verified_values"]["data"]
    assert (predicted["x"], observed["x"]) == ([0.9, 0.9], [0.85, 0.85])
    assert predicted["error_x"]["array"][0] == pytest.approx(0.04)
    assert {"shares_quiet_interrupted", "times_quiet_interrupted"} <= set(read.charts)
    # Under load the exits are not told: no figure of theirs.
    assert not [key for key in read.charts if "load" in key]
    assert "the observed value has left the interval" in read.said
    assert "uniform:0.4587,4.5 ms" in read.said
    # A command needs every digit.
    assert "--budget-dist uniform:0.4586701216995756,4.5" in read.said
    assert "'a </script> bundle'" in read.said


def test_its_pictures(verification, tmp_path):
    written = write_verification_plots(verification, tmp_path)
    keys = [figure.key for figure in verification_page(verification).figures]
    assert [path.name for path in written] == [f"{key}.{ending}" for key in keys for ending in ("png", "svg")]
