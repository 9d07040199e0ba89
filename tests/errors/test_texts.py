"""Every error that a user can cause is listed with its text, and ends in what to do."""

from __future__ import annotations

import pytest
import raised
from raised import LISTS, Raised

from exitsearch import errors
from exitsearch.errors import CORRECT, FileError, InputError, one_of
from exitsearch.runtime import errors as runtime_errors
from exitsearch.runtime.errors import BundleError

EVERY = raised.raised()

# Texts of these are sentences of other places, which stand in the lists by themselves and end in what to do.
HANDED_ON = {
    "{said['error']}": "of the first of several processes",
    "{str(error)}": "of what was found wrong below",
    "{_not_found(asked, rest, root, error)}": "put together by a function: tests/learn/data/test_by_timm.py",
    "{missing}": "caught at once, and said with the head types that fit there",
    "{error}{hint}": "ends in head types or placements to choose",
    "{last}": "of a process that measured apart",
    "{self.name} asks for more than outputs.argmax(axis=1): {error}": "of answers that were not kept",
    "{faults[0].problem}{more}; {faults[0].remedy}": "of the first of several rows",
}
# What is to be done is filled in.
FILLED_IN = ("{remedy}", "{source.remedy}", "{source.remedy}, or leave {name} out", "{_PERMIT}", "{_NAME_ONE}")


def ends_in_what_to_do(one: Raised) -> bool:
    if (
        one.kind in raised.MAKERS or one.kind == "ArgumentTypeError"
    ):  # by the class, and by the parser: "see ... --help"
        return True
    if one.remedy == "":  # another error's sentence behind the file's name
        return one.text.endswith("{error}") or one.text == "{str(error)}"
    text = one.whole
    return one.text in HANDED_ON or text in HANDED_ON or text.endswith(FILLED_IN) or raised.says_what_to_do(text)


def test_the_lists_hold_every_text() -> None:
    """A new text is read before it is listed: `python tests/errors/raised.py`."""
    listed = {path.stem: path.read_text() for path in LISTS.glob("*.txt")}
    found = raised.lists()
    missing = [line for room, text in found.items() for line in set(text.splitlines()) - _lines(listed.get(room))]
    gone = [line for room, text in listed.items() for line in set(text.splitlines()) - _lines(found.get(room))]
    assert (sorted(missing), sorted(gone)) == ([], []), "run python tests/errors/raised.py and read the difference"


def _lines(text: str | None) -> set[str]:
    return set((text or "").splitlines())


@pytest.mark.parametrize("room", sorted({one.room for one in EVERY}))
def test_every_text_ends_in_what_to_do(room: str) -> None:
    shown = [one for one in EVERY if one.room == room and one.kind in {*raised.SHOWN, *raised.MAKERS}]
    silent = [f"{one.place}: {one.whole}" for one in shown if not ends_in_what_to_do(one)]
    assert silent == []


def test_every_class_of_errors_is_collected() -> None:
    """A new class of errors would go by unseen."""
    for module in (errors, runtime_errors):
        own = {name for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, Exception)}
        assert own - {"RuntimeFault"} <= raised.SHOWN


def test_it_finds_what_is_raised() -> None:
    """By hand: a constant, a text with something filled in, one in two halves, one with a remedy, one by a function."""
    texts = {(one.kind, one.text) for one in EVERY}
    assert ("InputError", "this profile only counts operations; measure times with exitsearch profile") in texts
    assert ("InputError", "--threads must be from 1 to 4096, found {threads}; give another number") in texts
    assert any(one.kind == "FileError" and one.remedy == "check its name" for one in EVERY)
    assert any(one.kind == "one_of" and one.text == "recipe" for one in EVERY)
    assert len(EVERY) > 600


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a number is needed, found x; give one", True),
        ("a number is needed, found x", False),
        ("a number is needed; found x", False),
        ("give a number", False),
        ("no such thing; pip install 'exitsearch[onnx]'", True),
        ("cannot be written: full; make room and run the same command again: what was finished is kept", True),
    ],
)
def test_what_counts_as_an_instruction(text: str, says: bool) -> None:
    assert raised.says_what_to_do(text) is says


def test_the_classes_add_what_to_do() -> None:
    assert str(FileError("a.json", "not valid JSON")) == f"a.json: not valid JSON; {CORRECT}"
    assert str(FileError("a.json", "no such file", remedy="check its name")) == "a.json: no such file; check its name"
    assert str(FileError("a.json", "row 2: write it so", remedy="")) == "a.json: row 2: write it so"
    assert raised.says_what_to_do(str(BundleError("b", "was altered")))
    unknown = one_of("policy", "hasty", ["contract", "interruptible"])
    assert isinstance(unknown, InputError)
    assert raised.says_what_to_do(str(unknown))
