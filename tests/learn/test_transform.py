"""The evaluation transform: what timm's own loader gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import small_backbone
from timm.data import create_dataset, create_loader, resolve_data_config

from exitsearch.errors import FileError, InputError
from exitsearch.learn.data import batches, in_order, load_data
from exitsearch.learn.data.transform import ImageTransform, open_image
from exitsearch.models.backbone import create_backbone

SIZES = [(50, 37), (37, 50), (33, 33), (64, 20)]


@pytest.fixture
def folder(tmp_path):
    """Noise of many sizes, as colours, greys and palettes, written as PNG and JPEG."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                width, height = SIZES[number % len(SIZES)]
                image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
                image = image.convert(("RGB", "L", "P", "RGBA")[number % 4])
                jpeg = image.mode in ("RGB", "L") and number >= 4
                image.save(tmp_path / split / name / f"{number}.{'jpg' if jpeg else 'png'}")
    return tmp_path


def timms(root, module, *, size=None):
    """All of a folder by timm's own loader."""
    config = resolve_data_config({"input_size": size} if size else {}, model=module)
    mode = "L" if config["input_size"][0] == 1 else "RGB"
    dataset = create_dataset("", root=str(root), input_img_mode=mode)
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=4,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
        use_prefetcher=False,
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("test_vit", {}),
        ("test_vit", {"crop_pct": 0.8, "crop_mode": "squash", "interpolation": "bilinear"}),
        ("test_vit", {"crop_pct": 1.0, "crop_mode": "border"}),
        ("test_resnet", {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}),
        ("vit_digits_patch1_8", {}),
        ("vit_digits_patch1_8", {"crop_pct": 0.7}),
    ],
    ids=str,
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_is_prepared_as_timm_does_it(folder, name, changed, workers):
    backbone = create_backbone(name, pretrained=False, num_outputs=2)
    backbone.module.pretrained_cfg = {**backbone.module.pretrained_cfg, **changed}
    data = load_data(str(folder), backbone=backbone, workers=workers)
    images, labels = timms(folder / "train", backbone.module)
    own = list(batches(data.heads, order=in_order(len(data.heads), 4)))
    assert torch.equal(torch.cat([batch for batch, _ in own]), images)
    assert torch.equal(torch.cat([those for _, those in own]), labels)
    assert torch.equal(data.heads[3][0], images[3])
    assert torch.equal(data.heads.batch([3, 1])[0], images[[3, 1]])


def test_the_asked_image_size_is_used(folder):
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=2, image_size=96)
    data = load_data(str(folder), backbone=backbone)
    assert torch.equal(
        data.heads.batch(list(range(16)))[0], timms(folder / "train", backbone.module, size=(3, 96, 96))[0]
    )


def test_a_backbone_of_two_channels_has_no_images(folder):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(2, 4, 3)
            self.end = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.end(self.body(x).mean((2, 3)))

    backbone = create_backbone(Two(), placements=["body"], example_input=torch.zeros(1, 2, 8, 8))
    with pytest.raises(InputError, match="images have 1 channel or 3, Two takes 2"):
        load_data(str(folder), backbone=backbone)


def test_a_module_that_is_not_timms_takes_whole_images():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8), torch.nn.Flatten())
    backbone = create_backbone(module, placements=["0"], example_input=torch.zeros(1, 3, 8, 8))
    transform = ImageTransform.for_backbone(backbone)
    assert (transform.mean, transform.std, transform.crop_pct) == ((0.5,) * 3, (0.5,) * 3, 1.0)
    white = transform(Image.new("RGB", (9, 9), (255, 0, 255)))
    assert transform.finish(white[None])[0, :, 4, 4].tolist() == [1, -1, 1]


def test_identity_follows_the_transform(folder):
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=2)
    before = load_data(str(folder), backbone=backbone).identity
    assert load_data(str(folder), backbone=backbone).identity == before
    backbone.module.pretrained_cfg = {**backbone.module.pretrained_cfg, "crop_pct": 0.5}
    assert load_data(str(folder), backbone=backbone).identity != before


def test_images_of_every_depth_are_read(tmp_path):
    """16 bits become 8 by x / 257, which takes 65535 to 255 and 32768 to 128 (127.5 to even)."""
    Image.new("RGB", (2, 2), (0, 128, 255)).save(tmp_path / "colour.png")
    Image.fromarray(np.array([[65535, 32768], [0, 257]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert open_image(str(tmp_path / "colour.png"), mode="RGB").getpixel((0, 0)) == (0, 128, 255)
    deep = open_image(str(tmp_path / "deep.png"), mode="L")
    assert np.asarray(deep).tolist() == [[255, 128], [0, 1]]
    assert open_image(str(tmp_path / "deep.png"), mode="RGB").getpixel((0, 0)) == (255, 255, 255)


def test_what_is_no_image_is_named(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"not an image")
    with pytest.raises(FileError, match=r"broken\.png: not an image that can be decoded"):
        open_image(str(path), mode="RGB")


@pytest.mark.parametrize(
    ("task", "identity"), [("classification", "8be96e19f8628702"), ("regression", "5027be62e7115735")]
)
def test_digits_keep_their_own_way(task, identity):
    """Banks that were trained before folders went timm's way must stay usable."""
    assert load_data("digits", backbone=small_backbone(task=task)).identity == identity
