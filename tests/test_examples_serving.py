"""The loop over camera frames, by a clock that the test moves, and once over a bundle."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import Answer

EXAMPLES = Path(__file__).parents[1] / "examples"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def camera_loop():
    yield loaded("camera_loop")
    del sys.modules["camera_loop"]


class Clock:
    now = 5.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


def test_frames_come_at_their_moment_and_those_that_are_late_at_once(camera_loop):
    clock = Clock()
    moments = []
    for number, (moment, pixels) in enumerate(
        camera_loop.made_frames(fps=10, seconds=0.5, size=(30, 40), clock=clock, wait=clock.wait)
    ):
        moments.append((round(moment - 5, 9), round(clock.now - 5, 9)))
        assert pixels.shape == (30, 40, 3)
        assert (pixels == 255).any()
        if number == 1:
            clock.now += 0.25
    assert moments == [(0.0, 0.0), (0.1, 0.1), (0.2, 0.35), (0.3, 0.35), (0.4, 0.4)]


def test_a_loop_that_falls_behind_drops_frames_rather_than_answering_late(camera_loop):
    """A frame every 100 ms, the second takes 250: the third is 150 ms old by then, the fourth 50."""
    clock, asked = Clock(), []

    def predict(pixels, *, budget_ms, arrived):
        asked.append((round(arrived - 5, 9), budget_ms))
        clock.now += 0.25 if len(asked) == 2 else 0.01
        return Answer(status="late" if len(asked) == 2 else "ok", time_ms=1.0, exit=len(asked) % 2)

    session, numbers = SimpleNamespace(predict=predict, exits=("0:linear", "final")), []
    frames = camera_loop.made_frames(fps=10, seconds=0.5, clock=clock, wait=clock.wait)
    tally = camera_loop.answer_frames(
        session, frames, fps=10, clock=clock, seen=lambda number, _: numbers.append(number)
    )
    assert asked == [(0.0, 100.0), (0.1, 100.0), (0.3, 100.0), (0.4, 100.0)]
    assert (tally.frames, tally.dropped, dict(tally.statuses)) == (5, 1, {"ok": 3, "late": 1})
    assert dict(tally.exits) == {"final": 2, "0:linear": 2}
    assert numbers == [0, 1, 3, 4]


def test_it_runs_over_a_bundle(camera_loop, tmp_path, capsys, monkeypatch):
    path = write_tiny_bundle(tmp_path / "bundle").path
    monkeypatch.setattr(sys, "argv", ["camera_loop.py", str(path), "--fps", "20", "--seconds", "0.5"])
    camera_loop.main()
    out = capsys.readouterr().out
    assert out.startswith("10 frames of 50.0 ms: answers {")
    assert "exits {" in out
