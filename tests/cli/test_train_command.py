"""`exitsearch train` by recipes with stages: what it prints and writes, what it says of wrong input, its dry run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_training import small_config

from exitsearch.cli.main import main
from exitsearch.learn.data import load_data
from exitsearch.learn.engine.folder.files import weights_identity
from exitsearch.learn.engine.folder.record import TrainingRecord
from exitsearch.models.multi_exit import load_model

SMALL = ["train", "--config", "chosen.json", "--data", "images", "--no-pretrained", "--threads", "1", "--workers", "0"]
JOINT = [*SMALL, "--recipe", "joint", "--epochs", "1", "--batch-size", "6", "--loss-option", "final=3"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 4)):
        for number, name in enumerate(("dark", "light")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = (100 * number + 80 * drawn.random((8, 8))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image}.png")
    config = small_config()
    backbone = config.backbone.model_copy(update={"num_outputs": 2})
    config.model_copy(update={"backbone": backbone}).write("chosen.json")
    return tmp_path


def fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with status 2; returns its one sentence."""
    try:
        status = main(argv)
    except SystemExit as stop:  # argparse's own way out
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert status == 2, captured
    assert "Traceback" not in captured.err
    return captured.err.strip().splitlines()[-1]


def test_a_recipe_with_stages(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*JOINT, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["folder"] == "trained-joint"
    assert {len(scores) for scores in found["scores"].values()} == {3}
    assert found["criterion"].startswith("expected value under uniform:1,4")
    assert "the heads begin fresh" in captured.err
    folder = here / "trained-joint"
    written = {path.name for path in folder.iterdir()}
    assert written >= {"chosen.json", "log.csv", "model.safetensors", "training.json", "outcomes"}
    assert "training" not in written
    record = TrainingRecord.read(folder / "training.json")
    assert record.identity_of["recipe"]["stages"][0]["options"] == {"final": 3.0}
    model = load_model(folder)
    assert model.backbone.weights == weights_identity(folder)
    data = load_data("images", backbone=model.backbone)
    inputs, labels = data.choice.batch(list(range(len(data.choice))))
    right = [float((outputs.argmax(1) == labels).float().mean()) for outputs in model(inputs)]
    assert found["scores"]["choice"] == pytest.approx(right)
    # The same command again takes what stands there; another question of the same folder is refused.
    assert main(JOINT) == 0
    assert "kept: the weights after epoch 1 of joint" in capsys.readouterr().out.replace("\n", " ")
    sentence = fails([*JOINT, "--lr", "0.01"], capsys)
    assert "holds a training that differs in recipe" in sentence
    assert fails([*SMALL, "--out", "trained-joint"], capsys).endswith("or start afresh with --restart")


def test_a_dry_run_takes_steps_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    argv = [*SMALL, "--recipe", "joint", "--epochs", "3", "--batch-size", "6", "--ema", "0.9", "--dry-run"]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(here.rglob("*")) == before
    (stage,) = found["stages"]
    assert (stage["epochs"], stage["steps"], stage["batch_size"]) == (3, 2, 6)
    assert found["steps"] == 6
    assert found["total_seconds"] == pytest.approx(stage["total_seconds"])
    assert stage["step_seconds"] > 0
    # Weights twice (where it stands, and the best), their average, two moments: five times the weights but for buffers.
    assert stage["checkpoint_bytes"] == pytest.approx(5 * found["model_bytes"], rel=0.1)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--recipe", "joined"], "unknown recipe 'joined' (did you mean 'joint'?)"),
        (["--recipe", "joint", "--lr", "0"], "a learning rate is a finite number above 0"),
        (["--recipe", "joint", "--ema", "1"], "above 0 and below 1"),
        (["--recipe", "joint", "--mixup", "-1"], "alpha of mixup"),
        (["--recipe", "joint", "--mixed-precision", "int8"], "unknown --mixed-precision 'int8'; known: bf16, fp16, no"),
        (["--recipe", "joint", "--accumulate", "0"], "a whole number from 1"),
        (["--recipe", "joint", "--loss-option", "final"], "an option of a loss is written NAME=VALUE"),
        (["--recipe", "joint", "--loss-option", "last=1"], "known: final, weights"),
        (["--recipe", "joint", "--loss-option", "final=-1"], "found -1.0"),
        (["--mixup", "0.2"], "frozen trains the heads alone and takes"),
        (["--start", "fresh"], "takes no --start"),
        (["--teacher", "resnet18"], "takes no --teacher"),
        (["--tensorboard"], "takes no --tensorboard"),
        (["--recipe", "joint", "--start", "nowhere"], "found no outcomes.json in nowhere"),
        (["--recipe", "joint", "--teacher", "images"], "chosen.json: no such file"),
        (["--recipe", "distill", "--teacher", "resnet_eighteen"], "unknown model 'resnet_eighteen'"),
        (["--recipe", "copycat", "--unlabelled", "nowhere"], "found no folder nowhere"),
        (["--recipe", "joint", "--unlabelled", "images"], "learns from labels"),
        (["--recipe", "joint", "--mixed-precision", "fp16"], "needs a GPU"),
        (["--recipe", "curriculum", "--epochs", "1"], "untrained heads do not tell"),
    ],
)
def test_wrong_input_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert words in fails([*SMALL, *argv], capsys)
    assert not [path for path in here.iterdir() if path.name.startswith("trained")]
