"""Side inputs: further named inputs of a model, which its backbone does not read and its exit heads may.

>>> parse_side_inputs("audio=1x32x64")
{'audio': (1, 32, 64)}
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from exitsearch.errors import InputError, shown
from exitsearch.specs.table import whole_number

# (channels, height, width) of one.
Size = tuple[int, int, int]

# The first arguments of a model and of a head: side inputs are handed over by name beside them.
MAIN_INPUT = "x"
_TAKEN = (MAIN_INPUT, "self", "features")

_FORM = "NAME=CHANNELSxHEIGHTxWIDTH, several with commas (audio=1x32x64)"


def check_side_inputs(sizes: Mapping[str, Size]) -> dict[str, Size]:
    """Side inputs whose names can be arguments and whose sizes are possible, by name, in the order of names.

    Raises:
        InputError: a name or a size cannot be one.
    """
    for name, size in sizes.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
            raise InputError(
                "a side input is named by letters, digits and _ as an argument in Python, and neither "
                f"{', '.join(_TAKEN[:-1])} nor {_TAKEN[-1]}; found {shown(name)}; "
                "choose another name"
            )
        if len(size) != 3 or any(length < 1 for length in size):
            raise InputError(
                f"the size of a side input is channels, height and width, each 1 or more; found {size_text(size)} for "
                f"{name}; "
                "give three such numbers"
            )
    return {name: sizes[name] for name in sorted(sizes)}


# As a field of a document, left out of it where there are none.
SideInputs = Annotated[dict[str, Size], AfterValidator(check_side_inputs)]


def parse_side_inputs(text: str) -> dict[str, Size]:
    """Read `audio=1x32x64`, several with commas.

    Raises:
        InputError: it has another form, or a name stands there twice.
    """
    found: dict[str, Size] = {}
    for part in (piece.strip() for piece in text.split(",")):
        name, equals, size = (piece.strip() for piece in part.partition("="))
        lengths = [whole_number(length) for length in size.split("x")]
        if not equals or len(lengths) != 3 or None in lengths:
            raise InputError(f"side inputs are written {_FORM}, found {shown(part)}; write it in that form")
        if name in found:
            raise InputError(f"each side input stands there once, found {name} twice; leave one out")
        found[name] = (lengths[0] or 0, lengths[1] or 0, lengths[2] or 0)
    return check_side_inputs(found)


def size_text(size: tuple[int, ...]) -> str:
    """A size for people: `1x32x64`."""
    return "x".join(map(str, size))


def side_text(sizes: Mapping[str, Size]) -> str:
    """Side inputs for people, as `parse_side_inputs` reads them; `none` where there are none."""
    return ",".join(f"{name}={size_text(size)}" for name, size in sizes.items()) or "none"
