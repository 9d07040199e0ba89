"""Every registered head type passes the published conformance test: a new one is tested by existing."""

from __future__ import annotations

from exitsearch.models.heads import list_heads
from exitsearch.testing import HeadConformance

# Options that change a head's structure. Tracing is slow, and tested with the defaults.
_UNTRACED = {"test_export": None, "test_compile": None, "test_onnx": None}
_VARIANTS = {
    "lph_plain": ("lph", {"depthwise": False}),
    "gah_dense": ("gah", {"stride": 1}),
    "linear_mean": ("linear", {"pool": "mean", "norm": False}),
}
# Heads that read side inputs of the model.
_SIDES = {"sl_vit_with_sound": ("sl_vit", {"side": "audio"}), "sl_vit_with_depth": ("sl_vit", {"side": "depth"})}
_SIDE_INPUTS = {"audio": (1, 12, 20), "depth": (2, 9, 7)}
_DEFAULTS = {head.name: (head.name, {}) for head in list_heads()}

for _name, (_head, _options) in (_DEFAULTS | _VARIANTS | _SIDES).items():
    _body = {"head": _head, "options": _options, **(_UNTRACED if _name in _VARIANTS else {})}
    _body |= {"side_inputs": _SIDE_INPUTS} if _name in _SIDES else {}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (HeadConformance,), _body)
