"""The README's first figure, from a recorded profile."""

from __future__ import annotations

from pathlib import Path

import readme_figure

PROFILES = Path(__file__).parents[2] / "profiles"
(RECORDED,) = PROFILES.glob("*/vit_base_patch16_384__cpu__fp32__bs1__eager.json")


def test_table_figure_and_picture(call, tmp_path):
    picture = tmp_path / "new" / "figure.png"
    called = call("readme_figure", RECORDED, "--out", picture)
    assert called.status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    by_macs, measured = called.figures["tables"].values()
    for table in (by_macs, measured):
        alone, single, rule, greedy, ours = table.values()
        # A proved optimum is beaten by nothing, and early exits are worth something.
        assert "exitsearch (proved optimum)" in table
        assert 1 > ours >= max(alone, single, rule, greedy)
        assert ours > alone + 0.01
        assert single > alone
    assert called.figures["full_ms"] > 1
    heading, line, *rows = called.out.splitlines()[:7]
    assert heading.count("|") == line.count("|") == 4
    assert [row.split(" | ")[1:] for row in rows] == [
        [f"{one:.4f}", f"{other:.4f} |"] for one, other in zip(by_macs.values(), measured.values(), strict=True)
    ]
    assert f"full model {called.figures['full_ms']:.1f} ms; verdict: " in called.out


def test_rows_that_have_two_names_show_both():
    text = readme_figure.markdown({"a": {"alone": 0.5, "rule x": 0.6}, "b": {"alone": 0.25, "rule y": 0.75}})
    assert text.splitlines()[2:] == ["| alone | 0.5000 | 0.2500 |", "| rule x / rule y | 0.6000 | 0.7500 |"]


def test_a_missing_profile_is_one_sentence(capsys, tmp_path):
    assert readme_figure.main([str(tmp_path / "none.json"), "--out", str(tmp_path / "figure.png")]) == 2
    assert capsys.readouterr().err == f"readme_figure: {tmp_path / 'none.json'}: no such file; check its name\n"
    assert list(tmp_path.iterdir()) == []
