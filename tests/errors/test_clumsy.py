"""What a clumsy user types at every command, and the whole sentence that comes back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from raised import says_what_to_do
from test_bundle import manifest

from exitsearch.cli.main import COMMANDS, main

PUBLISHED = "search --budget-dist uniform:10,80 --profile published:mevit-gmacs --outcomes published:mevit-cifar10"
CORRECT = "correct the file, or make it again"

SENTENCES = {
    "profile --device gpu": "--device gpu: a device is written cpu, cuda or cuda:N; write one of these",
    "profile --dtype fp8": "unknown --dtype 'fp8'; known: bf16, fp16, fp32; name one of these",
    "profile --placements 77": "placements run from 0 to 11, found '77'; name placements among these",
    "profile --space nowhere.toml": "nowhere.toml: no such file; check its name",
    "profile --space foreign.json": (
        "foreign.json: a search space is a TOML file whose name ends in .toml; rename it, or name one"
    ),
    "profile --plugin nowhere.py": "nowhere.py: no such plugin file; check its name",
    "profile --batch-size 0": (
        "argument --batch-size: a whole number from 1 is needed, found '0'; see exitsearch profile --help"
    ),
    "compare foreign.json foreign.json": f"foreign.json: not a profile: the key schema_version is missing; {CORRECT}",
    "train-heads --data nowhere": (
        "data is `digits` or a folder of images (train/<class>/..., val/<class>/...), or as torch/fashion_mnist a data "
        "set that timm knows; found no folder 'nowhere'; name one that there is (--data)"
    ),
    "train-heads --data audio-folder:nowhere": (
        "data of recordings is a folder with train/<class>/*.wav and val/<class>/*.wav, or one folder a class, "
        "found no "
        "folder 'nowhere'; name one that there is (--data)"
    ),
    "train-heads --data audio-folder:": (
        "data of recordings is a folder with train/<class>/*.wav and val/<class>/*.wav, or one folder a class, "
        "found no "
        "folder ''; name one that there is (--data)"
    ),
    "train-heads --data empty": (
        "empty: a data folder holds train/<class>/*.png and val/<class>/*.png, or one folder a class (for regression "
        "labels.csv and --metric mae), found no images; put them there, or name another folder (--data)"
    ),
    "train-heads --data audio-folder:empty": (
        "empty: a data folder holds train/<class>/*.wav and val/<class>/*.wav, or one folder a class (for regression "
        "labels.csv and --metric mae), found no recordings; put them there, or name another folder (--data)"
    ),
    "train-heads --lr -1": "a learning rate is a finite number above 0, found -1.0; give one such as 1e-3 (--lr)",
    "search --budget-dist uniform": (
        "budget 'uniform' cannot be read: no numbers follow its name; write uniform:LO,HI"
    ),
    "search --budget-dist uniform:10": "budget 'uniform:10' cannot be read: 2 numbers needed, found 1; write "
    "uniform:LO,HI",
    "search --budget-dist point:-3": "budget 'point:-3' cannot be read: a time is at least 0, found -3; write point:T",
    "search --budget-dist unifrm:1,2": (
        "unknown budget distribution 'unifrm' (did you mean 'uniform'?); known: discrete, exponential, lognormal, mix, "
        "normal, point, trace, uniform; name one of these"
    ),
    "search --budget-dist trace:trace.csv": (
        f"trace.csv: row 4: a budget is a number of milliseconds from 0, found 'x'; {CORRECT}"
    ),
    "search --budget-dist uniform:1,2 --model resnet18": (
        "there are no outcomes of resnet18 yet; add --data digits or --data FOLDER to train its heads now, or run "
        "exitsearch train-heads --model resnet18 --data FOLDER"
    ),
    f"{PUBLISHED} --storage foo": (
        "a storage is FILE.journal or a URL such as sqlite:///study.db, found 'foo'; write it in that form"
    ),
    f"{PUBLISHED} --force 1:zebra": (
        "1:zebra is no candidate; the candidates there are cnn_add_ee, cnn_ignore_ee, cnn_project_ee, mlp_ee, "
        "mlp_mixer_ee, resmlp_ee, vit_ee; name one that is (exitsearch list placements, exitsearch list heads)"
    ),
    f"{PUBLISHED} --worth x": ("a worth function is written FILE.py:FUNCTION, found 'x'; write it in that form"),
    "train --config nowhere": "nowhere: no such file; check its name",
    "train --config foreign.json": (
        f"foreign.json: not a multi-exit configuration: the key schema_version is missing; {CORRECT}"
    ),
    "export --weights empty --out bundle": (
        "empty: holds no model.safetensors; give the folder that exitsearch train --config chosen.json wrote"
    ),
    "verify nowhere": (
        "nowhere: a bundle is a folder with bundle.json in it, found nothing there; name the folder that exitsearch "
        "export wrote"
    ),
    "verify altered": (
        "altered/bundle.json: confidence is missing; copy the bundle again from where it was made, or write it again "
        "with exitsearch export"
    ),
    "serve empty": (
        "empty: a bundle is a folder with bundle.json in it, found none; name the folder that exitsearch export wrote"
    ),
    "list models nothing_like_it": (
        "no model that can be cut matches 'nothing_like_it'; try exitsearch list models '*vit*'"
    ),
    "list placements vit_smal_patch16_224": (
        "unknown model 'vit_smal_patch16_224' (did you mean vit_small_patch16_224, deit_small_patch16_224, "
        "vit_small_patch8_224?); models are named as in timm; see exitsearch list models 'vit*'"
    ),
    "check empty": (
        "empty: a folder with outcomes.json or chosen.json is expected, found neither; name another folder, or a file"
    ),
    "check foreign.csv": (
        f"foreign.csv: the column placement is missing; needed: placement,head,value; found: x,y; {CORRECT}"
    ),
    "completion nosh": "unknown word after exitsearch completion 'nosh'; known: bash, fish, zsh; name one of these",
    "env extra": "unrecognized arguments: extra; see exitsearch --help",
}


@pytest.fixture
def mess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with foreign and broken things in it."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("foreign.json").write_text('{"a": 1}')
    Path("foreign.csv").write_text("x,y\n1,2\n")
    Path("trace.csv").write_text("budget\n10\n20\nx\n")
    Path("altered").mkdir()
    data = manifest()
    del data["files"]["README.md"]
    Path("altered/bundle.json").write_text(json.dumps(data))
    return tmp_path


@pytest.mark.parametrize("typed", SENTENCES)
def test_the_whole_sentence(mess: Path, capsys: pytest.CaptureFixture[str], typed: str) -> None:
    before = sorted(mess.rglob("*"))
    assert main(typed.split()) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == f"exitsearch: {SENTENCES[typed]}"
    assert says_what_to_do(said) or re.search(r"; see exitsearch( \S+)? --help$", said)
    assert sorted(mess.rglob("*")) == before, "nothing is written"


def test_every_command_is_tried() -> None:
    assert {typed.split()[0] for typed in SENTENCES} == set(COMMANDS)
