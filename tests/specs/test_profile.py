"""Profiles: path times by hand, the costs table, and one-sentence errors for wrong files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from exitsearch.errors import FileError, InputError
from exitsearch.specs.profile import Profile

COSTS = """part,placement,head,latency_ms,macs,params
segment,0,,2.0,100,10
segment,1,,3.0,100,10
head,0,linear,0.5,5,4
head,1,linear,0.25,5,4
head,1,gah(stride=2),1.0,50,40
final,,,1.5,1,2
"""


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    path = tmp_path / "costs.csv"
    path.write_text(COSTS)
    return Profile.from_costs_csv(path, backbone="some_vit")


def test_times_by_hand(profile: Profile) -> None:
    """Arrivals 2 and 2+3; full 2+3+1.5. Both heads on the way: 2+0.5; 5+0.5+1; 6.5+0.5+1."""
    assert list(profile.arrival_ms) == [2.0, 5.0]
    assert profile.full_ms == 6.5
    assert profile.path_ms([]) == [6.5]
    assert profile.path_ms([(0, "linear"), (1, "gah(stride=2)")]) == [2.5, 6.5, 8.0]
    with pytest.raises(InputError, match="no head 'mlp' at placement 0; there: linear"):
        profile.head_ms(0, "mlp")


def test_resumes_by_hand(profile: Profile, tmp_path: Path) -> None:
    """Segment 1 takes 0.125 longer after a head, the final part 0.25; segment 0 follows none.

    One head at 0: it answers at 2 + 0.5 as ever, and the full model at 6.5 + 0.5 + 0.125. Both: the second answers at
    5 + 0.5 + 0.125 + 1, the full model at 6.5 + 0.5 + 0.125 + 1 + 0.25. Without heads nothing resumes.
    """
    data = profile.model_dump(mode="json")
    parts = (*data["segments"], *data["heads"], data["final"])
    assert not any(key.startswith("resume") for part in parts for key in part)
    data["segments"][1] |= {"resume_ms": 0.125, "resumed_samples_ms": [3.1, 3.15], "resumed_rounds": [0, 4]}
    data["final"]["resume_ms"] = 0.25
    resuming = Profile.parse(data, "profile.json")
    assert list(resuming.resume_ms) == [0.125, 0.25]
    assert list(resuming.arrival_ms) == [2.0, 5.0]
    assert resuming.path_ms([]) == [6.5]
    assert resuming.path_ms([(0, "linear")]) == [2.5, 7.125]
    assert resuming.path_ms([(1, "gah(stride=2)")]) == [6.0, 7.75]
    assert resuming.path_ms([(0, "linear"), (1, "gah(stride=2)")]) == [2.5, 6.625, 8.375]
    assert Profile.read(resuming.write(tmp_path / "resuming.json")) == resuming
    assert resuming.identity != profile.identity
    data["heads"][0]["resume_ms"] = 0.125
    with pytest.raises(FileError, match=r"heads\[0\]\.resume_ms is unknown"):
        Profile.parse(data, "profile.json")


def test_resumes_of_further_batch_sizes(profile: Profile) -> None:
    data = profile.model_dump(mode="json")
    data["environment"]["identity"]["batch_size"] = 1
    further = copy.deepcopy({key: data[key] for key in ("segments", "heads", "final", "verdict")})
    further["segments"][1]["resume_ms"] = 0.5
    both = Profile.parse({**data, "batches": [{"batch_size": 8, **further}]}, "profile.json")
    assert list(both.resume_ms) == [0.0, 0.0]
    assert list(both.at_batch(8).resume_ms) == [0.5, 0.0]


def test_what_resumes_nowhere_is_what_it_was() -> None:
    """A file of before the key: read, and of the same identity."""
    old = Profile.read(Path(__file__).parents[1] / "data" / "profile_v1.json")
    assert not old.resume_ms.any()
    assert old.identity == "52a33aaf081e036b"


def test_costs_table_reads_back(profile: Profile, tmp_path: Path) -> None:
    again = Profile.from_costs_csv(profile.to_costs_csv(tmp_path / "again.csv"), backbone="some_vit")
    assert again == profile
    assert again.identity == profile.identity


def test_json_reads_back(profile: Profile, tmp_path: Path) -> None:
    again = Profile.read(profile.write(tmp_path / "deep" / "profile.json"))
    assert again == profile
    assert not list((tmp_path / "deep").glob("*.partial"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("latency_ms", "time"), "the column latency_ms is missing"),
        (("segment,1", "segment,2"), "numbered 0, 1, 2"),
        (("segment,1", "segment,0"), "row 3: segment 0 stands there twice"),
        (("2.0", "fast"), "row 2: latency_ms must be a finite number, found 'fast'"),
        (("2.0", "nan"), "finite"),
        (("2.0", "-2"), "greater than or equal to 0, found -2"),
        (("head,0,linear", "head,7,linear"), "placement 7, the last one is 1"),
        (("head,0,linear", "head,x,linear"), "whole number from 0, found 'x'"),
        (("head,0,linear", "head,0,lin(ear"), "TYPE"),
        (("gah(stride=2)", "linear"), "twice"),
        (("final,,", "end,,"), "part must be segment, head or final, found 'end'"),
        (("final,,,1.5,1,2\n", ""), "no row with part final"),
        (("0.5,5,4", "0.5,5,4,9"), "more cells"),
    ],
)
def test_wrong_costs_tables(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "costs.csv"
    assert change[0] in COSTS
    path.write_text(COSTS.replace(*change))
    with pytest.raises(FileError) as caught:
        Profile.from_costs_csv(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_counts_alone_have_no_times(profile: Profile, tmp_path: Path) -> None:
    data = profile.model_dump(mode="json")
    for part in (*data["segments"], *data["heads"], data["final"]):
        part["latency_ms"] = None
    counts = Profile.parse(data, "counts.json")
    assert not counts.is_timed
    with pytest.raises(InputError, match="only counts operations"):
        _ = counts.full_ms


def edit(data: dict[str, Any], keys: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    part: Any = data
    for key in keys[:-1]:
        part = part[key]
    if value is KeyError:
        del part[keys[-1]]
    else:
        part[keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("schema_version",), KeyError, "schema_version is missing"),
        (("schema_version",), "1", "whole number from 1, found '1'"),
        (("schema_version",), 99, "newer than the 1"),
        (("schema_version",), 0, "whole number from 1"),
        (("final",), KeyError, "the key final of a profile is missing"),
        (("segments",), [], "segments"),
        (
            ("segments", 0, "latency_ms"),
            -1.0,
            "segments[0].latency_ms should be greater than or equal to 0, found -1.0",
        ),
        (("segments", 0, "latency_ms"), 1e300, "less than or equal"),
        (("segments", 0, "latency_ms"), None, "in every segment, head and final, or in none"),
        (("segments", 0, "speed"), 1, "segments[0].speed is unknown"),
        (("heads", 0, "macs"), "many", "heads[0].macs should be"),
        (("verdict", "status"), "great", "verdict.status should be"),
        (("backbone",), "vit", "backbone should be"),
        (("slowdown",), [0.0], "slowdown[0]"),
        (("heads", 0, "rounds"), [0, 1, 2], "rounds must name one of the"),
        (("heads", 0, "rounds"), [-1], "heads[0].rounds[0]"),
    ],
)
def test_wrong_documents(profile: Profile, tmp_path: Path, keys: tuple[str | int, ...], value: Any, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(edit(profile.model_dump(mode="json"), keys, value)))
    with pytest.raises(FileError) as caught:
        Profile.read(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[1, 2]", "one table of keys and values"),
        (b'{"schema_version": 1, "segments"', "not valid JSON (truncated or foreign?)"),
        (b'{"schema_version": NaN}', "NaN is not a number"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100000, "not valid JSON"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        Profile.read(path)
    assert words in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        Profile.read(tmp_path / "none.json")
    with pytest.raises(FileError, match="cannot be read"):
        Profile.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        write_into(tmp_path / "file" / "below.json")


def write_into(path: Path) -> None:
    from exitsearch.specs.document import write_json

    write_json(path, {})


OLD = Path(__file__).parents[1] / "data" / "profile_v1.json"


def test_a_file_from_before_several_batch_sizes_is_readable() -> None:
    """Written by the first profiler, when a profile knew one batch size and no energies."""
    old = Profile.read(OLD)
    assert "batches" not in json.loads(OLD.read_text())
    assert old.batch_sizes == [1]
    assert old.at_batch(1) == old
    assert old.full_ms == pytest.approx(sum(segment.latency_ms or 0 for segment in old.segments) + old.final.latency_ms)


def further_batch(data: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """The measured part of a profile as a further batch size."""
    names = ("segments", "heads", "final", "whole", "slowdown", "verdict")
    return {"batch_size": batch_size, **{name: copy.deepcopy(data[name]) for name in names}}


def test_each_batch_size_is_a_profile_of_its_own() -> None:
    data = json.loads(OLD.read_text())
    data["batches"] = [further_batch(data, 8)]
    data["batches"][0]["final"]["latency_ms"] += 1.0
    profile = Profile.parse(data, "two.json")
    assert profile.condition().endswith("__bs1-8__eager")
    assert profile.at_batch(8).full_ms == pytest.approx(profile.full_ms + 1.0)
    assert profile.at_batch(8).environment.identity["batch_size"] == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data["batches"][0].update(batch_size=1), "must be known and stand there once"),
        (lambda data: data["environment"]["identity"].pop("batch_size"), "must be known and stand there once"),
        (lambda data: data["batches"][0]["segments"].pop(), "must hold the same segments and heads as the first"),
        (lambda data: data["batches"][0]["heads"].pop(), "must hold the same segments and heads as the first"),
        (lambda data: data["batches"][0]["final"].update(latency_ms=None), "in every unit of batch size 8"),
    ],
)
def test_wrong_batches(change: Any, words: str) -> None:
    data = json.loads(OLD.read_text())
    data["batches"] = [further_batch(data, 8)]
    change(data)
    with pytest.raises(FileError, match=words):
        Profile.parse(data, "two.json")


def test_costs_csv_says_what_takes_longer_behind_a_head(tmp_path):
    rows = [
        "part,placement,head,latency_ms,macs,params,resume_ms",
        "segment,0,,1,,,",
        "head,0,a,2,,,",
        "final,,,3,,,0.5",
    ]
    path = tmp_path / "costs.csv"
    path.write_text("\n".join(rows) + "\n")
    profile = Profile.from_costs_csv(path)
    assert profile.path_ms([(0, "a")]) == [3.0, 6.5]
    assert profile.to_costs_csv(tmp_path / "again.csv").read_text() == path.read_text().replace(",1,", ",1.0,").replace(
        ",a,2,", ",a,2.0,"
    ).replace(",3,,", ",3.0,,")
    path.write_text("\n".join([*rows[:2], "head,0,a,2,,,0.1", rows[3]]) + "\n")
    with pytest.raises(FileError, match="row 3: resume_ms is of a segment or the final part"):
        Profile.from_costs_csv(path)
