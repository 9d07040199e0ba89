"""The page of reproductions: it says what the figures say, and the figures are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reproductions
from reproduce import counts, lgvit, sl_vit, tables
from reproduce.page import differs

from exitsearch.specs.load import load_profile

ROOT = Path(__file__).parents[2]
PAGE, FIGURES = ROOT / "docs" / "reproductions.md", ROOT / "docs" / "reproductions.json"


@pytest.fixture(scope="module")
def figures():
    return json.loads(FIGURES.read_text())


def plain(found):
    """Figures as the file holds them."""
    return json.loads(json.dumps(found))


def test_the_page_is_what_the_figures_say(figures):
    assert PAGE.read_text() == reproductions.page(figures)


def test_counts_are_those_of_the_code(figures):
    assert differs(plain(counts.find()), figures["counts"]) == []


def test_lgvits_figures_are_those_of_the_code_and_of_the_recorded_profile(figures):
    assert differs(plain(lgvit._counts(lgvit.MEASURED)), figures["lgvit"]["counts"][lgvit.MEASURED]) == []
    profile = load_profile(ROOT / lgvit.PROFILE)
    found = lgvit.speeds(profile, figures["lgvit"]["counts"][lgvit.MEASURED], lgvit.PROFILE.name)
    expected = {key: value for key, value in figures["lgvit"].items() if key not in ("counts", "checkpoint")}
    assert differs(plain(found), expected) == []
    assert differs(plain(lgvit._checkpoint(figures["lgvit"]["counts"])), figures["lgvit"]["checkpoint"]) == []


def test_sl_vits_figures_are_those_of_the_code(figures):
    assert differs(plain(sl_vit._model("inception_v3")), figures["sl_vit"]["inception_v3"]) == []


def test_every_case_is_there_and_some_are_solved_again(figures):
    found = figures["tables"]
    known = tables.profiles(ROOT / "profiles")
    assert list(found["profiles"]) == list(known)
    asked = [(case["data"], case["profile"], case["policy"], case["family"]) for case in found["cases"]]
    assert asked == [(d, p, q, f) for d in tables.DATA for p in known for q in tables.POLICIES for f in tables.FAMILIES]
    some = [asked.index(case) for case in asked if case[1:] in (
        ("published:mevit-gmacs", "interruptible", "mixture of points"),
        ("vit_base_patch16_384__cpu__fp32__bs1__eager", "contract", "trace"),
    )]  # fmt: skip
    again = tables.find(ROOT / "profiles", only=[asked[position] for position in some])
    assert len(some) == 4
    assert differs(plain(again["cases"]), [found["cases"][position] for position in some]) == []
    assert differs(plain({**again, "cases": 0}), {**found, "cases": 0}) == []


def test_all_published_totals_are_explained(figures):
    """To the last operation, and the package's table is what the notebook holds."""
    totals = figures["counts"]["totals"]
    assert len(totals) == 77
    assert all(row["recounted_flops"] == row["published_flops"] for row in totals)
    assert all(row["recounted_macs"] == row["macs"] for row in totals)
    assert all(row["table_agrees"] for row in totals)
    assert all(row["params"] == row["table"] for row in figures["counts"]["params"])


def test_no_rule_of_thumb_beats_a_proved_optimum(figures):
    for case in figures["tables"]["cases"]:
        assert case["proved"]
        others = [case["best_rule"], case["greedy"], case["best_single"]]
        assert case["value"] >= max(case["backbone_alone"], *(other["value"] for other in others)) - 1e-12
        assert all(loss is None or loss >= 0 for loss in case["loss"].values())
        # What is never chosen may be left out; what is worth something is chosen.
        assert all(case["worth"][head] < 1e-9 for head in tables.HEADS if head not in case["used"])
        # An exit that must stand costs no more than to have nothing else.
        assert all(loss is None or loss <= case["alone"][head] + 1e-12 for head, loss in case["loss"].items())


def test_the_independent_solver_agrees(figures):
    anchor = figures["tables"]["anchor"]
    assert {name: round(value, 4) for name, value in anchor["found"].items()} == anchor["expected"]


def test_check_says_what_is_no_longer_true(figures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproductions, "PARTS", {"counts": reproductions.PARTS["counts"]})
    page, kept = tmp_path / "page.md", tmp_path / "page.json"
    page.write_text(reproductions.page(figures))
    kept.write_text(json.dumps(figures))
    argv = ["--check", "--out", str(page)]
    assert reproductions.main(argv) == 0
    assert capsys.readouterr().out == f"{page} and its figures are those of the code\n"
    figures = plain(figures)
    figures["counts"]["heads"][0]["params"] += 1
    kept.write_text(json.dumps(figures))
    page.write_text(page.read_text().replace("266,762", "266,763"))
    assert reproductions.main(argv) == 1
    assert capsys.readouterr().out.splitlines() == [
        "counts.heads[0].params: 266762, expected 266763",
        f"{page} is not what the figures say; run python scripts/reproductions.py",
    ]


def test_one_part_is_computed_and_the_others_kept(call, figures, tmp_path, monkeypatch):
    """The other part's figures are those of the file, whatever the code would find."""
    monkeypatch.setattr(
        reproductions,
        "PARTS",
        {
            "one": (lambda: {"found": 2}, lambda found: [f"one {found['found']}"]),
            "other": (lambda: pytest.fail("not asked for"), lambda found: [f"other {found['found']}"]),
        },
    )
    (tmp_path / "figures.json").write_text(json.dumps({"one": {"found": 1}, "other": {"found": 7}}))
    page = tmp_path / "page.md"
    called = call("reproductions", "--only", "one", "--out", page)
    assert called.status == 0
    assert called.figures == {"one": {"found": 2}, "other": {"found": 7}}
    assert page.read_text().endswith("one 2\nother 7\n")


def test_measuring_writes_the_profile_that_the_page_speaks_of(figures, tmp_path, monkeypatch):
    """Of the eight heads at their places, with 100 outputs on one thread; times are those of the recorded profile."""
    recorded = load_profile(ROOT / lgvit.PROFILE)
    asked = {}

    def made(model, measuring, *, exits, watch):
        asked.update(model=model, measuring=measuring, exits=exits)
        return recorded

    monkeypatch.setattr(reproductions, "make_profile", made)
    monkeypatch.setattr(reproductions, "ROOT", tmp_path)
    monkeypatch.setitem(reproductions.PARTS, "lgvit", (lambda: figures["lgvit"], reproductions.PARTS["lgvit"][1]))
    kept = tmp_path / "page.json"
    kept.write_text(json.dumps(figures))
    argv = ["--measure", "--max-seconds", "7", "--only", "lgvit", "--out", str(tmp_path / "page.md")]
    assert reproductions.main(argv) == 0
    assert load_profile(tmp_path / lgvit.PROFILE).identity == recorded.identity
    assert (asked["model"].name, asked["model"].num_outputs) == (lgvit.MEASURED, lgvit.OUTPUTS)
    assert (asked["measuring"].threads, asked["measuring"].max_seconds) == (1, 7.0)
    assert [cost.head for cost in recorded.heads] == [head for _, head in asked["exits"]]
    assert reproductions.main([*argv[:-4], "--only", "counts", *argv[-2:]]) == 2


@pytest.mark.parametrize(
    ("argv", "content", "message"),
    [
        (["--only", "count"], None, "unknown part 'count'; known: counts, tables, lgvit, sl_vit"),
        (["--only", "counts"], None, "{json}: no such file; check its name"),
        (["--only", "counts"], "{}", "{json}: holds no figures of tables; run the script without --only"),
        (
            ["--measure", "--check"],
            "{}",
            "--measure writes a profile and --check writes nothing; leave one of both out",
        ),
        (
            ["--measure", "--only", "counts"],
            "{}",
            "--measure times LGViT's heads; name lgvit with --only, or all parts",
        ),
        (["--check"], "[", "{json}: not the figures of reproductions.py; run it without --only and --check"),
    ],
)
def test_wrong_input_is_one_sentence(argv, content, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(reproductions.PARTS, "counts", (lambda: {}, counts.text))
    kept = tmp_path / "page.json"
    if content:
        kept.write_text(content)
    assert reproductions.main([*argv, "--out", str(tmp_path / "page.md")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "reproductions: " + message.format(json=kept)
    assert not (tmp_path / "page.md").exists()
