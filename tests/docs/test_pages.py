"""What stands in the documentation is true: its programs run, its commands parse, its links lead somewhere.

Every `bash` and `python` block of the pages below is run word for word, in order, in a fresh folder for each page.
Pages that take minutes are run where EXITSEARCH_TEST_DOCS is set, as .ci/run does. EXITSEARCH_RECORD_DOCS=1 writes what
the blocks print into the pages (see `pages.py`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pages
import pytest

from exitsearch.cli.main import build_parser

# Pages whose programs are run. The others describe runs of hours, or on other machines; their commands are parsed.
RUN = (
    "tutorial",
    "your_photographs",
    "your_model",
    "your_head",
    "your_device",
    "your_loop",
    "many_machines",
    "formulas",
)


@pytest.mark.parametrize("name", RUN)
def test_programs_run_as_they_stand(name: str, tmp_path: Path) -> None:
    page = pages.DOCS / f"{name}.md"
    if pages.is_long(page) and not os.environ.get("EXITSEARCH_TEST_DOCS"):
        pytest.skip("takes minutes; set EXITSEARCH_TEST_DOCS=1 to run it")
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "examples").symlink_to(pages.ROOT / "examples")
    (folder / "search_spaces").symlink_to(pages.ROOT / "search_spaces")
    programs = [block for block in pages.blocks(page) if block.is_run]
    assert programs, f"{page} holds nothing to run"
    printed: dict[pages.Block, str] = {}
    try:
        for block in programs:
            printed[block] = pages.run(block, folder)
    finally:
        if os.environ.get("EXITSEARCH_RECORD_DOCS"):
            page.write_text(pages.recorded(page, printed))
    for block, found, same in pages.outputs(page, printed):
        assert block.text.strip(), "the page shows nothing; EXITSEARCH_RECORD_DOCS=1 writes it"
        assert not same or block.text == found, "EXITSEARCH_RECORD_DOCS=1 writes it anew"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    """No option has changed its name behind a page's back."""
    parser = build_parser()
    for line, words in pages.commands(page):
        words = words[: min((words.index(word) for word in ("|", ">", "2>", "&&") if word in words), default=None)]
        try:
            parser.parse_args(words)
        except Exception as error:
            raise AssertionError(f"{page.name}:{line}: exitsearch {' '.join(words)}: {error}") from error


def test_commands_are_found() -> None:
    """The test above reads something: most pages hold commands."""
    counts = {page.stem: len(list(pages.commands(page))) for page in pages.PAGES}
    assert counts["tutorial"] >= 5
    assert sum(counts.values()) > 40


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_python_blocks_compile(page: Path) -> None:
    for block in pages.blocks(page):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_files_that_are_linked_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", text)]
    assert not [target for target in targets if target and not (page.parent / target).exists()]


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"^(\w+)$", (pages.DOCS / "index.md").read_text(), re.MULTILINE))
    assert {page.stem for page in pages.DOCS.glob("*.md")} - {"index"} <= listed


def test_windows_of_output(tmp_path: Path) -> None:
    """What was printed takes the place of what stood there, whole, from the start or from the end."""
    page = tmp_path / "page.md"
    text = "# Page\n\n```bash\nseq 5\n```\n\n<!-- output{} -->\n```text\nold\n```\n\nEnd.\n"
    for window, shown in {"": "1\n2\n3\n4\n5", ": 2 lines": "1\n2", ": last 1 line": "5"}.items():
        page.write_text(text.format(window))
        (block,) = [block for block in pages.blocks(page) if block.is_run]
        printed = {block: pages.run(block, tmp_path)}
        assert pages.recorded(page, printed) == text.format(window).replace("old", shown)


def test_a_block_that_fails_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nfalse\n```\n\n<!-- not run: needs a server -->\n```bash\nfalse\n```\n")
    first, second = pages.blocks(page)
    assert (first.is_run, second.is_run) == (True, False)
    with pytest.raises(AssertionError, match=r"page.md:2 ended with status 1"):
        pages.run(first, tmp_path)


def test_readme_is_one_screen_and_says_how_to_test() -> None:
    """What is longer belongs into docs/; .ci/run reads the command between the markers."""
    text = (pages.ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 72
    (command,) = re.findall(r"<!-- test command -->\n```bash\n(.+)\n```\n<!-- end -->", text)
    assert 'pip install -e ".[dev]"' in command
    assert command.endswith("pytest -n auto")


def test_your_photographs_take_twelve_commands_at_most() -> None:
    """From a clone to a deployed bundle; a line that waits or stops a server is none."""
    page = pages.DOCS / "your_photographs.md"
    shell = [block.text.replace("\\\n", " ") for block in pages.blocks(page) if block.language == "bash"]
    lines = [line.split("#")[0].strip() for text in shell for line in text.splitlines()]
    commands = [line for line in lines if line and not line.startswith(("until", "kill"))]
    assert len(commands) <= 12
    assert commands[0].startswith("git clone")
    assert any(" export " in command for command in commands)
