"""The embedded backbones: small 12-block ViTs with their weights inside the package.

The default is for scikit-learn's digits, another for the photographs of Fashion-MNIST. Both are registered with timm,
so that every path through this project treats them as any other timm model: `timm.create_model(EMBEDDED_NAME,
pretrained=True)` reads the packaged file and downloads nothing. The weights were made by
`scripts/train_digits_backbone.py` and `scripts/train_fashion_backbone.py`, which print their held-out accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from exitsearch.specs.backbone import EMBEDDED_NAME, FASHION_NAME

# Mean and standard deviation of the pixels, in 0..1, of the split that the weights were trained on.
_PIXELS = {EMBEDDED_NAME: (0.305, 0.376), FASHION_NAME: (0.286, 0.353)}


def weights_file(name: str) -> Path:
    """Where the packaged weights of an embedded backbone are."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def _config(name: str, side: int, data_license: str) -> dict[str, Any]:
    mean, std = _PIXELS[name]
    return {
        "file": str(weights_file(name)),
        "num_classes": 10,
        "input_size": (1, side, side),
        "fixed_input_size": True,
        "mean": (mean,),
        "std": (std,),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": data_license,
    }


default_cfgs = generate_default_cfgs(
    {
        f"{EMBEDDED_NAME}.digits": _config(EMBEDDED_NAME, 8, "bsd-3-clause"),
        f"{FASHION_NAME}.fashion_mnist": _config(FASHION_NAME, 28, "mit"),
    }
)


def _small_vit(name: str, pretrained: bool, arguments: dict[str, Any]) -> VisionTransformer:
    own = {"in_chans": 1, "embed_dim": 64, "depth": 12, "num_heads": 4}
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **{**own, **arguments},
    )
    return model


@register_model
def vit_digits_patch1_8(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 64 with 12 blocks over 8 x 8 one-pixel patches and a class token: 65 tokens, 0.6 M parameters."""
    return _small_vit(EMBEDDED_NAME, pretrained, {"patch_size": 1, **kwargs})


@register_model
def vit_fashion_patch4_28(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 64 with 12 blocks over 7 x 7 patches of 4 pixels and a class token: 50 tokens, 0.6 M parameters."""
    return _small_vit(FASHION_NAME, pretrained, {"patch_size": 4, "img_size": 28, **kwargs})
