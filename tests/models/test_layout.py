from __future__ import annotations

import pytest
import torch

from exitsearch.models.layout import FeatureShape, TokenFacts, read_shape


def read(shape, *, image=(224, 224), declared=None, class_token=False, channels_last=False):
    tokens = TokenFacts(declared=declared, class_token=class_token, channels_last=channels_last)
    small, large = (torch.empty(batch, *shape, device="meta") for batch in (2, 3))
    return read_shape(small, large, batches=(2, 3), image=image, tokens=tokens)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((64, 56, 56), {}, FeatureShape("nchw", 64, (56, 56))),
        ((56, 56, 96), {}, FeatureShape("nhwc", 96, (56, 56))),
        # A cube says nothing: the model's own word decides.
        ((14, 14, 14), {}, FeatureShape("nchw", 14, (14, 14))),
        ((14, 14, 14), {"channels_last": True}, FeatureShape("nhwc", 14, (14, 14))),
        ((512, 1, 1), {}, FeatureShape("nchw", 512, (1, 1))),
        ((197, 192), {"declared": 1, "class_token": True}, FeatureShape("tokens", 192, (14, 14), 1, True)),
        ((198, 192), {"declared": 2, "class_token": True}, FeatureShape("tokens", 192, (14, 14), 2, True)),
        # CaiT declares a class token that only joins in the last blocks, where it is alone.
        ((196, 192), {"declared": 1, "class_token": True}, FeatureShape("tokens", 192, (14, 14), 0, False)),
        ((1, 192), {"declared": 1, "class_token": True}, FeatureShape("tokens", 192, (0, 0), 1, True)),
        # Registers without a class token.
        ((200, 192), {"declared": 4}, FeatureShape("tokens", 192, (14, 14), 4, False)),
        # An image twice as high as wide: 8 x 4 cells.
        ((32, 48), {"image": (64, 32)}, FeatureShape("tokens", 48, (8, 4))),
        ((48, 8, 4), {"image": (64, 32)}, FeatureShape("nchw", 48, (8, 4))),
    ],
)
def test_shapes(shape, options, expected):
    assert read(shape, **options) == expected


@pytest.mark.parametrize("shape", [(10,), (4, 196, 192), (2, 2, 2, 2), (3, 7, 5)])
def test_what_no_head_can_read(shape):
    assert read(shape) is None


def test_the_first_axis_must_be_the_batch():
    """Windows of a picture stacked on the batch axis: 2 x 4 and 3 x 4."""
    tokens = TokenFacts(declared=None, class_token=False, channels_last=False)
    small, large = torch.empty(8, 49, 32), torch.empty(12, 49, 32)
    assert read_shape(small, large, batches=(2, 3), image=(224, 224), tokens=tokens) is None
