"""Two hundred ways to spoil a valid profile: each loads or gives one clear sentence, and none a traceback."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from exitsearch.cli.main import main
from exitsearch.errors import FileError
from exitsearch.specs.load import load_profile
from exitsearch.specs.profile import Profile

OLD = Path(__file__).parents[1] / "data" / "profile_v1.json"
COUNT = 200

# What stands in the place of a value: wrong types, numbers that are no times, huge ones, and hostile text.
VALUES = (
    None, True, "", "0", "\ud7ff\u0000", "é" * 300, -1, -1.5, 0, 10**30, 1e308, -0.0, [], [[]], {}, {"a": 1}, [None],
    [1, "x"], "NaN", "Infinity", 2**63, [-1.0, 1.0], [1e300, 1e300],
)  # fmt: skip
# Text that is no JSON number, put where a number stood.
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01", "1_000", "9" * 5000)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document, tables and lists included."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


def mutated(seed: int) -> bytes:
    """One mutation of the recorded profile."""
    draw = random.Random(seed)
    data = json.loads(OLD.read_text())
    # Containers near the top are few among thousands of numbers: draw by depth first.
    by_depth: dict[int, list[tuple[Any, ...]]] = {}
    for path in places(data):
        by_depth.setdefault(len(path), []).append(path)
    *way, last = draw.choice(by_depth[draw.choice(sorted(by_depth))])
    holder: Any = data
    for step in way:
        holder = holder[step]
    kind = seed % 8
    if kind == 0:
        text = OLD.read_bytes()
        return text[: draw.randrange(len(text))]
    if kind == 1:
        if isinstance(holder, dict):
            holder[draw.choice(["foreign", "latency", "", "schema_version "])] = draw.choice(VALUES)
        else:
            holder.insert(draw.randrange(len(holder) + 1), draw.choice(VALUES))
    elif kind == 2:
        del holder[last]
    elif kind == 3 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    elif kind == 4:
        data["schema_version"] = draw.choice([0, -1, 2, 10**40, "1", 1.0, True, None, [1]])
    elif kind == 5:
        holder[last] = "@@"
        return json.dumps(data).replace('"@@"', draw.choice(RAW)).encode()
    elif kind == 6:
        text = bytearray(OLD.read_bytes())
        for _ in range(draw.randint(1, 4)):
            text[draw.randrange(len(text))] = draw.randrange(256)
        return bytes(text)
    else:
        holder[last] = draw.choice(VALUES)
    return json.dumps(data).encode()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str | None]:
    """Each mutation's sentence; None where it loaded."""
    folder = tmp_path_factory.mktemp("mutations")
    found: dict[int, str | None] = {}
    for seed in range(COUNT):
        path = folder / f"{seed}.json"
        path.write_bytes(mutated(seed))
        try:
            profile = load_profile(path)
        except FileError as error:
            found[seed] = str(error)
        else:
            # What loads can be used.
            assert profile.condition()
            assert Profile.parse(profile.model_dump(mode="json"), path) == profile
            assert not profile.is_timed or profile.full_ms >= 0
            found[seed] = None
    return found


def test_each_mutation_is_one_sentence_or_loads(outcomes: dict[int, str | None]) -> None:
    assert len(outcomes) == COUNT
    for seed, sentence in outcomes.items():
        if sentence is not None:
            assert sentence.count("\n") == 0, seed
            assert f"{seed}.json: " in sentence
            assert len(sentence) < 500, sentence
            assert "Error" not in sentence.replace("FileError", ""), sentence


def test_most_mutations_are_noticed(outcomes: dict[int, str | None]) -> None:
    """Else the mutator would do nothing; some do no harm (a flipped digit in a sample)."""
    assert sum(sentence is not None for sentence in outcomes.values()) > COUNT / 2
    assert any(sentence is None for sentence in outcomes.values())


@pytest.mark.parametrize("seed", range(8))
def test_the_command_line_shows_the_sentence(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(mutated(seed))
    status = main(["check", str(path)])
    assert status in (0, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert len(captured.err.strip().splitlines()) == (1 if status == 2 else 0)
