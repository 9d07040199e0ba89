"""`exitsearch export`: from a folder of weights to a bundle, and every wrong input as one sentence."""

from __future__ import annotations

import json

import pytest
from export_models import chosen, family_model, weights_folder

from exitsearch.cli.main import main
from exitsearch.pipeline.places import profile_file
from exitsearch.specs.bundle import BUNDLE_FILE, Bundle
from exitsearch.specs.profile import Profile


@pytest.fixture
def folder(tmp_path, monkeypatch, remembered_graphs):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(folder, name="trained"):
    return weights_folder(family_model("resnet"), folder / name)


def profile(config):
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": config.backbone.model_dump(),
            "environment": {"identity": {"threads": 1, "batch_size": 1, "device": "cpu", "dtype": "fp32"}},
            "segments": [{"placement": placement, "latency_ms": 1.0} for placement in range(4)],
            "heads": [{"placement": 1, "head": "linear", "latency_ms": 0.5}],
            "final": {"latency_ms": 1.0},
            "slowdown": [1.0] * 100,
            "verdict": {"status": "ok"},
        }
    )


def test_a_bundle_with_a_profiles_times(folder, capsys):
    """Exit 0 is behind two segments of 1 ms and a head of 0.5, the end two segments and the final part behind it."""
    trained = weights(folder)
    config = family_model("resnet").config
    profile(config).write(profile_file(profile(config)))
    argv = ["export", "--config", str(trained), "--weights", str(trained), "--out", "bundle", "--no-measure"]
    status = main([*argv, "--data", "digits", "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "the merged graphs take less" in captured.err
    found = json.loads(captured.out)
    assert [row["exit"] for row in found["exits"]] == ["1:linear", "final"]
    assert [row["answers at (ms)"] for row in found["exits"]] == [2.5, 5.5]
    assert found["latency"]["source"] == "profile"
    bundle = Bundle.read(folder / "bundle" / BUNDLE_FILE)
    assert bundle.values == [0.5, 0.6]
    assert bundle.model.classes == [str(number) for number in range(10)]
    assert [exit_.agreement for exit_ in bundle.agreement] == [1.0, 1.0]
    assert bundle.agreement[0].samples == 400
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "profiles", "trained"]
    # The same again is refused before any work.
    assert main(argv) == 2
    assert "exitsearch: bundle: is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--weights", "gone"], "gone: holds no model.safetensors; give the folder that exitsearch train"),
        (["--weights", "trained", "--config", "gone.json"], "gone.json: no such file"),
        (["--weights", "trained", "--config", "other.json"], "are of exits 1:linear, the configuration has 2:linear"),
        (["--weights", "trained", "--format", "torch"], "--format torch is not offered"),
        (["--weights", "trained", "--precision", "int4"], "unknown precision 'int4'"),
        (["--weights", "trained", "--out", "trained"], "trained: is there already"),
        (["--weights", "trained", "--out", "trained", "--restart"], "--restart replaces a bundle, and this is none"),
        (["--weights", "trained", "--profile", "p.json"], "--profile is for --no-measure"),
        (["--weights", "trained", "--no-measure"], "--no-measure takes the times of a profile, and there is none of"),
        (["--weights", "trained", "--data", "gone"], "gone"),
    ],
)
def test_wrong_input_is_one_sentence(folder, capsys, argv, sentence):
    trained = weights(folder)
    other = family_model("resnet").config
    chosen(other.backbone, [(2, "linear")]).write(folder / "other.json")
    before = sorted(path.name for path in folder.rglob("*"))
    assert main(["export", "--out", "bundle", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert trained.is_dir()


def test_trained_values_go_before_those_of_the_search(folder):
    from exitsearch.deploy.values import exit_values
    from exitsearch.specs.outcomes import Outcomes

    trained = weights(folder)
    config = family_model("resnet").config
    assert exit_values(config, trained) == ([0.5, 0.6], "the search, on the split choice")
    head = {"placement": 1, "head": "linear", "scores": {"choice": 0.7, "report": 0.1}}
    data = {
        "schema_version": 1,
        "backbone": config.backbone.model_dump(),
        "metric": "accuracy",
        "splits": {"choice": 10, "report": 10},
        "heads": [head],
        "final": {"scores": {"choice": 0.9, "report": 0.1}},
    }
    Outcomes.model_validate(data).write(trained / "outcomes" / "outcomes.json")
    assert exit_values(config, trained) == ([0.7, 0.9], "the trained model on the split choice")


def test_errors_are_values_with_a_minus(folder):
    from exitsearch.deploy.values import exit_values

    config = family_model("resnet").config
    config = config.model_copy(update={"expected": config.expected.model_copy(update={"metric": "mae"})})
    assert exit_values(config, folder)[0] == [-0.5, -0.6]
