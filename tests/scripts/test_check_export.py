"""Ten families of timm exported; one of them here."""

from __future__ import annotations

import check_export
import timm
import torch

from exitsearch.errors import ExitSearchError


def test_one_model(call):
    called = call(
        "check_export", "--model", "test_resnet", "--image-size", "32", "--exits", "1", "--max-seconds", "0.2"
    )
    assert called.status == 0
    (row,) = called.figures["models"]
    assert row["exits"] == [1]
    assert 0 < row["difference"] <= 1e-4
    assert row["largest_output"] > 0.5
    assert len(row["differences"]) == len(row["predicted_over_measured"]) == 2
    assert row["chain_over_whole"] > 0
    assert row["no_exit_tax"] > row["chain_over_whole"] * 0.5
    assert called.figures["exported"] == 1
    assert "1 of 1 models exported, every exit within the tolerance; load average" in called.out


def test_one_that_cannot_be_exported_fails(call, monkeypatch):
    from exitsearch.deploy import export

    def refused(*_, **__):
        raise ExitSearchError("exit 0 differs")

    monkeypatch.setattr(export, "export_bundle", refused)
    called = call("check_export", "--model", "test_resnet", "--image-size", "32", "--exits", "1")
    assert called.status == 1
    assert "    exit 0 differs" in called.out
    assert "0 of 1 models exported" in called.out


def test_a_final_exit_that_answers_nothing_is_woken():
    from exitsearch.models.backbone import create_backbone
    from exitsearch.models.multi_exit import attach_exits

    backbone = create_backbone("test_resnet", pretrained=False, image_size=32)
    for part in backbone.final_classifier():
        torch.nn.init.zeros_(part.weight)
    model = attach_exits(backbone, config=check_export.configuration(backbone, [1], "linear"))
    check_export.wake_final_exit(model)
    with torch.inference_mode():
        assert float(model(backbone.example_input(4))[-1].std()) > 0.3


def test_exits_are_spread():
    assert check_export.spread(12, 2) == [3, 7]
    assert check_export.spread(4, 1) == [1]
    assert check_export.spread(17, 3) == [3, 7, 12]


def test_more_exits_than_placements_are_one_sentence(capsys):
    assert check_export.main(["--model", "test_resnet", "--image-size", "32", "--exits", "4"]) == 1
    assert "4 exits need 5 placements, found 4; give fewer with --exits" in capsys.readouterr().out


def test_ten_families_of_timm():
    assert len(check_export.FAMILIES) == 10
    for family, (model, _) in check_export.FAMILIES.items():
        assert model in timm.list_models(module=family)
