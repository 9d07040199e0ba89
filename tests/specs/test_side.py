"""Side inputs in documents: their text, their rules, and that documents without any are as they were."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError, MismatchError
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.memory import held_bytes
from exitsearch.specs.placement import Placement
from exitsearch.specs.profile import Profile
from exitsearch.specs.side import parse_side_inputs, side_text


def test_text_and_back():
    found = parse_side_inputs(" depth=2x3x4 , audio=1x32x64")
    assert found == {"audio": (1, 32, 64), "depth": (2, 3, 4)}
    assert list(found) == ["audio", "depth"]
    assert parse_side_inputs(side_text(found)) == found
    assert side_text({}) == "none"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "side inputs are written"),
        ("audio", "side inputs are written"),
        ("audio=32x64", "side inputs are written"),
        ("audio=1x32x-4", "side inputs are written"),
        ("audio=1x32x64,", "side inputs are written"),
        ("audio=1x0x64", "each 1 or more; found 1x0x64 for audio"),
        ("audio=1x2x3,audio=1x2x3", "found audio twice"),
        ("x=1x2x3", "named by letters"),
        ("features=1x2x3", "named by letters"),
        ("my audio=1x2x3", "named by letters"),
        ("class=1x2x3", "named by letters"),
    ],
)
def test_what_is_none(text, words):
    with pytest.raises(InputError, match=words):
        parse_side_inputs(text)


def test_documents_without_side_inputs_do_not_speak_of_them():
    facts = BackboneFacts(name="a", input_size=(1, 8, 8), num_outputs=2)
    assert list(facts.model_dump()) == ["name", "input_size", "num_outputs", "task"]
    at = Placement(index=0, module="b", layout="nchw", channels=1, grid=(1, 1), reduction=1, depth=1)
    assert "side_inputs" not in at.model_dump(mode="json")


def test_documents_with_them_read_back():
    facts = BackboneFacts(name="a", side_inputs={"audio": (1, 2, 3)})
    assert facts.model_dump(mode="json")["side_inputs"] == {"audio": [1, 2, 3]}
    assert BackboneFacts.model_validate_json(facts.model_dump_json()) == facts


def test_one_name_has_one_size_in_two_documents():
    mine, other, none = (
        BackboneFacts(name="a", side_inputs=sides) for sides in ({"audio": (1, 2, 3)}, {"audio": (1, 2, 4)}, {})
    )
    with pytest.raises(MismatchError, match="audio=1x2x3 and the outcomes of audio=1x2x4; audio must have the same"):
        mine.check_same(other, mine="the profile", others="the outcomes")
    assert mine.check_same(none, mine="the profile", others="the outcomes") == []


def test_a_side_input_is_held_beside_everything():
    """2 inputs a batch of 1x2x3 numbers of 4 bytes: 48 bytes more than the 100 + 40 of the largest unit."""

    def profile(**facts):
        backbone = {"name": "a", "input_size": (1, 1, 1), "num_outputs": 2, **facts}
        segment = {"placement": 0, "weight_bytes": 8, "activation_bytes": 100}
        head = {"placement": 0, "head": "linear", "weight_bytes": 8, "activation_bytes": 40}
        return Profile.model_validate(
            {
                "schema_version": 1,
                "backbone": backbone,
                "environment": {"identity": {"dtype": "fp32", "batch_size": 2}},
                "segments": [segment],
                "heads": [head],
                "final": {"weight_bytes": 8, "activation_bytes": 16},
                "verdict": {"status": "unmeasured"},
            }
        )

    without, with_sound = profile(), profile(side_inputs={"audio": [1, 2, 3]})
    assert held_bytes(without, without.heads) == 140
    assert held_bytes(with_sound, with_sound.heads) == 188
