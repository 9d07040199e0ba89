from __future__ import annotations

import importlib.metadata
from typing import Annotated, Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from exitsearch.errors import FileError, InputError, UnsupportedError
from exitsearch.models import features
from exitsearch.models.heads import (
    ExitHead,
    check_fits,
    create_head,
    get_head_type,
    list_heads,
    load_entry_points,
    load_plugin,
    plugins,
    register_head,
    registry,
)
from exitsearch.specs.head import HeadChoice
from exitsearch.testing import LAYOUTS, HeadConformance

TOKENS = LAYOUTS["tokens"]


@pytest.fixture
def scratch(monkeypatch):
    """A registry whose changes end with the test."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(plugins, "_loaded_files", {})
    monkeypatch.setattr(plugins, "_loaded_entry_points", [])


class TokenHead(ExitHead):
    """One linear layer on the class token."""

    def __init__(
        self,
        placement,
        num_outputs,
        *,
        width: Annotated[int, Field(ge=2)] = 4,
        mode: Literal["a", "b"] = "a",
        rate: float = 0.0,
        flag: bool = False,
    ):
        super().__init__(placement, num_outputs)
        if width > placement.channels:
            raise UnsupportedError(f"width must be at most the {placement.channels} channels, found {width}")
        self.width = width
        self.rate = rate
        self.fc = nn.Linear(width, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(features.class_token(x, self.placement)[:, : self.width])


def test_list_explains_itself():
    found = {head.name: head for head in list_heads()}
    assert {"mlp_ee", "vit_ee", "linear", "conv", "lph", "gah", "sl_vit"} <= set(found)
    assert all(head.description and head.source for head in found.values())
    assert found["gah"].options == {"stride": 2, "num_heads": None}
    assert found["gah"].needs == {"grid"}


def test_registration(scratch):
    register_head("mine", needs=("class_token",))(TokenHead)
    head_type = get_head_type("mine")
    assert head_type.build is TokenHead
    assert head_type.description == "One linear layer on the class token."
    assert head_type.options == {"width": 4, "mode": "a", "rate": 0.0, "flag": False}
    register_head("mine", needs=("class_token",))(TokenHead)  # the same object again is no second head
    with pytest.raises(InputError, match="'mine' is registered already"):
        register_head("mine")(lambda placement, num_outputs: TokenHead(placement, num_outputs))


def _without_default(placement, num_outputs, *, width): ...


def _any_keywords(placement, num_outputs, **options): ...


def _one_argument(placement): ...


def _odd_type(placement, num_outputs, *, option: nn.Module | None = None): ...


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_without_default, "needs a default; width has none"),
        (_any_keywords, r"must be named one by one, found \*\*options"),
        (_one_argument, r"must take \(placement, num_outputs\)"),
        (_odd_type, "of a type that a file can hold"),
    ],
)
def test_builders_that_are_refused(scratch, build, message):
    with pytest.raises(InputError, match=message):
        register_head("mine")(build)
    assert "mine" not in registry._REGISTRY


def test_names_and_needs_that_are_refused(scratch):
    for name in ("two words", "mine(x=1)", ""):
        with pytest.raises(InputError):
            register_head(name)
    with pytest.raises(InputError, match=r"unknown need of a head type 'gird' \(did you mean 'grid'\?\)"):
        register_head("mine", needs=("gird",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vit_e", r"unknown head type 'vit_e' \(did you mean 'vit_ee'\?\)"),
        ("mine(widht=3)", r"unknown option of head type mine 'widht' \(did you mean 'width'\?\)"),
        ("mine(width=1)", "option width of head type mine should be greater than or equal to 2, found 1"),
        ("mine(width=2.5)", "option width .* should be a valid integer, found 2.5"),
        ("mine(width=true)", "option width .* should be a valid integer, found True"),
        ("mine(mode=c)", "option mode .* should be 'a' or 'b', found 'c'"),
        ("mine(flag=1)", "option flag .* should be a valid boolean, found 1"),
        ("mine(rate=high)", "option rate .* should be a valid number, found 'high'"),
    ],
)
def test_options_are_checked(scratch, text, message):
    register_head("mine")(TokenHead)
    for ask in (lambda: create_head(text, placement=TOKENS, num_outputs=3), lambda: check_fits(text, TOKENS)):
        with pytest.raises(InputError, match=message):
            ask()


def test_options_arrive(scratch):
    register_head("mine")(TokenHead)
    head = create_head(HeadChoice("mine", {"width": 5, "rate": 1}), placement=TOKENS, num_outputs=3)
    assert (head.width, head.rate, type(head.rate)) == (5, 1.0, float)


@pytest.mark.parametrize("outputs", [0, -1, True, 2.0])
def test_number_of_outputs(outputs):
    with pytest.raises(InputError, match="num_outputs must be a whole number from 1"):
        create_head("linear", placement=TOKENS, num_outputs=outputs)


def test_needs_are_held(scratch):
    register_head("mine", needs=("class_token",))(TokenHead)
    assert check_fits("mine", TOKENS) is None
    reason = check_fits("mine", LAYOUTS["nchw"])
    assert reason is not None
    assert reason.startswith("head type mine needs a class token, and placement 0 (blocks.0, layout nchw) has none")
    with pytest.raises(UnsupportedError, match=r"needs a class token.*head types that fit there: .*linear") as caught:
        create_head("mine", placement=LAYOUTS["nchw"], num_outputs=3)
    assert "mine," not in str(caught.value)
    assert "grid" in str(check_fits("conv", LAYOUTS["tokens_no_grid"]))


def test_own_rules_of_a_head(scratch):
    register_head("mine")(TokenHead)
    assert check_fits("mine(width=33)", TOKENS) == "width must be at most the 32 channels, found 33"
    with pytest.raises(UnsupportedError, match="at most the 32 channels"):
        create_head("mine(width=33)", placement=TOKENS, num_outputs=3)


def test_placement_without_anything_to_read():
    nothing = TOKENS.model_copy(update={"grid": (0, 0), "class_token": False})
    assert "nothing that an exit head can read" in str(check_fits("linear", nothing))
    with pytest.raises(UnsupportedError, match="no head type fits there"):
        create_head("linear", placement=nothing, num_outputs=3)


def test_faults_of_a_builder_are_named(scratch):
    def broken(placement, num_outputs):
        raise ZeroDivisionError("no width")

    register_head("broken")(broken)
    register_head("foreign")(lambda placement, num_outputs: nn.Linear(3, num_outputs))
    with pytest.raises(InputError, match=r"broken cannot be built at placement 0 .*: ZeroDivisionError: no width"):
        create_head("broken", placement=TOKENS, num_outputs=3)
    with pytest.raises(InputError, match="must return an ExitHead, found Linear"):
        create_head("foreign", placement=TOKENS, num_outputs=3)
    # A broken head type does not hide which others fit.
    with pytest.raises(UnsupportedError, match=r"head types that fit there: .*linear"):
        create_head("conv", placement=LAYOUTS["tokens_no_grid"], num_outputs=3)


def test_checking_draws_no_random_numbers():
    before = torch.get_rng_state()
    for head in list_heads():
        check_fits(head.name, TOKENS)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_torch_decides():
    torch.manual_seed(3)
    first = create_head("linear", placement=TOKENS, num_outputs=3).fc.weight
    second = create_head("linear", placement=TOKENS, num_outputs=3).fc.weight
    torch.manual_seed(3)
    again = create_head("linear", placement=TOKENS, num_outputs=3).fc.weight
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


PLUGIN = """
from torch import nn
from exitsearch.models.features import mean_token
from exitsearch.models.heads import ExitHead, register_head

@register_head("from_file", description="mean and one linear layer", needs=("grid",))
class FromFile(ExitHead):
    def __init__(self, placement, num_outputs, *, bias: bool = True):
        super().__init__(placement, num_outputs)
        self.fc = nn.Linear(placement.channels, num_outputs, bias=bias)

    def forward(self, features):
        return self.fc(mean_token(features, self.placement))
"""


def test_plugin_file(scratch, tmp_path):
    path = tmp_path / "my_heads.py"
    path.write_text(PLUGIN)
    (head_type,) = load_plugin(path)
    assert head_type.name == "from_file"
    assert head_type in list_heads()
    assert load_plugin(str(path)) == [head_type]  # run once
    conformance = type("TestFromFile", (HeadConformance,), {"head": "from_file", "options": {"bias": False}})()
    for check in ("test_output_shape", "test_refusal", "test_gradients_reach_every_parameter", "test_describes_itself"):
        getattr(conformance, check)()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def broken(:", "cannot be loaded: SyntaxError"),
        ("import no_such_module_here", "cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        (PLUGIN.replace("from_file", "linear"), "cannot be loaded: the head type 'linear' is registered already"),
    ],
)
def test_plugin_that_fails(scratch, tmp_path, text, message):
    path = tmp_path / "my_heads.py"
    path.write_text(PLUGIN + text)
    with pytest.raises(InputError, match=message):
        load_plugin(path)
    assert "from_file" not in registry._REGISTRY
    path.write_text(PLUGIN)  # repaired: nothing of the failure is left
    assert [head.name for head in load_plugin(path)] == ["from_file"]


def test_plugin_that_is_no_file(tmp_path):
    with pytest.raises(FileError, match="no such plugin file"):
        load_plugin(tmp_path / "missing.py")
    (tmp_path / "heads.txt").write_text(PLUGIN)
    with pytest.raises(FileError, match=r"a plugin is a Python file \(.py\)"):
        load_plugin(tmp_path / "heads.txt")


def test_entry_points(scratch, tmp_path, monkeypatch):
    (tmp_path / "installed_heads.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    found = [importlib.metadata.EntryPoint("heads", "installed_heads", "exitsearch.heads")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    assert get_head_type("from_file").name == "from_file"
    assert load_entry_points() == ["heads"]


def test_entry_point_that_fails(scratch, monkeypatch):
    found = [importlib.metadata.EntryPoint("heads", "no_such_package_here", "exitsearch.heads")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    with pytest.raises(InputError, match="installed package no_such_package_here cannot be loaded: ModuleNotFound"):
        load_entry_points()
