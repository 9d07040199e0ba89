from __future__ import annotations

import pytest
import torch

from exitsearch.models import features
from exitsearch.testing import LAYOUTS

# Two inputs of 5 tokens with 2 channels on a 1 x 3 grid: class token, distillation token, three patches. Token t of
# input b holds [100 b + 10 t, 100 b + 10 t + 1].
AT = LAYOUTS["tokens_distilled"].model_copy(update={"channels": 2, "grid": (1, 3)})
X = torch.tensor([[[100.0 * b + 10 * t, 100.0 * b + 10 * t + 1] for t in range(5)] for b in range(2)])


def test_patches_leave_out_every_prefix_token():
    assert features.patch_tokens(X, AT)[1].tolist() == [[120, 121], [130, 131], [140, 141]]
    assert features.mean_token(X, AT)[1].tolist() == [130, 131]


def test_class_and_distillation_token():
    assert features.class_token(X, AT).tolist() == [[0, 1], [100, 101]]
    second = features.distillation_token(X, AT)
    assert second is not None
    assert second.tolist() == [[10, 11], [110, 111]]
    for name in ("tokens", "tokens_registers", "tokens_registers_no_class", "nchw"):
        assert features.distillation_token(X, LAYOUTS[name]) is None


def test_without_a_class_token_the_mean_of_the_patches_stands_in():
    """Two registers before three patches: (20 + 30 + 40) / 3 = 30."""
    at = AT.model_copy(update={"class_token": False})
    assert features.class_token(X, at)[0].tolist() == [30, 31]
    assert features.all_tokens(X, at)[0].tolist() == [[20, 21], [30, 31], [40, 41]]
    assert features.all_token_count(at) == 3


def test_all_tokens_and_the_backbones_sequence():
    assert features.all_tokens(X, AT)[0, :, 0].tolist() == [0, 20, 30, 40]
    assert features.all_token_count(AT) == 4
    assert features.sequence(X, AT) is X
    plain = AT.model_copy(update={"prefix_tokens": 1, "grid": (2, 2)})
    assert features.all_tokens(X, plain) is X


def test_map_of_tokens():
    """Four patches of a 2 x 2 grid in row order."""
    at = AT.model_copy(update={"prefix_tokens": 1, "grid": (2, 2)})
    assert features.feature_map(X, at)[0].tolist() == [[[10, 20], [30, 40]], [[11, 21], [31, 41]]]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_maps_and_tokens_are_the_same_cells(layout):
    cells = torch.arange(2 * 2 * 3 * 4.0).reshape(2, 2, 3, 4)  # [batch, h, w, channels]
    at = LAYOUTS[layout].model_copy(update={"channels": 4, "grid": (2, 3)})
    x = cells if layout == "nhwc" else cells.permute(0, 3, 1, 2)
    tokens = cells.reshape(2, 6, 4)
    assert torch.equal(features.patch_tokens(x, at), tokens)
    assert torch.equal(features.sequence(x, at), tokens)
    assert torch.equal(features.feature_map(x, at), cells.permute(0, 3, 1, 2))
    assert torch.equal(features.to_map(tokens, (2, 3)), features.feature_map(x, at))
    torch.testing.assert_close(features.mean_token(x, at), tokens.mean(1))
