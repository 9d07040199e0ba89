"""The page of a search whose numbers are known by hand (`rendering.toy_result`)."""

from __future__ import annotations

import numpy as np
import pytest
from reading import ReadPage, searched
from rendering import sentences, toy_outcomes, toy_profile, toy_result

from exitsearch.report.html.search import backbone, candidates, over_budget, summary
from exitsearch.report.html.search.report import search_page, write_plots, write_report
from exitsearch.report.terminal import choice

SECTIONS = ("Accuracy over budget", "The chosen exits", "Every candidate", "Were it otherwise", "Do it again")


def toy(folder, *, profile=None, **asked):
    result = toy_result(folder, **asked)
    return searched(result, profile or toy_profile(), toy_outcomes(folder / "outcomes"), out="out")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return {
        "interruptible": toy(folder / "i", trials=12),
        "contract": toy(folder / "c", policy="contract"),
        "confidence": toy(folder / "k", policy="confidence"),
        "front": toy(folder / "f", objectives=("value", "params", "time")),
    }


def page_of(one, folder, **more):
    return ReadPage(write_report(one, folder / "report.html", **more).read_text())


@pytest.mark.parametrize("name", ["interruptible", "contract", "confidence", "front"])
def test_what_every_page_holds(found, name, tmp_path):
    one = found[name]
    page = page_of(one, tmp_path)
    assert [key for key in page.charts if key not in page.figures] == []
    assert len(page.charts) == len(set(page.charts)) == len(page.figures)
    assert {"over_budget", "backbone", "value", "cost", "gain_alone", "gain_here"} <= set(page.charts)
    text = page.said
    assert all(title in text for title in SECTIONS)
    for line in choice.lines(one.result):
        assert sentences(line) in text
    assert one.result.config.profile["identity"] in text
    assert one.result.config.outcomes["identity"] in text
    assert "exitsearch search --profile" in text


def test_the_first_sentence(found):
    """0.48 is 0.3 above the backbone's 0.18; the best rule is head a at both placements, which is the choice."""
    said = summary.sentence(found["interruptible"])
    assert said == (
        "2 exits (a at 0, a at 1) for budgets uniform:0,10 ms: expected accuracy 0.4800, 0.3800 held out; equal to the "
        "best rule of thumb (a at every placement), 0.3000 above the backbone alone. Proved: no choice is worth more."
    )


def test_the_numbers_at_the_top(found):
    told = {fact.title: (fact.number, fact.state) for fact in summary.facts(found["interruptible"])}
    assert told["Expected accuracy"] == ("0.4800", "choice")
    assert told["Over the backbone alone"] == ("+0.3000", "good")
    assert told["Over the best rule of thumb"] == ("+0.0000", "plain")
    assert told["Regret"][0] == "0"
    assert told["The profile's verdict"] == ("ok", "good")
    # Both heads at 3 ms: no answer below, 3 of 10.
    assert told["No answer in time"][0] == "30.0%"


def test_tables_by_hand(found, tmp_path):
    page = page_of(found["interruptible"], tmp_path)
    assert page.tables["What each further exit buys"] == [
        ["at most exits", "best expected value", "more than with one less"],
        ["0", "0.1800", ""], ["1", "0.4500", "+0.2700"], ["2", "0.4800", "+0.0300"],
    ]  # fmt: skip
    assert [row[1:5] for row in page.tables["The choice"][1:3]] == [
        ["blocks.0", "a", "1", "3"],
        ["blocks.1", "a", "1", "7"],
    ]
    rows = {row[0]: row[1:5] for row in page.tables["Beside the baselines"]}
    assert rows["exitsearch (the choice)"] == ["2", "0.4800", "0.0000", "0.3800"]
    assert rows["backbone alone"] == ["0", "0.1800", "0.3000", "0.1600"]
    cells = {(row[0], row[1]): row[2:8] for row in page.tables["Every candidate"]}
    # Alone: 0.6 from 3 and 0.9 from 9 ms, 0.6 * 0.7 + 0.3 * 0.1 = 0.45. Without it: 0.8 * 0.4 + 0.1 * 0.1 = 0.33.
    assert cells["0", "a"] == ["0.6000", "0.5000", "1", "3", "+0.2700", "+0.1500"]
    # b instead: 0.7 from 4, 0.8 from 8, 0.9 from 11 ms: 0.7 * 0.6 + 0.1 * 0.2 = 0.44.
    assert cells["0", "b(k=2)"][5] == "-0.0400"


def test_curves_by_hand(found):
    """Without noise: 0.6 from 3, 0.8 from 7, 0.9 from 10 ms. Known budgets: from 3, 6 and 8 ms.

    The first six of ten samples are answered by the first exit, eight by the second, nine by the last: the oracle has
    as many. On the report split 0.5, 0.6 and 0.8.
    """
    lines = {line.name: line for line in over_budget.figure(found["interruptible"]).drawn.lines}

    def at(name, ms):
        x = np.array(lines[name].x)
        return lines[name].y[int(np.flatnonzero(x <= ms)[-1])]

    assert [at("the choice", ms) for ms in (2.9, 3, 6.9, 7)] == pytest.approx([0, 0.6, 0.6, 0.8])
    known = "contract bound: the same exits, budget known"
    assert [at(known, ms) for ms in (3, 5.9, 6.1, 8.1)] == pytest.approx([0.6, 0.6, 0.8, 0.9])
    assert [at("oracle exit (a bound)", ms) for ms in (3, 7)] == pytest.approx([0.6, 0.8])
    assert [at("the choice, held out", ms) for ms in (2.9, 3, 7)] == pytest.approx([0, 0.5, 0.6])
    assert [at("backbone alone", ms) for ms in (7.9, 8.1)] == pytest.approx([0, 0.9])
    # The second exit at b waits for nothing under a known budget: the best of all exits has 0.7 from 4 ms.
    assert at("the best of all exits, budget known", 4.1) == pytest.approx(0.7)
    for name in (known, "oracle exit (a bound)"):
        assert all(np.array(lines[name].y) >= np.array(lines["the choice"].y) - 1e-12)


def test_operating_points_are_steps(found, tmp_path):
    one = found["confidence"]
    points = one.result.config.confidence.points
    (line, interrupted, *_) = over_budget.figure(one).drawn.lines
    assert (line.name, interrupted.name) == ("the choice, by confidence", "the choice, interrupted")
    x, y = np.array(line.x), np.array(line.y)
    for point in points:
        assert y[np.flatnonzero(x == point.budget_ms)[0]] == point.value
    assert y[0] == 0
    page = page_of(one, tmp_path)
    assert len(page.tables["Operating points"]) == len(points) + 1
    assert "What each further exit buys" not in page.said


def test_the_bar_is_to_scale(found):
    """Segments of 2, 3 and 3 ms; heads of 1 ms after the first two: answers at 3, 7 and 10 ms."""
    alone, chosen = backbone.figure(found["interruptible"]).drawn.bars
    assert [(span.start, span.end) for span in alone.spans] == [(0, 2), (2, 5), (5, 8)]
    assert [(span.start, span.end, span.role) for span in chosen.spans] == [
        (0, 2, "choice"), (2, 3, "first"), (3, 6, "choice"), (6, 7, "first"), (7, 10, "choice")
    ]  # fmt: skip
    assert [(flag.at, flag.text) for flag in chosen.flags] == [(3, "a 0.600"), (7, "a 0.800"), (10, "final 0.900")]
    assert [flag.at for flag in alone.flags] == [8]


def test_under_a_known_budget_every_exit_has_its_bar(found):
    one = found["contract"]
    _, *bars = backbone.figure(one).drawn.bars
    ends = [bar.spans[-1].end for bar in bars]
    assert ends == pytest.approx([row.arrives_ms for row in one.result.rows[:-1]])
    assert [bar.flags[0].at for bar in bars] == ends


def test_what_the_next_part_takes_longer_counts_with_the_head(tmp_path):
    profile = toy_profile().model_copy(
        update={"segments": [s.model_copy(update={"resume_ms": 0.5 * s.placement}) for s in toy_profile().segments]}
    )
    import exitsearch

    outcomes = toy_outcomes(tmp_path / "outcomes")
    result = exitsearch.search(profile, outcomes, budget="uniform:0,10", trials=0)
    chosen = backbone.figure(searched(result, profile, outcomes)).drawn.bars[1]
    assert [flag.at for flag in chosen.flags] == pytest.approx([row.arrives_ms for row in result.rows])
    assert chosen.spans[1].end == pytest.approx(3.5)


def test_untrained_candidates_have_a_cost_and_no_value(found):
    one = found["interruptible"]
    heads = [cost.model_copy(update={"head": "c", "placement": 1, "latency_ms": 4.0}) for cost in one.profile.heads[:1]]
    profile = one.profile.model_copy(update={"heads": [*one.profile.heads, *heads]})
    from exitsearch.search.run import search_request
    from exitsearch.specs.question.request import SearchRequest

    request = SearchRequest.asked(budget="uniform:0,10")
    result = search_request(profile, one.outcomes, request, trials=0, untrained=[(1, "c")])
    section = candidates.section(searched(result, profile, one.outcomes))
    maps = {figure.key: figure.drawn for figure in section.figures}
    assert "c" in maps["cost"].rows
    assert "c" not in maps["value"].rows
    row = next(row for row in section.tables[0].rows if row[1] == "c")
    assert (row[2], row[-1]) == (None, "not trained")
    assert "1 of them are not trained" in " ".join(section.text)


def test_the_front_has_a_figure_an_objective(found, tmp_path):
    page = page_of(found["front"], tmp_path)
    assert {"front_params", "front_time"} <= set(page.charts)
    rows = found["front"].result.front.rows
    assert [row[1] for row in page.tables["The front"][1:]] == [f"{row.amounts['value']:.4f}" for row in rows]


def test_the_history_is_that_of_the_study(found, tmp_path):
    page = page_of(found["interruptible"], tmp_path)
    study = found["interruptible"].result.study
    assert [trial.number for trial in study.history] == list(range(12))
    assert study.history[0].is_given
    assert not any(trial.is_given for trial in study.history[1:])
    assert study.history[0].value == pytest.approx(0.48)
    trials, best = page.figures["history"]["data"][:2]
    assert trials["x"] == list(range(1, 12))
    assert trials["y"] == pytest.approx([trial.value for trial in study.history[1:]])
    assert best["y"] == pytest.approx(np.maximum.accumulate(trials["y"]).tolist())


def test_other_worlds(found, tmp_path):
    page = page_of(found["interruptible"], tmp_path)
    rows = page.tables["Were it otherwise"]
    assert len(rows) == 9
    assert rows[1][1:] == ["0.4800", "0.4800", "0.0000", "2"]
    assert "not to be had under the policy confidence" in page_of(found["confidence"], tmp_path).said


def test_notes_and_lines_of_the_caller(tmp_path):
    one = toy(tmp_path / "n", budget="uniform:20,30")
    assert one.result.notes
    page = page_of(one, tmp_path, lines=["Setting: fp32."])
    assert all(note in page.said for note in one.result.notes)
    assert page.said.index("Setting: fp32.") < page.said.index("A budget is the time allowed")


def test_names_of_the_user_are_text(tmp_path):
    strange = '<script>alert("1")</script> & <b>bold</b>'
    result = toy_result(tmp_path, source=strange)
    page = page_of(searched(result, toy_profile(), toy_outcomes(tmp_path / "outcomes", source=strange)), tmp_path)
    assert page.tags.count("script") == 3
    assert "b" not in page.tags
    assert strange in page.said


def test_pictures_of_every_figure(found, tmp_path):
    one = found["interruptible"]
    written = write_plots(one, tmp_path / "plots")
    keys = [figure.key for figure in search_page(one).figures]
    assert [path.name for path in written] == [f"{key}.{ending}" for key in keys for ending in ("png", "svg")]
    assert all(path.stat().st_size > 2000 for path in written)
