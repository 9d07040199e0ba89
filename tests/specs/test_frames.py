"""Every document as a table: pandas' dtypes, a terminal of 80 columns, HTML, and one line in a plain shell."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table
from test_bundle import manifest
from toy_documents import toy_outcomes, toy_profile

import exitsearch
from exitsearch.errors import UnavailableError
from exitsearch.measure.compare import compare_profiles
from exitsearch.search.run import search
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.document import Document
from exitsearch.specs.frames.frame import MOST_SHOWN, Column, Frame, Framed, as_rich
from exitsearch.specs.load import load_config, load_outcomes, load_profile, load_space
from exitsearch.specs.question.knobs import Knobs, Setting
from exitsearch.specs.verification import ExitUse, Lateness, Observed, Phase, Predicted, Verification

ROOT = Path(__file__).parents[2]


def verification() -> Verification:
    exits = [ExitUse(exit="0:linear", share=0.75, median_ms=1.0), ExitUse(exit="final", share=0.25, median_ms=4.0)]
    phase = Phase(
        name="quiet, deadlines",
        policy="contract",
        load=0,
        correction=True,
        decides=True,
        predicted=Predicted(value=0.9, distribution_value=0.9, no_answer=0.05, exits=exits),
        observed=Observed(
            requests=1200,
            value=0.89,
            interval=(0.87, 0.91),
            no_answer=0.04,
            refused=0.01,
            late=Lateness(share=0.002, median_ms=0.3, worst_ms=0.7),
            exits=exits,
        ),
        allowed=(0.88, 0.92),
        within=True,
        state={},
    )
    return Verification(
        schema_version=1,
        bundle="bundle",
        bundle_identity="0" * 16,
        cpu="a processor",
        budget="uniform:1,5",
        samples=400,
        values_observed=True,
        seconds=20.0,
        quantile=0.99,
        seed=0,
        phases=[phase],
        sentences=["quiet, deadlines: as predicted"],
        within=True,
    )


def examples(folder: Path) -> dict[str, Framed]:
    """A document of every kind, by the name of its class and what it is an example of."""
    from exitsearch.learn.bank.checkpoint import Checkpoint
    from exitsearch.learn.engine.folder.record import KeptWeights, TrainingRecord
    from exitsearch.pipeline.trained.static_training import StaticRecord
    from exitsearch.search.result import SettingRow, SettingsResult

    measured = load_profile(ROOT / "tests" / "data" / "profile_v1.json")
    result = search(toy_profile(), toy_outcomes(folder / "toy"), budget="uniform:0,20", trials=4)
    front = search(
        toy_profile(), toy_outcomes(folder / "front"), budget="uniform:0,20", trials=4, objectives="value,time"
    ).front
    assert front is not None
    setting = Setting(dtype="fp32", runtime="eager", threads=1, batch_size=1)
    rows = (
        SettingRow(setting, 0.5, 8.0, 2, "ok", "tried", None),
        SettingRow(setting, None, None, None, None, "failed", "ended by signal 9"),
    )
    epoch = {"stage": "frozen", "terms": {"sum": 1.5}, "scores": [0.5, 0.9], "value": 0.7, "seconds": 3.25}
    record = TrainingRecord(
        schema_version=1,
        identity_of={},
        criterion="the expected value",
        kept=KeptWeights(stage="frozen", epoch=1, value=0.7, scores=[0.5, 0.9]),
        history=[epoch | {"epoch": 1}, epoch | {"epoch": 2, "value": 0.6}],
    )
    return {
        "Profile": measured,
        "Profile, brought": load_profile("published:mevit-gmacs"),
        "Profile, toy": toy_profile(),
        "Outcomes": toy_outcomes(folder / "outcomes"),
        "Outcomes, published": load_outcomes("published:mevit-cifar100"),
        "MultiExitConfig": load_config(ROOT / "tests" / "data" / "chosen_v1.json"),
        "SearchSpace": load_space(ROOT / "search_spaces" / "lgvit_vit_base.toml"),
        "SearchSpace, knobs": load_space(ROOT / "search_spaces" / "digits_knobs.toml"),
        "Bundle": Bundle.model_validate(manifest()),
        "Verification": verification(),
        "TrainingRecord": record,
        "Checkpoint": Checkpoint(schema_version=1, identity_of={}, heads=["0/mlp"], dropped={"1/mlp": "loss is nan"}),
        "StaticRecord": StaticRecord(schema_version=1, trained={"model": "resnet18"}, scores={"choice": 0.5}),
        "SearchResult": result,
        "FrontResult": front,
        "SettingsResult": SettingsResult(
            result,
            setting,
            Knobs(),
            rows,
            settings=2,
            proved=False,
            gained=0.0,
            study="s",
            interrupted=False,
            sources={},
        ),
        "Comparison": compare_profiles(measured, measured),
    }


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Framed]:
    return examples(tmp_path_factory.mktemp("documents"))


NAMES = [
    "Profile",
    "Profile, brought",
    "Profile, toy",
    "Outcomes",
    "Outcomes, published",
    "MultiExitConfig",
    "SearchSpace",
    "SearchSpace, knobs",
    "Bundle",
    "Verification",
    "TrainingRecord",
    "Checkpoint",
    "StaticRecord",
    "SearchResult",
    "FrontResult",
    "SettingsResult",
    "Comparison",
]


def framed_classes(base: type = Framed) -> set[type]:
    found = {base, *(one for child in base.__subclasses__() for one in framed_classes(child))}
    found = {one for one in found if one.__module__.startswith("exitsearch.") and "frame" in vars(one)}
    return found - {Framed, Document}


def test_there_is_an_example_of_every_kind(documents: dict[str, Framed]) -> None:
    """A new document, in whatever room, belongs into `examples` above, and so through all tests below."""
    for module in pkgutil.walk_packages(exitsearch.__path__, "exitsearch."):
        if module.name.split(".")[1] in ("specs", "search", "measure", "learn", "deploy", "pipeline"):
            with contextlib.suppress(UnavailableError, ModuleNotFoundError):  # of an extra that is not installed
                importlib.import_module(module.name)
    assert {type(one) for one in documents.values()} == framed_classes()
    assert list(documents) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_column_is_told(documents: dict[str, Framed], name: str) -> None:
    """Each has a meaning and the dtype that it says; what ends in a unit says the unit."""
    document = documents[name]
    frame = document.to_frame()
    columns = document.frame.columns
    assert list(frame.columns) == list(columns) == list(frame.attrs["columns"])
    assert len(frame) == len(list(document.frame.rows(document))) > 0
    dtypes = {"text": "string", "whole": "Int64", "number": "float64", "flag": "boolean"}
    for column, told in columns.items():
        assert str(frame[column].dtype) == dtypes[told.kind]
        assert len(told.meaning) > 4
        for ending, unit in (("_ms", "ms"), ("_mj", "mJ"), ("_bytes", "bytes"), ("seconds", " s")):
            assert not column.endswith(ending) or unit in told.meaning or "its times" in told.meaning, column
    assert frame.attrs["title"] == document.frame.title(document)


def printed(renderable: Any) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(width=80, file=io.StringIO())
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_of_80_columns_shows_every_row_on_one_line(documents: dict[str, Framed], name: str) -> None:
    document = documents[name]
    frame = document.frame.brief or document.frame
    text = printed(document)
    assert max(map(len, text.splitlines())) <= 80
    assert frame.title(document).split()[0] in text
    table = next(one for one in as_rich(frame, document).renderables if isinstance(one, Table))
    lines = printed(table).splitlines()
    assert len(lines) == 2 + min(len(list(frame.rows(document))), MOST_SHOWN), text
    assert lines[0].split() == " ".join(frame.columns).split()


class _Checked(HTMLParser):
    """Whether tags close in order, and how many of each there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.count[tag] = self.count.get(tag, 0) + 1
        assert all(name in ("style", "title", "scope") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_well_formed_html(documents: dict[str, Framed], name: str) -> None:
    document = documents[name]
    frame = document.frame.brief or document.frame
    parser = _Checked()
    parser.feed(document._repr_html_())
    assert parser.open == []
    rows = min(len(list(frame.rows(document))), MOST_SHOWN)
    assert parser.count["tr"] == rows + 1
    assert parser.count["td"] == rows * len(frame.columns)
    assert frame.title(document) in parser.text
    assert all(note in parser.text for note in frame.notes(document))


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_shell_shows_one_line(documents: dict[str, Framed], name: str) -> None:
    shown = repr(documents[name])
    assert shown == str(documents[name])
    assert shown.startswith(f"<{name.split(',')[0]}: ")
    assert len(shown) < 250
    assert "\n" not in shown


@dataclass(frozen=True, repr=False)
class Odd(Framed):
    """Names that are markup elsewhere, and more rows than are shown."""

    rows: int
    frame: ClassVar[Frame] = Frame(
        title=lambda odd: f"<b>[red]{odd.rows}",
        columns={
            "[bold]name": Column("a <name>", "text"),
            "count": Column("of them", "whole"),
            "ok": Column("?", "flag"),
        },
        rows=lambda odd: [(f"[red]<i>{number}", None if number else 1234567, number > 0) for number in range(odd.rows)],
    )


def test_names_are_no_markup_and_long_tables_say_that_they_are_cut() -> None:
    text = printed(Odd(100))
    assert "[red]<i>0" in text
    assert "[bold]name" in text
    assert "<b>[red]100" in text
    assert "1,234,567" in text
    assert "The first 60 of 100 rows; to_frame() has all of them." in text
    html = Odd(100)._repr_html_()
    assert "<i>" not in html
    assert "&lt;i&gt;59" in html
    assert "&lt;i&gt;60" not in html
    frame = Odd(100).to_frame()
    assert len(frame) == 100
    assert frame["count"].isna().sum() == 99


def test_a_table_without_rows_keeps_its_dtypes() -> None:
    frame = Odd(0).to_frame()
    assert [str(dtype) for dtype in frame.dtypes] == ["string", "Int64", "boolean"]
    assert "<table>" not in Odd(0)._repr_html_()


def test_the_profile_by_hand() -> None:
    """Segments of 2 and 3 ms, at 0 heads of 1 and 2 ms, at 1 one of 1 ms, a final part of 3 ms: t = 2, 5, full 8 ms."""
    frame = toy_profile().to_frame()
    assert list(frame["part"]) == ["segment", "segment", "head", "head", "head", "final"]
    assert list(frame["arrives_ms"]) == [2.0, 5.0, 3.0, 4.0, 6.0, 8.0]
    assert frame["latency_ms"].sum() == 2 + 3 + 3 + 1 + 2 + 1
    heads = frame[frame["part"] == "head"].set_index(["placement", "head"])
    assert heads.loc[(0, "b(k=2)"), "latency_ms"] == 2.0


def test_what_only_counts_has_no_times() -> None:
    profile = toy_profile()
    bare = {"latency_ms": None}
    counted = profile.model_copy(
        update={
            "segments": [one.model_copy(update=bare) for one in profile.segments],
            "heads": [one.model_copy(update=bare) for one in profile.heads],
            "final": profile.final.model_copy(update=bare),
        }
    )
    assert counted.to_frame()["arrives_ms"].isna().all()
    assert "share" in counted._repr_html_()


def test_the_exits_and_baselines_of_a_search_by_hand(tmp_path: Path) -> None:
    """The choice of tests/search/test_run.py: a at both, 0.69, answers at 3, 7 and 10 ms."""
    result = search(toy_profile(), toy_outcomes(tmp_path), budget="uniform:0,20", trials=0)
    frame = result.to_frame()
    assert list(frame["answers_ms"]) == [3.0, 7.0, 10.0]
    assert list(frame["head"]) == ["a", "a", "final"]
    assert frame["placement"].isna().tolist() == [False, False, True]
    pd.testing.assert_series_equal(frame["answers_ms"], result.config.to_frame()["answers_ms"], check_names=False)
    baselines = result.baselines_frame()
    assert baselines.loc[0, ["what", "chosen"]].tolist() == ["exitsearch", "0:a 1:a"]
    assert baselines["value"].is_monotonic_decreasing
    assert baselines.set_index("what").loc["backbone alone", "value"] == pytest.approx(0.54)
    assert baselines.set_index("what").loc["backbone alone", "below"] == pytest.approx(0.15)


def test_the_scores_of_outcomes_by_hand() -> None:
    frame = load_outcomes("published:mevit-cifar100").to_frame()
    assert len(frame) == 77 + 1
    last: Any = frame.iloc[-1]
    assert (last["head"], last["score"], last["value"]) == ("final", 0.9124, 0.9124)


def test_the_page_tells_every_column() -> None:
    """docs/frames.md is written by scripts/frames_page.py, and its example runs and prints what it says."""
    from frames_page import PAGE, TABLES, page

    assert PAGE.read_text() == page(), "run python scripts/frames_page.py"
    told = [frame for _, frame, _ in TABLES]
    assert all(any(one.frame is frame for frame in told) for one in framed_classes())
    code = page().partition("```python\n")[2].partition("```")[0]
    with contextlib.redirect_stdout(io.StringIO()) as printed_out:
        exec(code, {})
    found = printed_out.getvalue().splitlines()
    comments = [line.partition("  # ")[2] for line in code.splitlines() if "  # " in line]
    assert [found[0], found[-1]] == comments
