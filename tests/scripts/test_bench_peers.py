"""A bundle against its peers, on a small model of random weights."""

from __future__ import annotations

import math

import bench_peers
import pytest
from export_models import exported_bundle, weights_folder

from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits
from exitsearch.pipeline.trained.static_training import StaticRecord

STATIC = "test_resnet@32"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its bundle, and a static model that `exitsearch train --compare` would have made."""
    root = tmp_path_factory.mktemp("peers")
    model, _ = exported_bundle("vit", "fp32", root / "bundle")
    trained = weights_folder(model, root / "trained")
    beside = trained / "compare" / STATIC
    static = create_backbone("test_resnet", pretrained=False, image_size=32, num_outputs=10)
    save_tensors(beside / "model.safetensors", dict(static.module.state_dict()))
    StaticRecord(
        schema_version=StaticRecord.current_version,
        trained={"model": STATIC, "weights": "random", "input_size": "3x32x32", "epochs": 2},
        scores={"choice": 0.1, "report": 0.1},
    ).write(beside / "static.json")
    return root


def options(made, *more):
    quick = ("--seconds", "0.5", "--calibrate-seconds", "0.3", "--samples", "12", "--choice", "30")
    return ("--bundle", made / "bundle", "--trained", made / "trained", *quick, *more)


def test_all_peers_in_one_run(call, made, monkeypatch):
    monkeypatch.setattr("earlyon_thresholds.installed", lambda: False)
    called = call("bench_peers", *options(made, "--budget-dist", "uniform:0.1,8", "--fixed", "1,30"))
    assert called.status == 0
    found = called.figures
    statics = ["whole backbone", f"static {STATIC}"]
    names = ["bundle, interruptible", "bundle, contract", *statics, "static models, best by budget"]
    assert list(found["peers"]) == names
    assert found["left_out"] == {"earlyon": "it is not installed: pip install earlyon==0.3.0"}
    assert found["best_static"] in statics
    assert found["rounds"] > 3
    drawn = math.ceil(found["rounds"] / 2)
    for name, row in found["peers"].items():
        assert row["requests"] == drawn
        assert [point["budget_ms"] for point in row["fixed"]] == [1.0, 30.0]
        assert sum(row["exits"].values()) + row["refused"] + row["no_answer"] == pytest.approx(1)
        low, high = row["interval"]
        assert 0 <= low <= row["value"] <= high <= 1
        assert row["megabytes"] > 0
        assert f"\n{name}: " in called.out
    assert found["peers"]["bundle, contract"]["gain"] == 0
    assert found["conditions"]["cores"] >= 1
    assert found["notes"][0] == "left out: earlyon: it is not installed: pip install earlyon==0.3.0"
    assert all(f"\n{note}\n" in called.out for note in found["notes"])
    assert "the static model to choose for these budgets" in called.out


def test_models_that_are_not_those_of_the_bundle_are_refused(call, made, tmp_path, capsys):
    from export_models import chosen, family_backbone

    backbone = family_backbone("vit")
    other = attach_exits(backbone, config=chosen(backbone.facts, ((1, "linear"),)), seed=5)
    folder = weights_folder(other, tmp_path / "other")
    arguments = [*map(str, options(made)), "--trained", str(folder)]
    assert bench_peers.main(arguments) == 2
    assert "give the bundle that exitsearch export wrote of it" in capsys.readouterr().err


@pytest.mark.parametrize("given", [("--fixed", "0,1"), ("--fixed", "a"), ("--seconds", "0"), ("--seconds", "nan")])
def test_numbers_that_cannot_be(made, given, capsys):
    with pytest.raises(SystemExit):
        bench_peers.main([*map(str, options(made)), *given])
    assert "found" in capsys.readouterr().err


def test_no_sample_is_no_run(made, capsys):
    assert bench_peers.main([*map(str, options(made)), "--samples", "0"]) == 2
    assert "--samples must be a whole number from 1, found 0" in capsys.readouterr().err
