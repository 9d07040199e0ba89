"""Whether graphs are the model, with a stand-in for the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_units import tiny_model

from exitsearch.deploy import checks
from exitsearch.deploy.checks import Samples, compare_exits, compare_times, exit_words
from exitsearch.errors import ExitSearchError
from exitsearch.measure.timing.clock import HostClock


def no_progress(share, words):
    pass


class Engine:
    """Answers as torch does, but for what a test changes."""

    def __init__(self, model, change=lambda outputs: outputs):
        self.model, self.change = model, change
        self.sizes = []

    def answers(self, x):
        self.sizes.append(len(x))
        with torch.inference_mode():
            return self.change([outputs.numpy().copy() for outputs in self.model(torch.from_numpy(x))])


def compare(engine, **arguments):
    given = {"precision": "fp32", "samples": None, "progress": no_progress, **arguments}
    return compare_exits(engine.model, engine, **given)


def samples_of(model, count=8):
    x = model.backbone.example_input(count, generator=torch.Generator().manual_seed(2))
    return Samples(x, "choice")


def test_what_is_alike_has_no_difference():
    engine = Engine(tiny_model())
    found = compare(engine)
    assert [exit_.largest_difference for exit_ in found] == [0.0] * 3
    assert all(exit_.agreement is None for exit_ in found)
    assert engine.sizes == [1, 3]


@pytest.mark.parametrize(("scale", "difference", "refused"), [(1, 2e-4, True), (1, 5e-5, False), (1000, 2e-4, False)])
def test_the_tolerance_grows_with_outputs_above_one(scale, difference, refused):
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.heads[1].parameters():
            parameter.mul_(scale)

    def off(outputs):
        outputs[1][0, 0] += difference
        return outputs

    engine = Engine(model, off)
    if refused:
        with pytest.raises(ExitSearchError, match=r"exit 1 \(linear at placement 1\) differs by 0.0002"):
            compare(engine)
    else:
        assert compare(engine)[1].largest_difference == pytest.approx(difference, rel=0.5)


def test_what_is_no_number_is_refused():
    def broken(outputs):
        outputs[0][:] = np.nan
        return outputs

    with pytest.raises(ExitSearchError, match=r"exit 0 .* differs by nan"):
        compare(Engine(tiny_model(), broken))


def test_other_precisions_are_measured_and_not_refused():
    found = compare(Engine(tiny_model(), lambda outputs: [each + 1 for each in outputs]), precision="int8")
    assert [exit_.largest_difference for exit_ in found] == pytest.approx([1.0] * 3)


def test_agreement_counts_the_same_classes_one_by_one():
    """Every fourth call of an exit gives another class: 6 of 8 are the same."""
    model = tiny_model()
    calls = []

    def sometimes(outputs):
        calls.append(None)
        if len(outputs[0]) == 1 and len(calls) > 2 and (len(calls) - 3) % 4 == 0:
            outputs[0] = np.roll(outputs[0], 1, axis=1)
        return outputs

    engine = Engine(model, sometimes)
    found = compare(engine, precision="int8", samples=samples_of(model))
    assert [exit_.agreement for exit_ in found] == [0.75, 1.0, 1.0]
    assert found[0].samples == 8
    assert found[0].split == "choice"
    assert engine.sizes == [1, 3] + [1] * 8


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(ExitSearchError, match=r"exit 0 gives outputs \[1, 2\] where torch gives \[1, 4\]"):
        compare(Engine(tiny_model(), lambda outputs: [each[:, :2] for each in outputs]))


def test_exits_in_words():
    model = tiny_model()
    assert exit_words(model, 0) == "exit 0 (linear at placement 0)"
    assert exit_words(model, 2) == "the final exit"


def test_ratios_of_a_chain_that_costs_a_tenth_and_a_head(monkeypatch):
    """Plain 10 ms; segments 5.5 each; a head 1: the chain is 1.1 times as long, with its head 1.2 times."""
    now = [0.0]
    monkeypatch.setattr(checks, "HostClock", lambda: HostClock(lambda: int(now[0] * 1e6)))

    def takes(ms):
        def run(state):
            now[0] += ms
            return state

        return run

    class Runtime:
        segments = (takes(5.5),)
        heads = {(0, "head_0"): takes(1.0)}  # noqa: RUF012
        final = staticmethod(takes(5.5))
        whole = staticmethod(takes(10.0))

        def begin(self, x):
            return x

        def features(self, state):
            return state

        def decide(self, outputs):
            pass

    class Graphs:
        keys = ((0, "head_0"),)

    found = compare_times(Runtime(), Graphs(), [np.zeros(1)], max_seconds=1, progress=no_progress)
    assert found.chain_over_whole == pytest.approx(1.1)
    assert found.no_exit_tax == pytest.approx(1.2)
    assert found.whole_ms == pytest.approx(10)
    assert found.answers_ms == pytest.approx([6.5, 12.0])
    # Predicted on a machine that was half as fast then.
    assert found.predicted([13.0, 26.4], whole_ms=20.0) == pytest.approx([1.0, 1.1])
