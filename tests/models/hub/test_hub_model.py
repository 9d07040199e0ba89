"""save_pretrained, from_pretrained and push_to_hub: the same answers, and no more than what was saved."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

import exitsearch
from exitsearch.errors import FileError, InputError, UnavailableError
from exitsearch.models import backbone
from exitsearch.models.hub import folder as hub_folder
from exitsearch.models.multi_exit import MultiExitModel, build_model

from hub_config import small_config  # isort: skip

FILES = ["README.md", "chosen.json", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return build_model(small_config(), pretrained=False, seed=3)


@pytest.fixture
def saved(model, tmp_path):
    assert model.save_pretrained(tmp_path / "mine") is None
    return tmp_path / "mine"


def answers(model):
    with torch.inference_mode():
        return torch.stack(model(torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))))


def changed(saved, **changes):
    """The saved folder with another configuration beside the weights."""
    small_config(**changes).write(saved / "chosen.json")
    return saved


def test_what_is_saved_answers_the_same(model, saved):
    assert sorted(path.name for path in saved.iterdir()) == FILES
    for load in (MultiExitModel.from_pretrained, exitsearch.load_model):
        loaded = load(saved)
        assert not loaded.training
        assert loaded.config == model.config
        assert torch.equal(answers(loaded), answers(model))


def test_the_hub_reads_the_configuration(saved):
    found = json.loads((saved / "config.json").read_text())
    assert found["backbone"] == "vit_digits_patch1_8"
    assert [exit_["head"] for exit_ in found["exits"]] == ["linear", "mlp_ee"]
    assert found["preparation"]["input_size"] == [1, 8, 8]
    assert found["preparation"]["mean"] == [0.305]


def test_saving_again_keeps_what_people_wrote(model, saved):
    (saved / "README.md").write_text("mine")
    (saved / "model.safetensors").write_bytes(b"")
    model.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "mine"
    assert torch.equal(answers(exitsearch.load_model(saved)), answers(model))


def test_scores_and_header_of_the_card(model, tmp_path):
    model.save_pretrained(
        tmp_path, model_card_kwargs={"scores": {"report": [0.1, 0.2, 0.3]}, "datasets": ["mnist"], "license": "mit"}
    )
    text = (tmp_path / "README.md").read_text()
    assert "license: mit" in text
    assert "| exit 1 | 4 | `blocks.4` | `mlp_ee` | 2.25 ms | 0.2000 |" in text


@pytest.mark.parametrize("file", ["chosen.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, file):
    (saved / file).unlink()
    with pytest.raises(FileError, match=f"{file}: no such file; a saved model is a folder with chosen.json"):
        MultiExitModel.from_pretrained(saved)


def test_a_file_is_no_folder(saved):
    with pytest.raises(FileError, match="found a file"):
        MultiExitModel.from_pretrained(saved / "model.safetensors")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_no_pickle_is_read(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (saved / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileError, match="not a safetensors file"):
        MultiExitModel.from_pretrained(saved)
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileError, match="no such file"):
        MultiExitModel.from_pretrained(saved)
    assert not (tmp_path / "exploded").exists()


def test_what_config_json_says_changes_nothing(model, saved):
    (saved / "config.json").write_text('{"backbone": "resnet18", "heads": [], "config": {"exits": []}, "device": 7}')
    assert torch.equal(answers(MultiExitModel.from_pretrained(saved)), answers(model))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": {"name": "vit_digits_patch1_8", "num_outputs": 10**11}}, "has 6,500,00.* numbers, and at most"),
        ({"backbone": {"name": "vit_digits_patch1_8", "num_outputs": 10**18}}, "timm cannot make vit_digits_patch1_8"),
        ({"backbone": {"name": "vit_giant_patch14_224"}}, r"has 1,01\d,\d+,\d+ numbers, and at most"),
        ({"backbone": {"name": "resnet18", "input_size": (3, 10**6, 10**6)}}, "an input has at most 67,108,864"),
        ({"backbone": {"name": "hf-hub:somebody/model"}}, "unknown model 'hf-hub:somebody/model'"),
    ],
)
def test_no_more_memory_than_the_file_holds(saved, changes, words, monkeypatch):
    """What would be larger is refused while it has no more than shapes."""
    devices, real = [], backbone._create_module

    def watched(name, pretrained, arguments, device, seed):
        devices.append(torch.device(device).type)
        return real(name, pretrained, arguments, device, seed)

    monkeypatch.setattr(backbone, "_create_module", watched)
    with pytest.raises(InputError, match=words):
        MultiExitModel.from_pretrained(changed(saved, **changes))
    assert set(devices) <= {"meta"}


def test_a_head_larger_than_the_file(saved):
    exits = [
        {"placement": 1, "module": "blocks.1", "head": "linear"},
        {"placement": 4, "module": "blocks.4", "head": "mlp", "options": {"hidden": 10**9}},
    ]
    with pytest.raises(InputError, match=r"the head mlp\(hidden=1000000000\) at placement 4 has .* numbers"):
        MultiExitModel.from_pretrained(changed(saved, exits=exits))


def test_weights_that_do_not_fit_are_said(saved):
    tensors = load_file(saved / "model.safetensors")
    name = next(name for name in tensors if name.startswith("heads.0"))
    save_file({**tensors, name: tensors[name][:-1].contiguous(), "more": torch.zeros(10)}, saved / "model.safetensors")
    with pytest.raises(FileError, match="the weights do not fit the configuration"):
        MultiExitModel.from_pretrained(saved)


def test_a_repository_of_the_hub(saved, model, monkeypatch):
    """Without a network: the download is stubbed; what is asked for is looked at."""
    asked = {}

    def download(repository, **options):
        asked.update(options, repository=repository)
        return str(saved)

    monkeypatch.setattr(hub_folder, "snapshot_download", download)
    loaded = MultiExitModel.from_pretrained("somebody/mine", revision="main")
    assert torch.equal(answers(loaded), answers(model))
    assert asked.pop("allow_patterns") == ["chosen.json", "model.safetensors", "config.json", "README.md"]
    assert asked == {"repository": "somebody/mine", "revision": "main"}


@pytest.mark.parametrize(("name", "words"), [("somebody/mine", "cannot|offline|outgoing"), ("a/b/c", "Repo id must")])
def test_neither_a_folder_nor_on_the_hub(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match=f"{name} is not a folder here, nor can .*: .*({words})"):
        MultiExitModel.from_pretrained(name, local_files_only=True, cache_dir=tmp_path)


def test_push_uploads_what_is_saved(model, monkeypatch):
    """The transport alone is stubbed: no test talks to the Hub."""
    seen = {}

    class Made:
        repo_id = "somebody/mine"

    def upload(self, *, folder_path, **options):
        seen["files"] = sorted(path.name for path in folder_path.iterdir())
        seen["answers"] = answers(exitsearch.load_model(folder_path))
        seen["options"] = options
        return "https://example.org/commit"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **_: Made())
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert model.push_to_hub("somebody/mine", model_card_kwargs={"license": "mit"}) == "https://example.org/commit"
    assert seen["files"] == FILES
    assert torch.equal(seen["answers"], answers(model))
    assert seen["options"]["repo_id"] == "somebody/mine"
