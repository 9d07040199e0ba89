"""Limits as people write them, in a search space and as options."""

from __future__ import annotations

from pathlib import Path

import pytest

from exitsearch.errors import FileError, InputError
from exitsearch.specs.load import load_space
from exitsearch.specs.question.limits import Limits, parse_min_value

SPACE = """schema_version = 1
[limits]
max_exits = 4
max_extra_params = 2000000
max_memory = "64MiB"
max_energy = "0.5J"
min_value_at = ["20ms=0.7"]
force = ["11"]
forbid = ["0", "1:vit_ee"]
"""


def test_a_space_with_all_limits(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    limits = load_space(path).limits
    assert (limits.max_memory, limits.max_energy) == (2**26, 500.0)
    assert limits == Limits(
        max_exits=4,
        max_extra_params=2_000_000,
        max_memory=2**26,
        max_energy=500,
        min_value_at=["20ms=0.7"],
        force=["11"],
        forbid=["0", "1:vit_ee"],
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"64MiB"', '"much"', "limits.max_memory: bytes are written as 64MiB"),
        ('"64MiB"', "-1", "limits.max_memory should be greater than or equal to 0"),
        ('"0.5J"', '"0J"', "limits.max_energy: an energy is written as 12mJ"),
        ('"0.5J"', '"0.5MJ"', "limits.max_energy: an energy is written as 12mJ"),
        ('"0.5J"', '"nanJ"', "limits.max_energy: an energy is written as 12mJ"),
        ('["20ms=0.7"]', '["soon"]', "limits.min_value_at: a least value is written TIME=VALUE"),
        ('["11"]', '["x"]', "limits.force: an exit is written PLACEMENT"),
        ("max_exits", "most_exits", "limits.most_exits is unknown"),
    ],
)
def test_a_wrong_limit_names_file_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "space.toml"
    path.write_text(SPACE.replace(old, new))
    with pytest.raises(FileError, match=words) as caught:
        load_space(path)
    assert str(path) in str(caught.value)


def test_both_hold() -> None:
    """The smaller of each number, whoever gave it; lists together, each text once."""
    mine = Limits(max_exits=3, max_memory=100, force=["1"], min_value_at=["5=0.1"])
    other = Limits(max_exits=2, max_energy=7.0, force=["1", "2"], forbid=["0"])
    both = Limits(max_exits=2, max_memory=100, max_energy=7.0, force=["1", "2"], forbid=["0"], min_value_at=["5=0.1"])
    assert mine.tightened(other) == both
    assert mine.tightened(Limits()) == Limits().tightened(mine) == mine


def test_wrong_options_are_said() -> None:
    with pytest.raises(InputError, match="max_exits should be greater than or equal to 0, found -1"):
        Limits.given("limit", max_exits=-1)


@pytest.mark.parametrize("text", ["20ms", "x=0.7", "20ms=", "-3=0.5", "20ms=nan", "inf=0.5"])
def test_a_floor_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match=r"20ms=0\.7"):
        parse_min_value(text, full_ms=100.0)
