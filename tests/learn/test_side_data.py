"""Pictures with a recording each: reading, what is refused, and heads that learn from what they hear."""

from __future__ import annotations

import dataclasses

import make_sounding_counts
import pytest
import torch
from scipy.io import wavfile
from small_data import RECIPE, small_backbone, small_digits
from torch.utils.data import DataLoader

from exitsearch.errors import FileError, InputError, UnsupportedError
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import DataSplits, Split, batches, check_data, in_order, load_data
from exitsearch.learn.data.audio import read_recording
from exitsearch.learn.data.log_mel import LogMel
from exitsearch.learn.data.splits import TensorsSplit
from exitsearch.learn.estimate import estimate_training
from exitsearch.learn.probe import probe_placements
from exitsearch.models.backbone import create_backbone
from exitsearch.models.inputs import Inputs

SIDE = {"audio": (1, 16, 32)}
LONGER = dataclasses.replace(RECIPE, epochs=5, learning_rate=5e-3)
HEADS = [
    (1, "sl_vit(dropout=0.0,num_heads=2,patch_size=4,width=16)"),
    (1, "sl_vit(dropout=0.0,num_heads=2,patch_size=4,side=audio,width=16)"),
]


def make_backbone(sides=None, task="regression"):
    outputs = 1 if task == "regression" else 2
    sides = SIDE if sides is None else sides
    return create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=outputs, task=task, side_inputs=sides)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 scenes: 18, 6 and 6."""
    out = tmp_path_factory.mktemp("scenes")
    assert make_sounding_counts.main(["--out", str(out), "--count", "30", "--size", "8"]) == 0
    (out / "broken.wav").write_text("not a sound")
    return out


@pytest.fixture(scope="module")
def data(folder):
    return load_data(str(folder), backbone=make_backbone(), workers=0)


def test_a_picture_comes_with_its_sound(folder, data):
    """Every clip is 2 s: 32 frames of 1000 samples; 0..1 of the spectrogram is handed out as -1..1."""
    assert data.side_inputs == SIDE
    images, labels = data.choice.batch([4, 1])
    assert isinstance(images, Inputs)
    assert images.x.shape == (2, 1, 8, 8)
    assert images["audio"].shape == (2, 1, 16, 32)
    wanted = LogMel(bands=16, frames=32, hop=1000)(read_recording(folder / "val" / "00004.wav"))
    torch.testing.assert_close(images["audio"][0], 2 * wanted - 1)
    targets = [line.split(",")[1] for line in (folder / "labels.csv").read_text().splitlines()[1 + 18 :]]
    assert labels.tolist() == [float(targets[4]), float(targets[1])]


def test_pictures_are_those_of_a_model_without_sound(folder, data):
    plain = load_data(str(folder), backbone=make_backbone({}), workers=0)
    assert plain.side_inputs == {}
    assert torch.equal(plain.heads.batch([3])[0], data.heads.batch([3])[0].x)
    assert plain.identity != data.identity


def test_several_processes_read_the_same(folder, data):
    with_workers = load_data(str(folder), backbone=make_backbone(), workers=2)
    order = in_order(18, 5)
    try:
        for (mine, _), (theirs, _) in zip(
            batches(data.heads, order=order), batches(with_workers.heads, order=order), strict=True
        ):
            assert mine.keys() == theirs.keys() == {"x", "audio"}
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    finally:
        with_workers.close()


def test_it_is_an_ordinary_torch_data_set(data):
    inputs, labels = next(iter(DataLoader(data.report, batch_size=3)))
    assert inputs["audio"].shape == (3, 1, 16, 32)
    assert torch.equal(labels, data.report.labels[:3])


def test_another_sound_is_another_data_set(folder, data, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    backbone = make_backbone()
    assert load_data(str(copy), backbone=backbone, workers=0).identity == data.identity
    rate, samples = wavfile.read(copy / "val" / "00000.wav")
    wavfile.write(copy / "val" / "00000.wav", rate, samples[: rate // 2])
    assert load_data(str(copy), backbone=backbone, workers=0).identity != data.identity


def test_classes_with_sounds(tmp_path):
    """Class folders as ever; labels.csv only says which recording belongs to which picture."""
    import numpy as np
    from PIL import Image

    rows = ["file,audio"]
    for number in range(20):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8), 10 * number, dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
            wavfile.write(tmp_path / name / f"{number}.wav", 16_000, np.full(800, 40 * number, dtype=np.int16))
            rows.append(f"{name}/{number}.png,{name}/{number}.wav")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    data = load_data(str(tmp_path), backbone=make_backbone(task="classification"), workers=0)
    assert data.classes == ("cat", "dog")
    assert data.heads.batch([0, 1])[0]["audio"].shape == (2, 1, 16, 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",audio", ",sound", 1), "the column audio is missing"),
        (lambda text: text.replace(",train/00002.wav", ",", 1), "1 of 18 have none, the first is 'train/00002.png'"),
        (lambda text: text.replace(",train/00002.wav", ",train/none.wav", 1), "no such audio 'train/none.wav'"),
        (lambda text: text.replace(",train/00002.wav", ",broken.wav", 1), "1 of 30 recordings cannot be read"),
        (lambda text: text + text.splitlines()[1] + "\n", "'train/00000.png' stands there twice"),
    ],
)
def test_wrong_folders(folder, change, words):
    table = folder / "labels.csv"
    before = table.read_text()
    try:
        table.write_text(change(before))
        with pytest.raises((InputError, FileError), match=words):
            load_data(str(folder), backbone=make_backbone(), workers=0)
    finally:
        table.write_text(before)


def test_data_without_the_side_input_of_the_model(folder):
    with pytest.raises(FileError, match="the column depth is missing"):
        load_data(str(folder), backbone=make_backbone({"depth": (1, 4, 4)}), workers=0)
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs=SIDE)
    with pytest.raises(UnsupportedError, match="has the side inputs audio=1x16x32, the split heads of digits comes"):
        check_data(backbone, small_digits(backbone))
    plain = small_backbone(task="regression")
    with pytest.raises(UnsupportedError, match=r"has the side inputs none, .* comes with audio=1x16x32; declare"):
        check_data(plain, load_data(str(folder), backbone=make_backbone(), workers=0))


class Noises(Split):
    """Pictures that say nothing, and a side input that is below zero for the target 0 and above for 10."""

    is_quick = True
    side_inputs = SIDE

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.pictures = torch.randn(count, 1, 8, 8, generator=generator)
        levels = torch.randint(2, (count,), generator=generator).float()
        noise = 0.1 * torch.randn(count, 1, 16, 32, generator=generator)
        self.sounds = 2 * levels[:, None, None, None] - 1 + noise
        super().__init__(10 * levels)

    def read(self, indices):
        return Inputs(x=self.pictures[indices], audio=self.sounds[indices])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    splits = {
        name: Noises(count, seed) for seed, (name, count) in enumerate((("heads", 160), ("choice", 40), ("report", 40)))
    }
    noises = DataSplits("noises", "made here", "regression", 1, **splits)
    out = tmp_path_factory.mktemp("bank")
    return noises, train_bank(make_backbone(), noises, exits=HEADS, recipe=LONGER, out=out)


def test_only_the_head_that_hears_learns_what_can_only_be_heard(trained):
    """No answer without the sound is wrong by less than 5 on average."""
    _, outcomes = trained
    scores = {head.head: head.scores["report"] for head in outcomes.heads}
    seeing, hearing = (scores[head] for _, head in HEADS)
    assert hearing < 1.0 < 4.0 < seeing
    assert outcomes.backbone.side_inputs == SIDE


def test_a_head_alone_ends_as_among_others(trained, tmp_path):
    noises, outcomes = trained
    alone = train_bank(make_backbone(), noises, exits=HEADS[1:], recipe=LONGER, out=tmp_path)
    assert alone.heads[0].scores == next(h.scores for h in outcomes.heads if h.head == HEADS[1][1])


def test_estimates_and_probes_take_such_data(trained):
    noises, _ = trained
    found = estimate_training(make_backbone(), noises, exits=HEADS, recipe=RECIPE, steps=1)
    assert found.step_seconds > 0
    assert found.answer_seconds > 0
    assert len(probe_placements(make_backbone(), noises, placements=[1])) == 1


def test_samples_held_in_memory_have_no_side_inputs():
    split = TensorsSplit(torch.zeros(2, 1, 8, 8), torch.zeros(2), prepare=lambda images: images)
    assert split.side_inputs == {}
