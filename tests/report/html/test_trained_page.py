"""The page of a trained model: every exit predicted and trained, and accuracy over budget."""

from __future__ import annotations

import pytest
from reading import ReadPage
from rendering import toy_outcomes, toy_profile, toy_result

from exitsearch.learn.trained import OUTCOMES_FOLDER
from exitsearch.pipeline.trained.after import after_training
from exitsearch.pipeline.trained.curves import over_budget
from exitsearch.report.html.trained import trained_page, write_trained, write_trained_plots
from exitsearch.report.html.trained_curves import over_budget_figure


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """What was trained is worth what was predicted: the outcomes are the same."""
    folder = tmp_path_factory.mktemp("trained")
    config = toy_result(folder / "search").config
    toy_outcomes(folder / "model" / OUTCOMES_FOLDER)
    return after_training(config, folder / "model", profile=toy_profile())


def test_every_exit_predicted_and_trained(after, tmp_path):
    read = ReadPage(write_trained(after, over_budget(after), tmp_path / "t.html").read_text())
    rows = read.tables["Accuracy of every exit on the report split"]
    assert rows[1:] == [
        ["0:a", "3", "0.5000", "0.5000", "+0.0000", "40.0%"],
        ["1:a", "7", "0.6000", "0.6000", "+0.0000", "30.0%"],
        ["final", "10", "0.8000", "0.8000", "+0.0000", "0.0%"],
    ]
    assert "The trained exits are worth 0.4800, 0.3800 held out" in read.said
    assert "the search predicted 0.4800 (+0.0000)" in read.said
    assert set(read.charts) == {"trained_exits", "accuracy_over_budget"}
    worth = read.tables["Expected value under uniform:0,10 ms, interruptible"]
    assert [row[1:3] for row in worth[1:3]] == [["0.4800", "0.3800"]] * 2


def test_the_curves_of_the_chart(after):
    """On the report split 0.5 from 3, 0.6 from 7 and 0.8 from 10 ms; the backbone alone 0.8 from 8 ms."""
    found = over_budget(after)
    lines = {line.name: line for line in over_budget_figure(found).drawn.lines}
    model, alone = lines["multi-exit model"], lines["backbone alone"]
    assert list(zip(model.x, model.y, strict=True))[:3] == [(3.0, 0.5), (7.0, 0.6), (10.0, 0.8)]
    assert (alone.x[0], alone.y[0]) == (8.0, 0.8)
    assert {model.join, alone.join} == {"step"}
    assert lines["oracle exit (a bound)"].dash == "dash"
    # Every curve goes on to the right end.
    assert len({line.x[-1] for line in lines.values()}) == 1


def test_scores_alone_have_no_curves(after):
    page = trained_page(after, None)
    assert [section.key for section in page.sections] == ["exits", "worth"]


def test_its_pictures(after, tmp_path):
    written = write_trained_plots(after, over_budget(after), tmp_path)
    assert sorted({path.stem for path in written}) == ["accuracy_over_budget", "trained_exits"]
