"""The embedded default backbone: a small 12-block ViT for scikit-learn's digits, its weights inside the package.

It is registered with timm under `EMBEDDED_NAME`, so that every path through this project treats it as any other timm
model: `timm.create_model(EMBEDDED_NAME, pretrained=True)` reads the packaged file and downloads nothing.
The weights were made by `scripts/train_digits_backbone.py`, which prints their held-out accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from exitsearch.specs.backbone import EMBEDDED_NAME

WEIGHTS_FILE = Path(__file__).parent / "weights" / f"{EMBEDDED_NAME}.safetensors"

# Mean and standard deviation of the pixels (0..16 scaled to 0..1) of the `heads` split.
_MEAN, _STD = 0.305, 0.376

default_cfgs = generate_default_cfgs(
    {
        f"{EMBEDDED_NAME}.digits": {
            "file": str(WEIGHTS_FILE),
            "num_classes": 10,
            "input_size": (1, 8, 8),
            "fixed_input_size": True,
            "mean": (_MEAN,),
            "std": (_STD,),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "bsd-3-clause",
        }
    }
)


@register_model
def vit_digits_patch1_8(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 64 with 12 blocks over 8 x 8 one-pixel patches and a class token: 65 tokens, 0.6 M parameters."""
    arguments = {"patch_size": 1, "in_chans": 1, "embed_dim": 64, "depth": 12, "num_heads": 4, **kwargs}
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        EMBEDDED_NAME,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **arguments,
    )
    return model
