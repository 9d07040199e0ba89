"""Pages of the documentation as what can be run of them: fenced blocks in order, with the comments before them.

<!-- not run: REASON -->     before a block: it is only shown
<!-- status 0 or 1 -->       before a block: either is right
<!-- long -->                anywhere on a page: its blocks are run where EXITSEARCH_TEST_DOCS is set
<!-- output -->              before a text block: what the block above it printed (see `recorded`)
<!-- output: 4 lines -->     its first lines alone;  `last 4 lines`: its last
<!-- output, the same every time -->   it holds no times, so the test compares it
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")))

_FENCE = re.compile(
    r"(?:^<!-- (?P<comment>[^>\n]*) -->\n+)?^```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_WINDOW = re.compile(r"output(?:: (?P<end>last )?(?P<count>\d+) lines?)?(?P<same>, the same every time)?$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: that it stands on.
        line: of its first line of text, from 1.
        comment: before it, if there is one.
        start: of its text within the page's.
    """

    page: Path
    line: int
    language: str
    text: str
    comment: str
    start: int

    @property
    def is_run(self) -> bool:
        """Whether it is a program that stands there to be run."""
        return self.language in ("bash", "python") and not self.comment.startswith("not run")


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")) + 1,
            found["language"],
            found["text"],
            found["comment"] or "",
            found.start("text"),
        )
        for found in _FENCE.finditer(text)
    ]


def is_long(page: Path) -> bool:
    """Whether what stands on a page takes too long for every run of the tests."""
    return "<!-- long -->" in page.read_text()


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Every `exitsearch ...` of a page's shell blocks: its line, and its words."""
    for block in blocks(page):
        if block.language not in ("bash", "console"):
            continue
        joined = block.text.replace("\\\n", "  ")
        for number, line in enumerate(joined.splitlines()):
            found = re.search(r"(?:^|[ /]|-m )exitsearch (?P<words>[a-z].*)$", line.removeprefix("$ "))
            if found:
                words = shlex.split(found["words"], comments=True)
                yield block.line + number, words[: words.index("&")] if "&" in words else words


def run(block: Block, folder: Path) -> str:
    """Run a block as it stands, in a shell or in Python of its own.

    Returns:
        What it wrote to stdout.

    Raises:
        AssertionError: it failed; with what it wrote to stderr.
    """
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    for name, words in {"exitsearch": "-m exitsearch", "python": "", "torchrun": "-m torch.distributed.run"}.items():
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        tool.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",  # no page needs a network; without this, asking for pretrained weights waits for one
    }
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*program, block.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    where = f"{block.page.name}:{block.line}"
    allowed = (0, 1) if block.comment == "status 0 or 1" else (0,)
    assert done.returncode in allowed, f"{where} ended with status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.replace(f"{folder}/", "")  # where a reader's folder is, is the reader's own affair


def outputs(page: Path, printed: dict[Block, str]) -> Iterator[tuple[Block, str, bool]]:
    """The text blocks that show what a program printed, each with what it printed, and whether it is always so."""
    last = None
    for block in blocks(page):
        window = _WINDOW.match(block.comment)
        if block.language == "text" and window and last in printed:
            lines = [line.rstrip() for line in printed[last].strip("\n").splitlines()]
            if window["count"]:
                count = int(window["count"])
                lines = lines[-count:] if window["end"] else lines[:count]
            yield block, "\n".join(lines) + "\n", bool(window["same"])
        elif block.is_run:
            last = block


def recorded(page: Path, printed: dict[Block, str]) -> str:
    """A page with what its blocks printed in the text blocks behind them."""
    text, shift = page.read_text(), 0
    for block, new, _ in outputs(page, printed):
        begin = block.start + shift
        text = text[:begin] + new + text[begin + len(block.text) :]
        shift += len(new) - len(block.text)
    return text
