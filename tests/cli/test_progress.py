"""Progress: lines every ten seconds without a terminal, bars on one, nothing with --quiet."""

from __future__ import annotations

import io
import sys
import time

import pytest
from rich.console import Console

from exitsearch.cli import progress as module
from exitsearch.cli.console import Terminal
from exitsearch.cli.main import main
from exitsearch.cli.progress import Clock, Lines, bars, progress


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_a_line_every_ten_seconds(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter in 10 s: 30 s are left; half in 20 s: 20 s."""
    tell = Lines("training heads", clock=Clock(seconds))
    for second in range(41):
        seconds.now = float(second)
        tell(second / 40, f"epoch {second // 20 + 1}/2")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "training heads: 25%, epoch 1/2, 30.0 s left",
        "training heads: 50%, epoch 2/2, 20.0 s left",
        "training heads: 75%, epoch 2/2, 10.0 s left",
        "training heads: 100%, epoch 3/2, 0.0 ms left",
    ]


def test_many_short_works_say_as_much_as_a_long_one(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    """Six settings of 4 s each: without a clock for all of them none would ever say a word."""
    clock = Clock(seconds)
    for number in range(6):
        tell = Lines(f"setting {number}", clock=clock)
        tell(0.0)
        seconds.now += 4
        tell(1.0, f"best 0.{number}")
    assert capsys.readouterr().err.splitlines() == [
        "setting 2: 100%, best 0.2, 0.0 ms left",
        "setting 5: 100%, best 0.5, 0.0 ms left",
    ]


def test_time_without_work_does_not_count(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    """Six seconds of work, a pause of minutes, and six seconds of another work: then ten have passed."""
    clock = Clock(seconds)
    with Lines("first", clock=clock).running() as tell:
        seconds.now = 6.0
        tell(1.0)
    seconds.now = 600.0
    with Lines("second", clock=clock).running() as tell:
        tell(0.0)
        seconds.now = 603.0
        tell(0.5)
        assert capsys.readouterr().err == ""
        seconds.now = 606.0
        tell(0.75)
    assert capsys.readouterr().err == "second: 75%, 2.0 s left\n"


def test_what_an_earlier_run_did_does_not_make_this_one_fast(
    seconds: Seconds, capsys: pytest.CaptureFixture[str]
) -> None:
    """Taken up at 80%; 10% more took 20 s, so the last 10% take as long."""
    tell = Lines("training", clock=Clock(seconds))
    tell(0.8)
    seconds.now = 20.0
    tell(0.9, "[bold]words[/bold] as they are")
    assert capsys.readouterr().err == "training: 90%, [bold]words[/bold] as they are, 20.0 s left\n"


def test_before_anything_is_done_only_the_time_is_said(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    tell = Lines("training", clock=Clock(seconds))
    seconds.now = 11.0
    tell.tell()
    tell(0.0)
    seconds.now = 22.0
    tell(0.0)
    assert capsys.readouterr().err == "training: 11.0 s so far\ntraining: 0%, 22.0 s so far\n"


def test_work_that_says_nothing_is_said_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In real time, at a hundredth of the usual waits."""
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.1)
    monkeypatch.setattr(module, "_SHORT_SECONDS", 0.01)
    with Lines("checking", clock=Clock()).running():
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 5
    assert all(line.startswith("checking: ") and line.endswith(" so far") for line in lines)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""  # nothing after its end


def test_short_work_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    with progress("short") as tell:
        tell(0.5, "half")
        tell(1.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_bar_on_a_terminal_fits_it(width: int) -> None:
    """Title, bar and share stay whole; long words give way at their end."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    bar = bars(console)
    words = "epoch 3/5, best 0.9102, " + "word " * 60
    bar.add_task("training 168 heads at 12 placements", total=1.0, completed=0.42, words=words)
    console.print(bar.get_renderable())
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(line) <= width
    assert line.startswith("training 168 heads at 12 placements ━━━")
    assert " 42% " in line
    assert "epoch 3" in line
    assert ("best 0.9102" in line) == (width > 80)


def test_on_a_terminal_there_are_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with progress("searching", console=console) as tell:
        tell(0.5, "40 trials, best 0.9102")
    assert "searching" in console.file.getvalue()  # type: ignore[attr-defined]
    assert capsys.readouterr().err == ""


def test_quiet_shows_no_progress_and_keeps_notes(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Terminal(quiet=True)
    with watch.progress("training") as tell:
        tell(0.5, "half")
    watch.note("the times are in doubt")
    assert capsys.readouterr().err == "the times are in doubt\n"


def test_every_command_knows_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    from exitsearch.cli.main import COMMANDS

    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "--quiet" in capsys.readouterr().out, name
    assert main(["list", "budgets", "--quiet"]) == 0
