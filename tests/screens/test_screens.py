"""What every command shows at 80 columns, as recorded text; at 120 and 200 columns its lines fit too.

The commands run as typed, on documents made by formulas or recorded once: what would measure or train gives one of
those, so that a screen is the same on every machine. `pytest tests/screens --record` writes the screens anew.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from large_models import large_outcomes, large_profile

from exitsearch.cli.main import COMMANDS, main
from exitsearch.pipeline.training.train import Trained
from exitsearch.pipeline.verify import Verified
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.profile import Profile
from exitsearch.specs.verification import Verification

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
LARGE = "vit_large_patch16_224"
DEEP = "a_model_of_48_blocks"
SEARCH = "search --profile large.json --outcomes large --trials 0 --no-guard --budget-dist"
# argparse lays its help out differently from one Python to the next.
RECORDED_ON = (3, 11)

SCREENS = {
    "welcome": "",
    "help": "--help",
    **{f"help_{name.replace('-', '_')}": f"{name} --help" for name in COMMANDS},
    "profile_24_blocks": "profile --model vit_large_patch16_224",
    "profile_48_blocks": "profile --model a_model_of_48_blocks",
    "profile_two_heads": "profile --model vit_large_patch16_224 --heads linear,mlp",
    "profile_flops": "profile --model vit_large_patch16_224 --heads linear --flops",
    "train_heads_24_blocks": "train-heads --model vit_large_patch16_224 --data my_images",
    "search_24_blocks": f"{SEARCH} uniform:10%,100%",
    "search_all_baselines": f"{SEARCH} uniform:30,200 --all-baselines --max-exits 3",
    "search_sensitivity": f"{SEARCH} uniform:10%,100% --heads linear,mlp --sensitivity",
    "search_front": f"{SEARCH} uniform:10%,100% --heads linear,mlp --objectives value,params",
    "search_confidence": f"{SEARCH} uniform:10%,100% --heads linear --placements 3,7,11 --policy confidence",
    "search_tables": "search --profile costs.csv --outcomes values.csv --trials 0 --budget-dist uniform:5,40",
    "search_errors": "search --profile costs.csv --outcomes errors.csv --metric mae --fallback 3 --trials 0 "
    "--budget-dist uniform:5,40",
    "train": "train --config chosen",
    "train_compared": "train --config chosen --recipe joint --profile large.json",
    "export": "export --weights chosen/trained --out bundle",
    "verify": "verify bundle",
    "compare": "compare large.json slower.json",
    "compare_few": "compare costs.csv slower.csv",
    "list_heads": "list heads",
    "list_placements": "list placements",
    "list_placements_24_blocks": "list placements vit_large_patch16_224",
    "list_placements_stages": "list placements swin_tiny_patch4_window7_224",
    "list_budgets": "list budgets",
    "list_models": "list models 'vit_tiny_*'",
    "list_recipes": "list recipes",
    "check_profile": "check large.json",
    "check_outcomes": "check large",
    "check_chosen": "check chosen/chosen.json",
    "check_costs": "check costs.csv",
    "env": "env",
    "error_command": "serch",
    "error_option": "search --budget-dst uniform:1,2",
    "error_word": "list hads",
    "error_missing": "search",
    "error_budget": "search --budget-dist unifrom:1,2",
    "error_file": "check nothing.json",
    "error_main_option": "--verson",
}

# Every command but `serve`, which does not end.
ENDED = ("profile", "train", "search", "export", "verify", "compare", "list", "check", "env")

COSTS = "part,placement,head,latency_ms\nsegment,0,,10\nsegment,1,,10\nhead,0,linear,1\nhead,1,linear,1\nfinal,,,10\n"
VALUES = "placement,head,value\n0,linear,0.6\n1,linear,0.8\nfinal,,0.9\n"
MACHINE = {
    "exitsearch": "1.0",
    "python": "3.11.7",
    "system": "Linux-6.1-x86_64-with-glibc2.36",
    "cpu": "AMD EPYC 7763 64-Core Processor",
    "cores": 16,
    "threads": 16,
    "cpu_governor": "not readable: the kernel shows no frequency scaling",
    "load_average": 0.51234,
    "cuda": [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "driver": "560.35",
            "sm_clock_mhz": 1980,
            "not_read": {"power_limit": "no permission"},
        }
    ],
    "versions": {"torch": "2.15.0", "timm": "1.0.31", "onnxruntime": "not installed"},
    "executable": "/usr/bin/python3",
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("documents")
    large_profile(LARGE, blocks=24).write(folder / "large.json")
    large_profile(LARGE, blocks=24, seed=2).write(folder / "slower.json")
    large_outcomes(folder / "large", LARGE, blocks=24)
    (folder / "costs.csv").write_text(COSTS)
    (folder / "slower.csv").write_text(COSTS.replace("segment,1,,10", "segment,1,,13"))
    (folder / "values.csv").write_text(VALUES)
    (folder / "errors.csv").write_text(VALUES.replace("0.9", "0.4").replace("0.6", "1.9"))
    (folder / "bundle").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*shlex.split(f"{SEARCH} uniform:10%,100%"), "--quiet", "--out", "chosen"]) == 0
    config = MultiExitConfig.read(folder / "chosen" / "chosen.json")
    heads = tuple(dict.fromkeys(str(exit_.choice) for exit_ in config.exits))
    large_outcomes(folder / "chosen" / "trained-joint" / "outcomes", LARGE, blocks=24, heads=heads, better=4)
    return folder


@pytest.fixture
def here(documents: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands see the documents; what would take long gives one of them."""
    monkeypatch.chdir(documents)
    monkeypatch.setattr("exitsearch.cli.progress._LINE_SECONDS", 1e6)  # screens do not depend on the load

    def measured(model: Any, measuring: Any, *, candidates: Any, watch: Any) -> Profile:
        profile = large_profile(model.name, blocks=48 if model.name == DEEP else 24)
        heads = [str(choice) for choice in candidates.heads or ()]
        kept = [cost for cost in profile.heads if not heads or cost.head in heads]
        return profile.model_copy(update={"heads": kept})

    def trained_heads(model: Any, training: Any, *, out: Path, **_: Any) -> Any:
        return large_outcomes(out, LARGE, blocks=24)

    def trained(config: MultiExitConfig, recipe: Any, *_: Any, out: Path, **__: Any) -> Trained:
        scores = {split: [score + 0.01 for score in found] for split, found in config.exit_scores.items()}
        kept = {"stage": "all", "epoch": 9, "value": 0.7654} if recipe.stages else None
        return Trained(out, config, scores, "expected value on the choice split" if kept else None, kept)

    exported = SimpleNamespace(folder=Path("bundle"), bundle=Bundle.read(HERE / "documents" / "bundle.json"))
    verified = Verified(Path("verify.json"), Verification.read(HERE / "documents" / "verify.json"))
    instead: dict[str, Callable[..., Any]] = {
        "exitsearch.pipeline.profile.make_profile": measured,
        "exitsearch.pipeline.outcomes.make_outcomes": trained_heads,
        "exitsearch.pipeline.training.train.train_chosen": trained,
        "exitsearch.pipeline.training.train.own_watch": lambda watch: watch,
        "exitsearch.pipeline.export.export": lambda *_, **__: exported,
        "exitsearch.pipeline.verify.verify": lambda *_, **__: verified,
        "exitsearch.measure.machine.fingerprint.describe_machine": lambda: MACHINE,
    }
    for name, found in instead.items():
        monkeypatch.setattr(name, found)
    return documents


def screen(line: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The command and what it shows: stdout, then stderr."""
    monkeypatch.setenv("COLUMNS", str(width))
    try:
        status = main(shlex.split(line))
    except SystemExit as end:  # argparse's --help
        status = int(end.code or 0)
    found = capsys.readouterr()
    parts = [f"$ exitsearch {line}".rstrip(), found.out, *([f"(on stderr)\n{found.err}"] if found.err else [])]
    text = "\n".join(part.rstrip("\n") for part in parts if part) + f"\n(status {status})\n"
    # The hour at which a document was made is part of what its identity is of.
    text = re.sub(r"^(identity +)[0-9a-f]{16} *$", r"\1(16 digits)", text, flags=re.MULTILINE)
    return "\n".join(row.rstrip() for row in text.split("\n"))


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_recorded(
    name: str,
    here: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name.startswith("help") and sys.version_info[:2] != RECORDED_ON:
        pytest.skip("argparse's help is laid out otherwise than on the Python that it was recorded on")
    text = screen(SCREENS[name], 80, capsys, monkeypatch)
    file = RECORDED / f"{name}.txt"
    if request.config.getoption("--record", default=False):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), "if it is meant so: pytest tests/screens --record"
    assert name.startswith(("error", "help", "welcome")) or too_long(text, 80) == []


# Lines to be copied, with paths and commands, are never broken.
WHOLE = ("$ ", "wrote ", "next: ", "profile: ", "outcomes: ")
# One of each kind; the others are made of the same tables.
WIDER = (
    "profile_24_blocks",
    "profile_48_blocks",
    "profile_two_heads",
    "train_heads_24_blocks",
    "search_tables",
    "train",
    "export",
    "verify",
    "compare",
    "list_heads",
    "list_placements",
    "list_recipes",
    "check_profile",
    "env",
)


def too_long(shown: str, width: int) -> list[str]:
    """Lines on stdout that are wider than the terminal."""
    rows = shown.partition("(on stderr)")[0].splitlines()
    return [row for row in rows if not row.startswith(WHOLE) and len(row) > width]


@pytest.mark.parametrize("width", [120, 200])
@pytest.mark.parametrize("name", WIDER)
def test_wider_terminals_are_filled_and_not_left(
    name: str, width: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = screen(SCREENS[name], width, capsys, monkeypatch)
    assert too_long(shown, width) == []
    assert "…" not in shown
    recorded = (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    assert len(shown.splitlines()) <= len(recorded.splitlines()) or name.startswith("profile")
    assert "too narrow" not in shown or width < 200


def test_heads_over_placements_are_shown_each_where_they_fit(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 heads at 24 placements: a summary at 80 columns, every cost at 200."""
    narrow, wide = (screen(SCREENS["profile_24_blocks"], width, capsys, monkeypatch) for width in (80, 200))
    costs = [f"{cost.latency_ms:.3f}" for cost in large_profile(LARGE, blocks=24).heads]
    assert all(cost in wide for cost in costs)
    assert sum(cost in narrow for cost in costs) < 60
    assert "124 columns show each" in narrow


def test_every_command_has_its_screen() -> None:
    assert {file.stem for file in RECORDED.glob("*.txt")} == set(SCREENS)
    commands = {line.split()[0] for line in SCREENS.values() if line and not line.startswith("-")}
    assert set(COMMANDS) <= commands


def test_nothing_recorded_shows_an_escape_or_a_long_budget() -> None:
    for file in RECORDED.glob("*.txt"):
        text = file.read_text(encoding="utf-8")
        assert "%%" not in text, file
        assert re.search(r"uniform:\d+\.\d{5,}", text) is None, file


@pytest.mark.parametrize("name", [name for name in SCREENS if name.split("_")[0] in ENDED])
def test_every_command_says_what_to_do_next(name: str) -> None:
    text = (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    assert re.search(r"^next: exitsearch ", text, re.MULTILINE)
