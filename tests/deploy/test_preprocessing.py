"""What a bundle says of preprocessing is what training's own transform does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exitsearch.deploy.preprocessing import preprocessing_of
from exitsearch.learn.data.transform import ImageTransform
from exitsearch.models.backbone import create_backbone


def test_numbers_are_timms():
    found = preprocessing_of(create_backbone("test_vit", pretrained=False))
    assert found.mode == "RGB"
    assert found.crop_pct == 0.95
    assert found.resize == (168, 168)  # floor(160 / 0.95)
    assert (found.interpolation, found.crop_mode, found.mean, found.std) == ("bicubic", "center", [0.5] * 3, [0.5] * 3)


def test_channels_that_no_image_has_make_none():
    assert preprocessing_of(create_backbone("test_vit", pretrained=False, in_chans=5)) is None


@pytest.mark.parametrize("side", [(30, 47), (80, 41)])
def test_followed_by_hand_it_gives_the_transforms_pixels(side):
    backbone = create_backbone("test_vit", pretrained=False, image_size=32)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8))
    found = preprocessing_of(backbone)
    short = found.resize[0]
    wide, high = image.size
    # The longer side as torchvision rounds it.
    scaled = (short, int(short * high / wide)) if wide < high else (int(short * wide / high), short)
    resized = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (round((resized.width - 32) / 2), round((resized.height - 32) / 2))
    pixels = np.asarray(resized.crop((left, top, left + 32, top + 32)), dtype=np.float32) / 255
    mine = (pixels.transpose(2, 0, 1) - np.array(found.mean)[:, None, None]) / np.array(found.std)[:, None, None]
    transform = ImageTransform.for_backbone(backbone)
    np.testing.assert_allclose(mine, transform.finish(transform(image)[None])[0].numpy(), atol=1e-6)
