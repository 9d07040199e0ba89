"""The registry of head types: what exists, what each needs of a placement, and how one is made.

    @register_head("my_head", description="norm and one linear layer", needs=("class_token",))
    class MyHead(ExitHead):
        def __init__(self, placement, num_outputs, *, dropout: float = 0.1): ...

The keyword arguments of a builder are the options of its head type. Their types are checked from the annotations
(pydantic's constraints included), so that `my_head(dropout=2)` on a command line fails with one sentence.

A head may read side inputs of the model (sound beside pictures) besides the features:

    @register_head("my_fusion", description="class token and mean spectrum, one linear layer", needs=("class_token",))
    class MyFusion(ExitHead):
        def __init__(self, placement, num_outputs, *, side: str = "audio"):
            super().__init__(placement, num_outputs)
            self.side = side
            channels, bands, frames = self.read_side(side)
            ...

        def forward(self, features, **side):        # side[self.side]: [batch, channels, bands, frames]
            ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from exitsearch.errors import ExitSearchError, InputError, UnsupportedError, one_of
from exitsearch.models.heads.base import ExitHead
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.placement import Placement

# What a head type may declare to need, and the words for it in messages.
NEEDS = {"class_token": "a class token", "grid": "a grid of patch tokens or a feature map"}


@dataclass(frozen=True)
class HeadType:
    """One registered head type.

    Attributes:
        name: as written in files and on the command line.
        build: makes the head, called as `build(placement, num_outputs, **options)`.
        description: what it is, in a line.
        source: paper or library it comes from.
        needs: what a placement must have, of `class_token` and `grid`.
        options: option names and their defaults.
    """

    name: str
    build: Callable[..., ExitHead]
    description: str
    source: str
    needs: frozenset[str]
    options: dict[str, object] = field(hash=False)


_REGISTRY: dict[str, HeadType] = {}

BuilderT = TypeVar("BuilderT", bound=Callable[..., ExitHead])


def register_head(
    name: str, *, description: str = "", source: str = "", needs: Iterable[str] = ()
) -> Callable[[BuilderT], BuilderT]:
    """Register a builder or an `ExitHead` class as a head type; a decorator.

    A head that reads side inputs calls `self.read_side(name)` in its constructor for each of them, and takes them in
    its forward as keywords. An option that names one has the name as its default, or None for "reads none".

    Args:
        name: letters, digits, `_`, `-` and `.`, starting with a letter or `_`.
        description: what it is, in a line; left out, the first line of the builder's docstring.
        source: paper or library it comes from.
        needs: what a placement must have, of `class_token` and `grid`.

    Raises:
        InputError: the name is taken or malformed, a need is unknown, or an argument beyond the first two is no
            option with a default.
    """
    if HeadChoice.parse(name) != HeadChoice(name):
        raise InputError(f"the name of a head type has no options or blanks, found {name!r}; choose another name")
    needs = frozenset(needs)
    for need in needs - set(NEEDS):
        raise one_of("need of a head type", need, NEEDS)

    def register(build: BuilderT) -> BuilderT:
        known = _REGISTRY.get(name)
        if known is not None and known.build is not build:
            raise InputError(
                f"the head type {name!r} is registered already, by {known.build.__module__}; choose another name"
            )
        doc = description or (inspect.getdoc(build) or "").partition("\n")[0]
        options = {option: default for option, (default, _) in _declared_options(build, name).items()}
        _REGISTRY[name] = HeadType(name, build, doc, source, frozenset(needs), options)
        return build

    return register


@cache
def _declared_options(build: Callable[..., ExitHead], name: str) -> dict[str, tuple[object, TypeAdapter[Any]]]:
    """Default and type checker of each option of a builder."""
    parameters = list(inspect.signature(build).parameters.values())
    if len(parameters) < 2 or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters[:2]):
        raise InputError(
            f"the builder of head type {name!r} must take (placement, num_outputs) before its options; "
            "begin its arguments with these two"
        )
    try:
        hints = get_type_hints(getattr(build, "__init__") if isinstance(build, type) else build, include_extras=True)  # noqa: B009
    except NameError:
        hints = {}  # a type imported for type checkers only: that option is not checked
    declared: dict[str, tuple[object, TypeAdapter[Any]]] = {}
    for parameter in parameters[2:]:
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise InputError(
                f"the options of head type {name!r} must be named one by one, found {parameter}; "
                "name each option as an argument of its own"
            )
        if parameter.default is parameter.empty:
            raise InputError(
                f"every option of head type {name!r} needs a default; {parameter.name} has none; give it one"
            )
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints.get(parameter.name, Any))
        except PydanticUserError:
            raise InputError(
                f"option {parameter.name} of head type {name!r} must be of a type that a file can hold: bool, int, "
                f"float or str; found {hints[parameter.name]}; "
                "annotate it as one of these"
            ) from None
        declared[parameter.name] = (parameter.default, adapter)
    return declared


def list_heads() -> list[HeadType]:
    """Every head type, in the order of registration; those of installed packages included."""
    from exitsearch.models.heads.plugins import load_entry_points

    load_entry_points()
    return list(_REGISTRY.values())


def get_head_type(name: str) -> HeadType:
    """The head type of a name.

    Raises:
        InputError: when there is none.
    """
    if name not in _REGISTRY:
        from exitsearch.models.heads.plugins import load_entry_points

        load_entry_points()
    if name not in _REGISTRY:
        raise one_of("head type", name, _REGISTRY)
    return _REGISTRY[name]


def check_fits(head: str | HeadChoice, placement: Placement) -> str | None:
    """Why a head cannot stand at a placement, in a sentence; None when it can.

    Args:
        head: a head type with or without options (`gah(stride=2)`).
        placement: where it would stand.

    Raises:
        InputError: unknown head type or option, or an option out of range.
    """
    choice = _choice(head)
    head_type = get_head_type(choice.type)
    options = _checked_options(head_type, choice.options)
    missing = _missing_need(head_type, placement)
    if missing is not None:
        return missing
    try:
        # A head's own rules stand in its constructor, once: on the meta device building costs neither memory nor
        # random numbers.
        _build(head_type, placement, 1, options, device="meta")
    except UnsupportedError as error:
        return str(error)
    return None


_NONE_FITS = "; no head type fits there; choose another placement"


def create_head(
    head: str | HeadChoice,
    *,
    placement: Placement,
    num_outputs: int,
    seed: int | None = None,
    device: torch.device | str | None = None,
) -> ExitHead:
    """Make an exit head. Like any new torch module it is in training mode.

    Args:
        head: a head type with or without options (`gah(stride=2)`).
        placement: where it stands.
        num_outputs: classes, or regression targets; at least 1.
        seed: seed of its random weights, the same on every device, leaving torch's own generator untouched; None
            draws them from torch's generator.
        device: where to put it; `meta` builds shapes without memory.

    Raises:
        InputError: unknown head type or option, or an option out of range.
        UnsupportedError: the placement cannot carry it; the message names head types that fit there.
    """
    choice = _choice(head)
    head_type = get_head_type(choice.type)
    options = _checked_options(head_type, choice.options)
    if isinstance(num_outputs, bool) or not isinstance(num_outputs, int) or num_outputs < 1:
        raise InputError(f"num_outputs must be a whole number from 1, found {num_outputs!r}; give such a number")
    try:
        missing = _missing_need(head_type, placement)
        if missing is not None:
            raise UnsupportedError(missing)
        return _build(head_type, placement, num_outputs, options, seed=seed, device=device)
    except UnsupportedError as error:
        fitting = ", ".join(name for name in _REGISTRY if _fits(name, placement))
        hint = f"; head types that fit there: {fitting}; choose one" if fitting else _NONE_FITS
        raise UnsupportedError(f"{error}{hint}") from None


def _fits(name: str, placement: Placement) -> bool:
    """Whether a head type with its defaults fits; a user's broken one does not."""
    try:
        return check_fits(name, placement) is None
    except InputError:
        return False


def _choice(head: str | HeadChoice) -> HeadChoice:
    return HeadChoice.parse(head) if isinstance(head, str) else head


def _checked_options(head_type: HeadType, given: dict[str, Any]) -> dict[str, Any]:
    """The given options in their declared types."""
    declared = _declared_options(head_type.build, head_type.name)
    checked = {}
    for option, value in given.items():
        if option not in declared:
            if not declared:
                raise InputError(f"head type {head_type.name} has no options, found {option!r}; leave it out")
            raise one_of(f"option of head type {head_type.name}", option, declared)
        try:
            # Strict: neither `true` for a number nor "3" for 3; a whole number passes for a float.
            checked[option] = declared[option][1].validate_python(value, strict=True)
        except ValidationError as error:
            rule = error.errors(include_url=False)[0]["msg"].removeprefix("Input ")
            raise InputError(
                f"option {option} of head type {head_type.name} {rule}, found {value!r}; "
                "give another value, or leave it out"
            ) from None
    return checked


def _missing_need(head_type: HeadType, placement: Placement) -> str | None:
    has = {"class_token": placement.class_token, "grid": placement.patch_count > 0}
    if not any(has.values()):
        return f"{_shown(placement)} has neither class token nor grid: there is nothing that an exit head can read"
    for need in sorted(head_type.needs):
        if not has[need]:
            return (
                f"head type {head_type.name} needs {NEEDS[need]}, and {_shown(placement)} has none; choose a placement "
                f"that has {NEEDS[need]}, or another head type"
            )
    return None


def _shown(placement: Placement) -> str:
    return f"placement {placement.index} ({placement.module}, layout {placement.layout})"


def _build(
    head_type: HeadType,
    placement: Placement,
    num_outputs: int,
    options: dict[str, Any],
    *,
    seed: int | None = None,
    device: torch.device | str | None = None,
) -> ExitHead:
    target = torch.device(device or "cpu")
    with ExitStack() as stack:
        if seed is not None:
            # Weights are drawn on the CPU; manual_seed of torch itself would also reseed the GPUs.
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.default_generator.manual_seed(seed)
        stack.enter_context(torch.device("meta" if target.type == "meta" else "cpu"))
        try:
            head = head_type.build(placement, num_outputs, **options)
        except ExitSearchError:
            raise
        except Exception as error:
            raise InputError(
                f"head type {head_type.name} cannot be built at {_shown(placement)}: {type(error).__name__}: {error}; "
                "correct the head, or leave it out of the candidates"
            ) from error
    if not isinstance(head, ExitHead):
        raise InputError(
            f"the builder of head type {head_type.name!r} must return an ExitHead, found {type(head).__name__}; "
            "return one"
        )
    return head.to(target)
