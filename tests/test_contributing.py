"""CONTRIBUTING.md: what it tells to write is written here as it stands there, and does what it says."""

from __future__ import annotations

import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbone import EXAMPLE, answers, numbers, tiny_backbone, tiny_heads

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.registry import LOSSES
from exitsearch.learn.recipes.outputs import ExitFacts, ExitOutputs
from exitsearch.measure.runtimes import RUNTIMES
from exitsearch.models.heads import registry
from exitsearch.testing import HeadConformance

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def block(heading: str) -> str:
    """The code of a section."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```(?:python|bash)\n(.*?)```", section, flags=re.DOTALL)
    return str(code)


@pytest.mark.parametrize("heading", ["Set up", "Test", "Add a head", "Add a runtime", "Add a recipe", "Release"])
def test_each_is_short(heading: str) -> None:
    lines = [line for line in block(heading).splitlines() if line.strip()]
    assert 1 <= len(lines) <= 11
    for path in re.findall(r"`((?:exitsearch|tests|scripts)/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).exists() or path == "exitsearch/measure/runtimes/half.py", path


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """Where a block is run; what it registers is taken back."""
    heads, losses = dict(registry._REGISTRY), dict(LOSSES)
    yield {"__name__": "contributed"}
    for registered, before in ((registry._REGISTRY, heads), (LOSSES, losses)):
        registered.clear()
        registered.update(before)  # type: ignore[arg-type]


def test_the_head_conforms(namespace: dict[str, Any]) -> None:
    exec(block("Add a head"), namespace)

    class Conforms(HeadConformance, unittest.TestCase):
        head = "mean_linear"
        options = {"bias": False}  # noqa: RUF012

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Conforms).run(result)
    assert result.testsRun > 5
    assert result.wasSuccessful(), result.failures + result.errors


def test_the_runtime_answers_as_eager_does(namespace: dict[str, Any]) -> None:
    exec(block("Add a runtime"), namespace)
    half = namespace["HalfRuntime"]
    with pytest.raises(InputError, match="use --dtype bf16"):
        half.check(torch.device("cpu"), "fp32")
    half.check(torch.device("cpu"), "bf16")
    mine, eager = (kind(tiny_backbone(), tiny_heads(), example=EXAMPLE) for kind in (half, RUNTIMES["eager"]))
    for found, wanted in zip(answers(mine, EXAMPLE), answers(eager, EXAMPLE), strict=True):
        torch.testing.assert_close(numbers(found), numbers(wanted))


def test_the_recipe_weighs_the_last_two(namespace: dict[str, Any]) -> None:
    """Even logits of two classes cost ln 2 each; of three exits the last two are counted."""
    exec(block("Add a recipe"), namespace)
    logits = tuple(torch.zeros(4, 2) for _ in range(3))
    facts = ExitFacts(task="classification", placements=(0, 3), heads=("linear", "linear"), depth=12)
    found = namespace["last_two"](ExitOutputs(logits=logits, facts=facts), torch.zeros(4, dtype=torch.long), None, 0)
    assert list(found) == ["exit_1", "final"]
    assert sum(found.values()).item() == pytest.approx(2 * 0.693147, abs=1e-5)
    assert namespace["recipe"].stages[0].loss == "last_two"
