"""Progress where there is no terminal: a line every ten seconds, with share, words and what is left."""

from __future__ import annotations

import sys

import pytest

from exitsearch.cli.console import Lines, progress


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


def test_a_line_every_ten_seconds(clock, capsys):
    """An eighth in 5 s, a quarter in 10: 30 s are left; half in 20 s: 20 s."""
    tell = Lines("training heads", clock=clock)
    for second in range(41):
        clock.now = float(second)
        tell(second / 40, f"epoch {second // 20 + 1}/2")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "training heads: 25%, epoch 1/2, 30.0 s left",
        "training heads: 50%, epoch 2/2, 20.0 s left",
        "training heads: 75%, epoch 2/2, 10.0 s left",
        "training heads: 100%, epoch 3/2, 0.0 ms left",
    ]


def test_what_an_earlier_run_did_does_not_make_this_one_fast(clock, capsys):
    """Taken up at 80%; 10% more took 20 s, so the last 10% take as long."""
    tell = Lines("training", clock=clock)
    tell(0.8)
    clock.now = 20.0
    tell(0.9, "[bold]words[/bold] as they are")
    assert capsys.readouterr().err == "training: 90%, [bold]words[/bold] as they are, 20.0 s left\n"


def test_nothing_is_promised_before_anything_is_done(clock, capsys):
    tell = Lines("training", clock=clock)
    tell(0.0)
    clock.now = 11.0
    tell(0.0)
    assert capsys.readouterr().err == "training: 0%\n"


def test_short_work_says_nothing_without_a_terminal(capsys):
    assert not sys.stderr.isatty()
    with progress("short") as tell:
        tell(0.5, "half")
        tell(1.0)
    assert capsys.readouterr().err == ""
