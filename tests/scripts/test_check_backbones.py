"""One family of timm, cut and compared; and a family that differs."""

from __future__ import annotations

import check_backbones


def test_smallest(call):
    called = call("check_backbones", "--family", "levit")
    assert called.status == 0
    (row,) = called.figures["modules"]
    assert (row["family"], row["model"], row["level"], row["equal"]) == ("levit", "levit_128s", "block", True)
    assert row["placements"] == 9
    assert row["seconds"] > 0
    assert (called.figures["equal"], called.figures["block_level"]) == (1, 1)
    assert "1 modules: 1 equal bit for bit, 1 of them at block level" in called.out


def test_one_that_differs_or_cannot_be_cut_fails(call, monkeypatch):
    row = {"model": "m", "placements": 4, "level": "stage", "equal": True, "reason": "", "carried": 1, "seconds": 0.1}
    rows = {
        "levit": row,
        "vgg": {**row, "equal": False},
        "volo": {**row, "level": None, "equal": None, "reason": "no way to cut it"},
    }
    monkeypatch.setattr(check_backbones, "check", lambda family, **_: {"family": family, **rows[family]})
    called = call("check_backbones", "--family", *rows)
    assert called.status == 1
    assert (called.figures["equal"], called.figures["block_level"]) == (1, 0)
    _, levit, vgg, volo, reason, total = called.out.splitlines()
    assert [line.split()[4] for line in (levit, vgg, volo)] == ["yes", "NO", "-"]
    assert reason == "    no way to cut it"
    assert total.startswith("3 modules: 1 equal")


def test_an_unknown_family_is_one_sentence(capsys):
    assert check_backbones.main(["--family", "levit", "no_such_family"]) == 2
    assert "timm has no module no_such_family; it has beit, " in capsys.readouterr().err
