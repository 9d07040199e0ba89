"""The scripts that `exitsearch completion` prints, read by the shells themselves where they are installed."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from exitsearch.cli.commands.completion import SHELLS, completion_script
from exitsearch.cli.main import COMMANDS, main


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file a shell, by its name; for zsh under the name that its functions have."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(completion_script(shell))
    (folder / "zfunctions").mkdir()
    shutil.copy(folder / "zsh", folder / "zfunctions" / "_exitsearch")
    (folder / "bin").mkdir()
    (folder / "bin" / "exitsearch").write_text("#!/bin/sh\n")
    (folder / "bin" / "exitsearch").chmod(0o755)
    (folder / "some_profile.json").write_text("{}")
    return folder


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def bash_completes(scripts: Path, *words: str) -> list[str]:
    program = f"source {scripts}/bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
    program += '_shtab_exitsearch exitsearch "${COMP_WORDS[-1]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run(
        [needs("bash"), "--norc", "-c", program], capture_output=True, text=True, check=True, cwd=scripts
    )
    assert found.stderr == ""
    return [word.strip() for word in found.stdout.splitlines() if word.strip()]


def test_bash_completes_commands_options_values_and_files(scripts: Path) -> None:
    assert set(COMMANDS) <= set(bash_completes(scripts, "exitsearch", "''"))
    assert bash_completes(scripts, "exitsearch", "sea") == ["search"]
    assert bash_completes(scripts, "exitsearch", "search", "--budget") == ["--budget-dist"]
    assert bash_completes(scripts, "exitsearch", "search", "--policy", "con") == ["contract", "confidence"]
    assert bash_completes(scripts, "exitsearch", "list", "hea") == ["heads"]
    assert bash_completes(scripts, "exitsearch", "search", "--profile", "some") == ["some_profile.json"]


def fish_completes(scripts: Path, line: str) -> list[str]:
    program = f"source {scripts}/fish; complete -C {json.dumps(line)}"
    environment = {**os.environ, "HOME": str(scripts), "XDG_CONFIG_HOME": str(scripts)}
    found = subprocess.run(
        [needs("fish"), "--no-config", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=scripts,
        env=environment,
    )
    return [row.split("\t")[0] for row in found.stdout.splitlines()]


def test_fish_completes_commands_options_values_and_files(scripts: Path) -> None:
    assert set(COMMANDS) <= set(fish_completes(scripts, "exitsearch "))
    assert fish_completes(scripts, "exitsearch search --budget") == ["--budget-dist"]
    assert set(fish_completes(scripts, "exitsearch search --policy con")) == {"contract", "confidence"}
    assert fish_completes(scripts, "exitsearch list hea") == ["heads"]
    assert "some_profile.json" in fish_completes(scripts, "exitsearch search --profile some")


class Typed:
    """An interactive shell at a terminal of its own."""

    def __init__(self, command: list[str], *, folder: Path) -> None:
        environment = {**os.environ, "TERM": "dumb", "HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, start_new_session=True
        )
        os.close(slave)
        self._seen = ""

    def type(self, text: str, *, until: str, seconds: float = 60.0) -> bool:
        """Type and wait; whether the words came."""
        self._seen = ""
        os.write(self._master, text.encode())
        end = time.monotonic() + seconds
        while until not in self._seen and time.monotonic() < end:
            if select.select([self._master], [], [], 0.1)[0]:
                self._seen += os.read(self._master, 4096).decode(errors="replace")
        return until in self._seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def test_zsh_completes_as_typed(scripts: Path) -> None:
    shell = Typed([needs("zsh"), "-f", "-i"], folder=scripts)
    try:
        ready = f"fpath=({scripts}/zfunctions $fpath); autoload -Uz compinit; compinit -u -d {scripts}/dump; "
        assert shell.type(f"{ready}print re''ady\n", until="ready")
        assert shell.type("exitsearch sea\t", until="search ")
        assert shell.type("--budget\t", until="--budget-dist ")
        assert shell.type("point:1 --profile some\t", until="some_profile.json")
    finally:
        shell.close()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "%%" not in captured.out
    for command in COMMANDS:
        assert command in captured.out
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": captured.out}
