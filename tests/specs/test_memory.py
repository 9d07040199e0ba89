from __future__ import annotations

from typing import Any

from exitsearch.specs.memory import held_bytes, path_memory
from exitsearch.specs.profile import Profile


def profile(*, scratch: int | None = None, **identity: Any) -> Profile:
    """Inputs of 3 x 4 x 4, two segments that hand on 40 and 20 bytes, a head of 30 at each, final outputs of 10."""

    def cost(activations: int) -> dict[str, Any]:
        return {"weight_bytes": 100, "activation_bytes": activations, "scratch_bytes": scratch}

    return Profile.parse(
        {
            "schema_version": 1,
            "backbone": {"name": "some_net", "input_size": [3, 4, 4]},
            "environment": {"identity": identity},
            "segments": [{"placement": index, **cost(bytes_)} for index, bytes_ in enumerate((40, 20))],
            "heads": [{"placement": index, "head": "linear", **cost(30)} for index in range(2)],
            "final": cost(10),
            "verdict": {"status": "unmeasured"},
        },
        "memory",
    )


def test_what_is_held_together() -> None:
    """40 + 20 between the segments, 40 + 30 with the first head. The input's size is not known here."""
    unknown = profile()
    assert held_bytes(unknown, []) == 60
    assert held_bytes(unknown, [unknown.head(0, "linear")]) == 70
    assert held_bytes(unknown, [unknown.head(1, "linear")]) == 60


def test_the_input_is_held_too() -> None:
    """48 numbers of 4 bytes are 192, of two inputs 384; with the first segment's output 232 and 424."""
    assert held_bytes(profile(dtype="fp32", batch_size=1), []) == 232
    assert held_bytes(profile(dtype="fp32", batch_size=2), []) == 424
    assert held_bytes(profile(dtype="bf16", batch_size=1), []) == 136


def test_path() -> None:
    found = path_memory(profile(scratch=50, dtype="fp32", batch_size=1), [(0, "linear")])
    assert found is not None
    assert found.weight_bytes == 400
    assert found.activation_bytes == 232
    assert found.device_peak_bytes == 400 + 192 + 50
    heads = path_memory(profile(scratch=50), [(0, "linear")])
    assert heads is not None
    assert heads.device_peak_bytes == 400 + 40 + 50


def test_unknown_bytes() -> None:
    known = profile()
    silent = known.model_copy(update={"final": known.final.model_copy(update={"weight_bytes": None})})
    assert path_memory(silent, []) is None
