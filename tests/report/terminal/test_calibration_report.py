"""Calibration, dropped heads and probes as tables and as plain data."""

from __future__ import annotations

import json

import pytest
from rendering import WIDTHS, columns, sentences, shown, toy_outcomes

from exitsearch.learn.probe import Probe
from exitsearch.pipeline.probe import Probes
from exitsearch.report.terminal import outcomes as report
from exitsearch.report.terminal.calibration import calibration_rows, calibration_table
from exitsearch.report.terminal.probes import probes_summary, probes_table
from exitsearch.specs.answers.calibration import Calibration
from exitsearch.specs.outcomes import DroppedHead


@pytest.fixture
def outcomes(tmp_path):
    """The toy's first head and its final exit, calibrated; the others from before that was known."""
    toy = toy_outcomes(tmp_path / "outcomes")
    first = Calibration(
        temperature=1.25,
        ece={"choice": 0.01, "report": 0.02},
        raw_ece={"choice": 0.11, "report": 0.12},
        auroc={"choice": 0.8, "report": 0.9},
    )
    last = first.model_copy(update={"auroc": {"choice": 0.8, "report": None}})
    heads = [toy.heads[0].model_copy(update={"calibration": first}), *toy.heads[1:]]
    final = toy.final.model_copy(update={"calibration": last})
    dropped = [DroppedHead(placement=1, head="b(k=2)", reason="its loss became nan in epoch 2, step 5")]
    return toy.model_copy(update={"heads": heads, "final": final, "dropped": dropped})


@pytest.mark.parametrize("width", WIDTHS)
def test_every_exit_has_a_row(outcomes, width):
    text = shown(calibration_table(outcomes), width=width)
    assert sentences(text).startswith("confidence of every exit over toy: temperature fitted on choice; expected")
    assert columns(text) == {
        "exit": "0afinal",
        "temperature": "1.2501.250",
        "ECEat1": "0.12000.1200",
        "ECE": "0.02000.0200",
        "AUROC": "0.9000",
    }


def test_plain_data_holds_it_too(outcomes):
    summary = json.loads(json.dumps(report.outcomes_summary(outcomes)))
    assert [(row["placement"], row["head"]) for row in summary["calibration"]] == [(0, "a"), (None, "final")]
    assert summary["calibration"][0]["ece"] == {"choice": 0.01, "report": 0.02}
    assert summary["dropped"] == [
        {"placement": 1, "head": "b(k=2)", "reason": "its loss became nan in epoch 2, step 5"}
    ]


def test_outcomes_of_old_have_none(tmp_path):
    toy = toy_outcomes(tmp_path / "outcomes")
    assert calibration_rows(toy) == []
    assert not {"calibration", "dropped"} & report.outcomes_summary(toy).keys()


PROBES = Probes(
    backbone="toy",
    data="digits",
    metric="accuracy",
    method="lda",
    samples=10,
    scores=[Probe(0, "blocks.0", 0.5), Probe(1, "blocks.1", 0.75), Probe(None, "", 1.0)],
)


@pytest.mark.parametrize("width", WIDTHS)
def test_probes_are_shown(width):
    text = shown(probes_table(PROBES), width=width)
    assert sentences(text).startswith("accuracy of a closed-form linear probe (lda) of every placement of toy on the")
    assert columns(text) == {
        "placement": "01final",
        "module": "blocks.0blocks.1",
        "accuracy": "0.50000.75001.0000",
    }


def test_probes_as_plain_data():
    found = json.loads(json.dumps(probes_summary(PROBES)))
    assert found["probes"][-1] == {"placement": None, "module": "", "score": 1.0}
    assert (found["method"], found["split"], found["samples"]) == ("lda", "choice", 10)
