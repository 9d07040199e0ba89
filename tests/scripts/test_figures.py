"""What the scripts share: options, tables, the form of the figures, errors; and that the scripts use it."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import figures
import pytest

from exitsearch.errors import InputError, UnavailableError

ROOT = Path(__file__).parents[2]


def main_scripts(*, sharing: bool) -> list[str]:
    """Names of the scripts with a main function, that import `figures` or not."""
    found = []
    for path in sorted((ROOT / "scripts").glob("*.py")):
        body = ast.parse(path.read_text()).body
        imported = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in body):
            found += [path.stem] if ("figures" in imported) == sharing else []
    return found


SCRIPTS = main_scripts(sharing=True)


def parser(doc="What it does."):
    return figures.make_parser(doc, file="scripts/some_script.py")


def test_scripts_share_their_options_and_output():
    assert main_scripts(sharing=False) == []
    assert len(SCRIPTS) >= 18


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself_and_takes_json(script, capsys):
    module = importlib.import_module(script)
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    out = capsys.readouterr().out
    assert f"usage: {script}.py" in out
    assert module.__doc__.splitlines()[0] in out
    assert "--json FILE" in out


@pytest.mark.parametrize("script", SCRIPTS)
def test_wrong_options_have_exit_status_2(script, capsys):
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(script).main(["--no-such-option"])
    assert f"{script}.py: error:" in capsys.readouterr().err


def test_a_script_runs_from_the_root_of_the_repository():
    command = [sys.executable, "scripts/check_interval.py", "--profile", "none.json", "--outcomes", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "check_interval: none.json: no such file; check its name\n"


def test_shared_options_and_their_defaults(capsys):
    told = parser()
    figures.add_options(told, "--device", "--dtype", "--batch-size", "--runtime", "--threads")
    assert figures.condition(told.parse_args([])) == {
        "device": "cpu", "dtype": "fp32", "batch_size": 1, "threads": None, "runtime": "eager"
    }  # fmt: skip
    found = figures.condition(told.parse_args(["--device", "cuda:1", "--batch-size", "8", "--threads", "2"]))
    assert (found["device"], found["batch_size"], found["threads"]) == ("cuda:1", 8, 2)


def test_a_script_may_say_otherwise(capsys):
    told = parser()
    figures.add_option(told, "--threads", default=1, help="threads of this script")
    figures.add_option(told, "--max-seconds", default=3.0)
    assert told.parse_args([]).threads == 1
    with pytest.raises(SystemExit):
        told.parse_args(["--help"])
    out = capsys.readouterr().out
    assert "threads of this script (default: 1)" in out
    assert "(default: 3.0)" in out
    figures.add_option(other := parser(), "--threads")
    assert other.parse_args([]).threads is None


def test_lists_in_options():
    assert figures.names("a, b,,c") == ("a", "b", "c")
    assert figures.names("") == ()
    assert figures.numbers("1,2") == (1, 2)
    told = parser()
    figures.add_option(told, "--threads", type=figures.numbers)
    with pytest.raises(SystemExit, match="2"):
        told.parse_args(["--threads", "1,two"])


def test_documents_come_together_or_not_at_all(documents):
    told = parser()
    figures.add_options(told, "--profile", "--outcomes")
    assert figures.documents(told.parse_args([])) is None
    found = figures.documents(told.parse_args(documents))
    assert found is not None
    profile, outcomes = found
    assert len(profile.heads) == len(outcomes.heads) == 4
    for half in (documents[:2], documents[2:]):
        with pytest.raises(InputError, match="belong together"):
            figures.documents(told.parse_args(half))


def test_a_table_is_printed_row_by_row(capsys):
    table = figures.Table({"name": "<6", "ms": "8.3f", "count": "6", "share": "7.1%", "same": "5"}, indent=2)
    assert capsys.readouterr().out == "  name         ms  count   share  same\n"
    table.row("vit", 1.23456, 12, 0.5, True)
    table.row("swin", None, None, None, False)
    table.row("levit_128", float("inf"), 1, 1.0, None)
    assert capsys.readouterr().out == (
        "  vit       1.235     12   50.0%   yes\n"
        "  swin          -      -       -    NO\n"
        "  levit_128      inf      1  100.0%     -\n"
    )
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        table.row("too", "few")


def test_figures_have_one_form(tmp_path):
    told = parser()
    told.add_argument("--out", type=Path, default=Path("somewhere"))
    told.add_argument("--sizes", type=figures.numbers, default=(1, 2))
    options = told.parse_args(["--json", str(tmp_path / "deep" / "found.json")])
    figures.write(options, {"runs": [1], "date": "its own"}, schema_version=3)
    document = json.loads(options.json.read_text())
    assert list(document) == ["schema_version", "runs", "date", "options", "machine", "versions"]
    assert (document["schema_version"], document["runs"], document["date"]) == (3, [1], "its own")
    assert document["options"] == {"out": "somewhere", "sizes": [1, 2]}
    assert document["versions"].keys() >= {"exitsearch", "torch", "timm", "numpy"}
    assert document["machine"].keys() >= {"cpu", "cores", "threads", "load_average", "system"}
    assert sys.executable not in options.json.read_text()


def test_nothing_is_written_without_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures.write(parser().parse_args([]), {"runs": []})
    assert list(tmp_path.iterdir()) == []


def test_half_a_line_spoils_no_other(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    assert figures.recorded(path) == []
    figures.record(path, {"step": "a"})
    with path.open("a") as file:
        file.write('{"step": "b", "sta')  # killed while writing
    figures.record(path, {"step": "b"})
    figures.record(path, {"step": "c"})
    assert figures.recorded(path) == [{"step": "a"}, {"step": "b"}, {"step": "c"}]
    assert capsys.readouterr().out == '{"step": "a"}\n{"step": "b"}\n{"step": "c"}\n'


@pytest.mark.parametrize(("error", "status"), [(InputError("no such thing"), 2), (UnavailableError("not here"), 2)])
def test_wrong_input_is_one_sentence(error, status, capsys):
    def work(options):
        raise error

    assert figures.run(work, parser=parser(), argv=[]) == status
    assert capsys.readouterr().err == f"some_script: {error}\n"


def test_faults_of_our_own_are_not_hidden():
    def work(options):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        figures.run(work, parser=parser(), argv=[])


def test_the_status_is_that_of_the_work():
    assert figures.run(lambda options: 1, parser=parser(), argv=[]) == 1


def test_a_reader_that_goes_away_is_no_fault():
    """`script | head -1`: no traceback, exit status 1."""
    program = (
        "import figures, sys\n"
        "def work(options):\n"
        "    for number in range(10**6): print(number)\n"
        "    return 0\n"
        "sys.exit(figures.run(work, parser=figures.make_parser('', file='f.py'), argv=[]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT / "scripts", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "0\n"
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait() == 1
