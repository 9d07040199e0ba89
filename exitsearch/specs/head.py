"""HeadChoice: a head type with its options, written `gah` or `gah(stride=2)` in tables, options and files.

>>> str(HeadChoice.parse("gah(stride=2)"))
'gah(stride=2)'
>>> HeadChoice.parse("lph(depthwise=false)").options
{'depthwise': False}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

from exitsearch.errors import InputError

Option = bool | int | float | str

_FORM = re.compile(r"(?P<type>[A-Za-z_][A-Za-z0-9_.-]*)(?:\((?P<options>[^()]*)\))?")


@dataclass(frozen=True)
class HeadChoice:
    """A head type and the options that differ from its defaults.

    Attributes:
        type: registered name of the head type.
        options: keyword options of that head type.
    """

    type: str
    options: dict[str, Option] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type` or `type(name=value, ...)`.

        Raises:
            InputError: when it has another form.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise InputError(
                f"a head is written TYPE or TYPE(option=value, ...), found {text.strip()!r}; "
                "write it in that form, as linear or gah(stride=2)"
            )
        options: dict[str, Option] = {}
        for part in filter(None, (part.strip() for part in (match["options"] or "").split(","))):
            name, equals, value = part.partition("=")
            if not equals:
                raise InputError(
                    f"a head option is written option=value, found {part!r} in {text.strip()!r}; "
                    "write it in that form, as gah(stride=2)"
                )
            options[name.strip()] = _option(value.strip())
        return cls(match["type"], options)

    def __str__(self) -> str:
        if not self.options:
            return self.type
        return f"{self.type}({','.join(f'{name}={_shown(self.options[name])}' for name in sorted(self.options))})"

    def __hash__(self) -> int:
        return hash(str(self))


def _option(text: str) -> Option:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _shown(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def split_heads(text: str) -> list[str]:
    """Split `a,b(x=1,y=2),c` at the commas outside brackets, into canonical texts, each once.

    >>> split_heads("linear, gah(stride=2)")
    ['linear', 'gah(stride=2)']
    """
    parts = re.split(r",(?![^(]*\))", text)
    return list(dict.fromkeys(str(HeadChoice.parse(part)) for part in parts if part.strip()))
