"""Recipes against each other at the smallest size, what is kept of them, and what is said of the noise."""

from __future__ import annotations

import json
import re
import shutil

import bench_recipes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exitsearch.pipeline.trained.judge import judge_of
from exitsearch.specs.load import load_config

SMALL = (
    *("--data", "digits", "--model", "vit_digits_patch1_8", "--train", "60", "--choice", "30", "--report", "40"),
    *("--epochs", "1", "--head-epochs", "1", "--threads", "1", "--heads", "linear", "--placements", "1,5"),
    *("--max-seconds", "0.2"),
)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Two recipes with two seeds, as a call leaves them."""
    out = tmp_path_factory.mktemp("recipes")
    argv = [*SMALL, "--recipes", "joint", "--seeds", "2", "--out", str(out), "--json", str(out / "figures.json")]
    assert bench_recipes.main(argv) == 0
    return out


def runs_of(out):
    return {path.parent.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("*/*/run.json")}


def test_every_recipe_with_every_seed(ran):
    """The baseline is run along, since the others begin with its heads."""
    document = json.loads((ran / "figures.json").read_text())
    assert sorted(runs_of(ran)) == ["frozen/seed0", "frozen/seed1", "joint/seed0", "joint/seed1"]
    config = load_config(ran / "chosen.json")
    exits = len(config.exits) + 1
    assert document["exits"] == [[exit_.placement, exit_.head] for exit_ in config.exits]
    for row in document["runs"]:
        assert {split: len(scores) for split, scores in row["scores"].items()} == {"choice": exits, "report": exits}
        assert row["values"]["report"] == judge_of(config)(row["scores"]["report"])
        # Accuracies of as many samples as were asked for.
        assert all((score * 40) == pytest.approx(round(score * 40)) for score in row["scores"]["report"])
        assert row["cpu_seconds"] > 0
    found = document["recipes"]["joint"]
    assert found["seeds"] == [0, 1]
    by_run = {(row["recipe"], row["seed"]): row["values"]["report"] for row in document["runs"]}
    assert found["lead"] == [by_run["joint", seed] - by_run["frozen", seed] for seed in (0, 1)]
    assert found["value"][0] == pytest.approx((by_run["joint", 0] + by_run["joint", 1]) / 2)


def test_joint_goes_on_from_the_heads_that_frozen_trained(ran):
    """One training of heads a seed: its outcomes stand in the folder of `frozen` alone."""
    assert (ran / "frozen" / "seed0" / "model.safetensors").exists()
    record = json.loads((ran / "joint" / "seed0" / "training.json").read_text())
    assert record["identity_of"]["warm"] is True
    assert not list((ran / "joint").rglob("outcomes.json"))


def test_what_is_finished_is_not_repeated(ran, tmp_path, call, monkeypatch):
    out = shutil.copytree(ran, tmp_path / "out")
    before = runs_of(out)
    (out / "joint" / "seed1" / "run.json").unlink()
    trained = []
    real = bench_recipes.train_model

    def watched(*args, **kwargs):
        trained.append(kwargs["out"].relative_to(out).as_posix())
        return real(*args, **kwargs)

    monkeypatch.setattr(bench_recipes, "train_model", watched)
    called = call("bench_recipes", *SMALL, "--recipes", "joint", "--seeds", "2", "--out", out, "--table")
    assert trained == []  # it prints what is there
    assert called.figures["recipes"]["joint"]["seeds"] == [0]
    called = call("bench_recipes", *SMALL, "--recipes", "joint", "--seeds", "2", "--out", out)
    assert trained == ["joint/seed1"]
    again = json.loads((out / "joint" / "seed1" / "run.json").read_text())
    assert again["scores"] == json.loads(before["joint/seed1"])["scores"]
    assert again["resumed"] is True
    assert "joint" in called.out
    assert "over frozen" in called.out


def test_runs_of_other_settings_are_not_mixed(ran, capsys):
    argv = [*SMALL, "--recipes", "joint", "--seeds", "2", "--out", str(ran)]
    assert bench_recipes.main([*argv, "--train", "50"]) == 2
    assert "holds runs that differ in data" in capsys.readouterr().err
    assert bench_recipes.main([*argv, "--start", "fresh"]) == 2
    assert "holds runs that differ in start (there frozen, asked for fresh)" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_is_left_out_and_said(ran, tmp_path, call):
    """From new heads nobody knows which samples are easy."""
    out = tmp_path / "fresh"
    options = ("--recipes", "curriculum,frozen", "--seeds", "1", "--start", "fresh", "--config", ran / "chosen.json")
    called = call("bench_recipes", *SMALL, *options, "--out", out)
    assert called.status == 0
    assert list(called.figures["recipes"]) == ["frozen"]
    assert "curriculum left out: the stage curriculum" in called.out
    assert sorted(runs_of(out)) == ["frozen/seed0"]  # a reason is heard again


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--recipes", "joint,no_such"], "unknown recipe 'no_such'"),
        (["--seeds", "0"], "--seeds, --epochs and --head-epochs must be 1 or more"),
        (["--recipes", ""], "--recipes name at least one"),
    ],
)
def test_wrong_options(argv, words, capsys):
    assert bench_recipes.main([*SMALL, *argv]) == 2
    assert words in capsys.readouterr().err


def rows_of(values):
    """Runs of recipes with one exit: recipe to the value held out by seed."""
    return [
        {
            "recipe": recipe,
            "seed": seed,
            "scores": {"report": [value, value], "choice": [value, value]},
            "values": {"report": value, "choice": value},
            "seconds": 1.0,
            "cpu_seconds": 1.0,
        }
        for recipe, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]


def test_seeds_are_compared_with_themselves():
    """By hand: means 0.6 and 0.65, standard deviations of (0.5, 0.7) are 0.1 * sqrt(2); the leads are 0.04 and 0.06."""
    found = bench_recipes.summed(rows_of({"frozen": [0.5, 0.7], "joint": [0.54, 0.76]}))
    assert found["frozen"]["value"] == pytest.approx((0.6, 0.1 * 2**0.5))
    assert found["joint"]["lead"] == pytest.approx([0.04, 0.06])
    assert found["joint"]["exits"][0] == found["joint"]["value"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frozen": [0.5, 0.7], "joint": [0.54, 0.76]}, "joint has the highest mean"),
        ({"frozen": [0.5, 0.7], "joint": [0.54, 0.76]}, "over frozen .* +0.0500 .*: better with every seed"),
        ({"frozen": [0.5, 0.7], "joint": [0.8, 0.6]}, "not with every seed, so within their noise"),
        ({"frozen": [0.5], "joint": [0.8]}, "one seed says nothing of noise"),
        ({"frozen": [0.5, 0.6], "joint": [0.4, 0.5]}, "frozen has the highest mean"),
    ],
)
def test_who_wins_is_said_as_it_is(ran, values, words):
    config = load_config(ran / "chosen.json")
    found = bench_recipes.summed(rows_of(values))
    for row in found.values():  # as many exits as the choice has
        row["exits"] = row["exits"][:1] * (len(config.exits) + 1)
    assert re.search(words.replace("+", r"\+"), "\n".join(bench_recipes.verdicts(found, config)))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_mean_and_spread(numbers):
    mean, spread = bench_recipes.mean_and_spread(numbers)
    tensor = torch.tensor(numbers, dtype=torch.float64)
    assert mean == pytest.approx(float(tensor.mean()))
    assert spread == pytest.approx(float(tensor.std()), abs=1e-9)
