"""Every slip on the command line is one sentence on stderr, with the nearest word, and status 2."""

from __future__ import annotations

import pytest

from exitsearch.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("serch", "unknown command 'serch' (did you mean 'search'?); known: check, compare, completion, env"),
        ("search --budget-dst uniform:1,2", "unknown option '--budget-dst' (did you mean '--budget-dist'?); see exits"),
        ("search --budget-dst=uniform:1,2", "unknown option '--budget-dst' (did you mean '--budget-dist'?); see exits"),
        ("search --qqqq", "unknown option '--qqqq'; see exitsearch search --help"),
        ("search", "the following arguments are required: --budget-dist; see exitsearch search --help"),
        ("search --budget-dist point:1 --tolerance -1", "argument --tolerance: a number from 0 is needed, found '-1'"),
        ("list hads", "unknown word after exitsearch list 'hads' (did you mean 'heads'?); known: budgets, heads"),
        ("train --config a --metric foo", "unknown --metric 'foo'; known: accuracy, mae"),
        ("profile extra", "unrecognized arguments: extra; see exitsearch --help"),
        ("--bogus", "unrecognized arguments: --bogus; see exitsearch --help"),
        ("--verson", "unrecognized arguments: --verson (did you mean '--version'?); see exitsearch --help"),
    ],
)
def test_a_slip_is_one_sentence(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"exitsearch: {sentence}")
    assert err.count("\n") == 1


def test_an_option_may_be_shortened_as_argparse_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "budgets", "--js"]) == 0
    assert '"budgets"' in capsys.readouterr().out


def test_alone_it_says_what_it_is_and_what_to_type_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("exitsearch: which early-exit head goes where")
    assert "  exitsearch search --budget-dist uniform:10%,100%\n" in err
    assert len(err.splitlines()) < 16  # a welcome, not the manual


def test_the_help_shows_no_escapes_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for line in ([], *([name] for name in COMMANDS)):
        with pytest.raises(SystemExit):
            main([*line, "--help"])
        assert "%%" not in capsys.readouterr().out
