"""The acceptance of a GPU, without one: the runner on steps of the tests' own, its judgements by hand, and the steps
that make sense on the CPU at their smallest size.

`commands`, `train-heads` and compiled units take minutes there; what they call has tests of its own.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from types import SimpleNamespace

import check_cuda
import pytest
import torch
from cuda_steps import STEPS, guarding, predictions, protocol, units
from cuda_steps.step import Bench, Skipped, Step

from exitsearch.specs.profile import Profile, Verdict


def bench(tmp_path, **changes):
    return Bench(**{"device": "cpu", "quick": True, "folder": tmp_path, **changes})


class Runner:
    """Steps that take known times and end in known ways, in place of processes."""

    def __init__(self, monkeypatch, **ways):
        self.now, self.ways, self.ran = 0.0, ways, []
        monkeypatch.setattr(check_cuda, "STEPS", tuple(Step(name, 60, lambda bench: None) for name in ways))
        monkeypatch.setattr(check_cuda, "run_apart", self.run)
        monkeypatch.setattr(check_cuda.time, "monotonic", lambda: self.now)

    def run(self, step, options, seconds):
        self.ran.append(step.name)
        takes_s, status = self.ways[step.name]
        self.now += min(takes_s, seconds)
        status = status if takes_s <= seconds else "cut off"
        return {"step": step.name, "status": status, "seconds": takes_s, "faults": [], "figures": {}}


def check(tmp_path, *more, minutes="9"):
    return check_cuda.main(["--out", str(tmp_path), "--device", "cuda", "--minutes", minutes, *more])


def test_smallest(call, tmp_path):
    """One step that makes sense without a GPU and one that does not, each in a process of its own."""
    steps = ["environment", "neighbour on a core"]
    called = call("check_cuda", "--out", tmp_path / "out", "--device", "cpu", "--steps", ",".join(steps))
    assert called.status == 0
    assert [run["step"] for run in called.figures["runs"]] == steps
    assert called.figures["statuses"] == {"environment": "passed", "neighbour on a core": "skipped"}
    assert called.figures["left"] == []
    environment, neighbour = called.figures["runs"]
    assert environment["figures"]["versions"]["torch"] == called.document["versions"]["torch"]
    assert neighbour["figures"] == {"why": "needs a CUDA device"}
    assert all(run["faults"] == [] and 0 <= run["seconds"] < 300 for run in called.figures["runs"])
    assert called.out == (tmp_path / "out" / "steps.jsonl").read_text()


def test_a_call_keeps_its_time_and_the_next_goes_on(monkeypatch, tmp_path, capsys):
    """Three minutes: a (100 s) passes, b would take 200 s and is cut off, c needs 60 s that are not there."""
    runner = Runner(monkeypatch, a=(100, "passed"), b=(200, "passed"), c=(10, "skipped"))
    assert check(tmp_path, minutes="3") == 0
    assert runner.ran == ["a", "b"]
    said = capsys.readouterr()
    assert [json.loads(line)["status"] for line in said.out.splitlines()] == ["passed", "cut off"]
    assert "2 left (b, c); run the same command again" in said.err
    assert check(tmp_path) == 0
    assert runner.ran == ["a", "b", "b", "c"]
    assert check(tmp_path) == 0
    assert runner.ran == ["a", "b", "b", "c"]
    rows = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(row["step"], row["status"]) for row in rows[2:]] == [("b", "passed"), ("c", "skipped")]


def test_a_failure_is_kept_until_it_is_asked_for_again(monkeypatch, tmp_path):
    runner = Runner(monkeypatch, a=(1, "failed"), b=(1, "passed"))
    assert check(tmp_path) == 1
    assert check(tmp_path) == 1
    assert runner.ran == ["a", "b"]
    runner.ways["a"] = (1, "passed")
    assert check(tmp_path, "--steps", "a") == 0
    assert check(tmp_path) == 0
    assert runner.ran == ["a", "b", "a"]


def test_half_a_line_of_a_killed_call_is_left_out(monkeypatch, tmp_path):
    runner = Runner(monkeypatch, a=(1, "passed"))
    (tmp_path / "steps.jsonl").write_text('{"step": "a", "sta')
    assert check(tmp_path) == 0
    assert check(tmp_path) == 0
    assert runner.ran == ["a"]


def test_steps_by_name_and_by_kind(capsys):
    kinds = [step.name for step in check_cuda.chosen_steps("prediction,clock")]
    assert kinds[0] == "clock"
    assert len(kinds) == 1 + len(predictions.STEPS)
    assert check_cuda.main(["--steps", "clocks"]) == 2
    assert "there is no step 'clocks'; there are environment, clock" in capsys.readouterr().err
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    assert check_cuda.main(["--list"]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == names


def test_every_step_fits_into_a_call():
    assert all(step.needs_s < 8 * 60 for step in STEPS)


def test_what_breaks_is_told(tmp_path):
    def breaks(bench):
        bench.figures["before"] = 1
        raise RuntimeError("CUDA error: an illegal memory access\nlong story")

    row = check_cuda.do_step(Step("breaks", 1, breaks), device="cpu", quick=True, out=tmp_path)
    assert (row["status"], row["figures"]) == ("failed", {"before": 1})
    assert row["faults"] == ["RuntimeError: CUDA error: an illegal memory access"]


def test_a_step_in_a_process_of_its_own(tmp_path):
    """One that ends, and one that is ended: a second is not enough to import torch."""
    options = argparse.Namespace(device="cpu", out=tmp_path)
    row = check_cuda.run_apart(protocol.ENVIRONMENT, options, 300)
    assert row["status"] == "passed"
    assert row["figures"]["versions"]["torch"]
    assert check_cuda.run_apart(protocol.ENVIRONMENT, options, 0.2)["status"] == "cut off"


@pytest.mark.parametrize(
    "name",
    [
        "environment",
        "clock",
        "units:vit_tiny_patch16_224:eager",
        "units:resnet50:eager",
        "prediction:fp32:eager:bs1",
        "session:vit_tiny_patch16_224",
        "guard after a pause",
        "repeatability",
    ],
)
def test_steps_that_run_on_the_cpu(name, tmp_path):
    """Smallest models, a few rounds, no time judged; what they compute is."""
    step = next(step for step in STEPS if step.name == name)
    row = check_cuda.do_step(step, device="cpu", quick=True, out=tmp_path)
    assert (row["status"], row["faults"]) == ("passed", [])
    assert row["figures"]
    json.dumps(row)


@pytest.mark.parametrize(
    "name",
    [
        "units:vit_tiny_patch16_224:cudagraph",
        "prediction:fp32:cudagraph:bs1",
        "prediction:bf16:eager:bs32",
        "prediction:fp16:eager:bs1",
        "neighbour on the GPU",
        "neighbour on a core",
    ],
)
def test_steps_for_a_gpu_alone_are_skipped(name, tmp_path):
    step = next(step for step in STEPS if step.name == name)
    row = check_cuda.do_step(step, device="cpu", quick=True, out=tmp_path)
    assert (row["status"], row["figures"]) == ("skipped", {"why": "needs a CUDA device"})


def test_energy_without_a_meter_is_skipped_with_its_reason(tmp_path, monkeypatch):
    said = SimpleNamespace(protocol={"energy": "not available: no meter in this test"})
    monkeypatch.setattr(protocol, "profile_backbone", lambda *args, **rest: said)
    with pytest.raises(Skipped, match="no meter in this test"):
        protocol.energy(bench(tmp_path))


@pytest.mark.parametrize(("over", "faults"), [(0.97, 0), (0.8, 1), (1.2, 1), (None, 1)])
def test_energies_must_add_up(over, faults, tmp_path, monkeypatch):
    said = SimpleNamespace(protocol={"energy": "nvml", "energy_sum_over_whole": over}, whole=None, heads=[])
    monkeypatch.setattr(protocol, "profile_backbone", lambda *args, **rest: said)
    judged = bench(tmp_path, quick=False)
    judged.backbone = lambda name: SimpleNamespace(placements=range(12))
    protocol.energy(judged)
    assert len(judged.faults) == faults


@pytest.mark.parametrize(
    ("parts", "whole", "words"),
    [
        ((1.0, 2.0, 4.0), 7.0, None),
        # A boundary that stops the device: 0.2 ms more for each part.
        ((1.2, 2.2, 4.2), 7.6, "units of 1:2:4 were measured as"),
        # Events on a stream that the work does not run on see nothing of it.
        ((0.01, 0.01, 0.01), 7.0, "units of 1:2:4 were measured as"),
        ((1.0, 2.0, 4.0), 8.0, "the parts take 7.0000 ms, the whole 8.0000 ms"),
    ],
)
def test_a_wrong_clock_fails(parts, whole, words, tmp_path):
    judged = bench(tmp_path, quick=False)
    by_both = {"host": list(parts), "device": list(parts)}
    protocol.judge(judged, "cuda:0", protocol.Clocked(by_both, sum(parts), whole, 100))
    assert (words is None and not judged.faults) or words in judged.faults[0]


def test_units_that_differ_or_are_not_numbers_fail(tmp_path):
    """Relative to the largest output: 0.002 of 2 is the limit, NaN is never equal."""
    worst: dict[str, float] = {}
    wanted = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, 2.0]), "c": torch.tensor([0.0])}
    found = {"a": torch.tensor([1.001, 2.0]), "b": torch.tensor([1.0, float("nan")]), "c": torch.tensor([0.0])}
    units.compare(bench(tmp_path), wanted, found, worst)
    assert worst == {"a": pytest.approx(5e-4, rel=1e-3), "b": float("inf"), "c": 0.0}


def test_a_runtime_that_computes_something_else_fails(tmp_path, monkeypatch):
    """A replay that answers with the pass before: right for the first input, wrong for every other."""
    real, kept = units.run_once, []

    def one_behind(runtime, x, heads):
        found = real(runtime, x, heads)
        if len(kept) % 2:  # every second runtime is the one that is checked
            found = {name: tensor + 0.1 if name.startswith("features 0") else tensor for name, tensor in found.items()}
        kept.append(found)
        return found

    monkeypatch.setattr(units, "run_once", one_behind)
    checked = bench(tmp_path)
    units.check_units(checked, model="vit_tiny_patch16_224", runtime="eager")
    assert "features 0" in checked.faults[0]
    assert "final" not in checked.faults[0]


COSTS = "part,placement,head,latency_ms\n" + "".join(
    f"segment,{k},,1\nhead,{k},linear,0.5\nhead,{k},mlp,1\n" for k in range(10)
) + "final,,,2\n"  # fmt: skip


@pytest.fixture
def profile():
    return Profile.parse_costs_csv(COSTS, "costs.csv")


def test_paths_by_number_of_exits(profile):
    groups = predictions.draw_paths(profile, each=5, seed=0)
    assert list(groups) == ["none", "at most 2", "3 to 7", "8 and more"]
    assert groups["none"] == [[]]
    counts = [{len(path) for path in paths} for paths in groups.values()]
    assert counts[1] <= {1, 2}
    assert counts[2] <= {3, 4, 5, 6, 7}
    assert counts[3] <= {8, 9, 10}
    for path in groups["8 and more"]:
        assert [place for place, _ in path] == sorted({place for place, _ in path})


def test_errors_by_group_by_hand(profile):
    """Predicted 12 without exits and 12.5 with one linear head; measured 12.12 and 13.0 on a machine 1% slower."""
    groups = {"none": [[]], "at most 2": [[(3, "linear")]]}
    found = predictions.group_errors(profile, groups, [[12.12], [5.0, 13.0]], 1.01)
    assert found["none"]["median_error"] == pytest.approx(0)
    assert found["at most 2"]["ratios"] == [pytest.approx(12.5 * 1.01 / 13, abs=1e-4)]
    assert found["at most 2"]["worst_error"] == pytest.approx(1 - 12.5 * 1.01 / 13)


def predicted(monkeypatch, tmp_path, profile, factor):
    """Faults when every path takes `factor(number of exits)` times what is predicted."""
    timed = profile.model_copy(update={"whole": profile.final.model_copy(update={"latency_ms": 12.0})})
    monkeypatch.setattr(predictions, "profile_backbone", lambda *args, **rest: timed)
    monkeypatch.setattr(
        predictions,
        "measure_paths",
        lambda backbone, paths, **rest: (
            [SimpleNamespace(answers_ms=[timed.path_ms(p)[-1] * factor(len(p))]) for p in paths], [12.0]
        ),
    )  # fmt: skip
    judged = bench(tmp_path, quick=False)
    judged.backbone = lambda name: None
    predictions.check_predictions(judged, dtype="fp32", runtime="eager", batch_size=1)
    return judged.faults


def test_a_wrong_formula_for_a_path_fails(monkeypatch, tmp_path, profile):
    assert predicted(monkeypatch, tmp_path, profile, lambda exits: 1.01) == []
    # Segments measured right after a wait: paths without exits are over-predicted by a quarter.
    assert any("the worst" in fault for fault in predicted(monkeypatch, tmp_path, profile, lambda n: 1 if n else 0.8))
    # Nothing is off by more than 2%, and yet it grows with the exits.
    faults = predicted(monkeypatch, tmp_path, profile, lambda exits: 1 - 0.018 + 0.0045 * min(exits, 8))
    assert len(faults) == 1
    assert "with the number of exits" in faults[0]


def neighbours(monkeypatch, tmp_path, *verdicts):
    """Faults of the step with a neighbour on the GPU, when profiles come with these verdicts."""
    made = iter([
        SimpleNamespace(verdict=verdict, whole=None, environment=SimpleNamespace(state={})) for verdict in verdicts
    ])  # fmt: skip
    monkeypatch.setattr(guarding, "_profile", lambda bench, **rest: next(made))
    monkeypatch.setattr(guarding, "_busy_gpu", lambda device: nullcontext())
    monkeypatch.setattr(guarding.time, "sleep", lambda seconds: None)
    judged = bench(tmp_path, device="cuda", quick=False)
    guarding.shared_gpu(judged)
    return judged.faults


def test_a_neighbour_on_the_gpu_must_be_named_while_it_is_there(monkeypatch, tmp_path):
    fine = Verdict(status="ok")
    accused = Verdict.model_validate(
        {"status": "noisy", "reasons": [{"what": "sharing: other processes", "number": 1, "remedy": "end them"}]}
    )
    assert neighbours(monkeypatch, tmp_path, accused, fine) == []
    assert len(neighbours(monkeypatch, tmp_path, fine, fine)) == 2
    assert "without a neighbour" in neighbours(monkeypatch, tmp_path, accused, accused)[0]
    blind = Verdict(status="noisy", not_checked=["other processes on the GPU"])
    assert neighbours(monkeypatch, tmp_path, blind, blind) == []
