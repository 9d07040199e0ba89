"""Tables and figure of a recorded profile, and of one whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from exitsearch.errors import InputError
from exitsearch.report.html.profile import profile_figure, write_profile_plot
from exitsearch.report.terminal import profile as report
from exitsearch.specs.profile import BatchCosts, Environment, Profile

OLD = Path(__file__).parents[2] / "data" / "profile_v1.json"
COSTS = """part,placement,head,latency_ms,macs
segment,0,,2,4000000000
segment,1,,6,4000000000
head,1,linear,1,1
final,,,2,0
"""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "costs.csv").write_text(COSTS)
    return Profile.from_costs_csv(tmp_path / "costs.csv", backbone="some_vit")


@pytest.fixture
def two_batches():
    profile = Profile.read(OLD)
    names = ("segments", "heads", "final", "whole", "slowdown", "verdict")
    return profile.model_copy(
        update={"batches": [BatchCosts(batch_size=8, **{name: getattr(profile, name) for name in names})]}
    )


def text(*renderables):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for renderable in renderables:
        console.print(renderable)
    return console.export_text()


def row(table, first):
    return next(line.split() for line in text(table).splitlines() if line.strip(" │┃").startswith(first))


def test_shares_by_hand(small):
    """2 + 6 + 2 ms: shares 20%, 60%, 20%, so far 20%, 80%, 100%. The head is 1 ms of a median segment of 4 ms."""
    segments, heads = report.profile_tables(small)
    shown = text(segments)
    assert [cell for cell in ("20.0%", "60.0%", "80.0%", "100.0%") if cell not in shown] == []
    assert "1.000 (25%)" in text(heads)
    assert "GFLOPs" not in shown
    assert "8.0000" in text(report.profile_tables(small, flops=True)[0])


def test_energies_where_known(small):
    known = small.model_copy(
        update={
            "segments": [cost.model_copy(update={"energy_mj": 10.0}) for cost in small.segments],
            "final": small.final.model_copy(update={"energy_mj": 5.0}),
            "protocol": {"energy": "nvml, idle power included", "idle_power_w": 70.5},
        }
    )
    assert "25.00" in text(report.profile_tables(known)[0])
    assert "energy: nvml, idle power included (70.5 W when idle)" in report.profile_lines(known)
    assert "mJ" not in text(report.profile_tables(small)[0])


def test_what_the_gpus_clock_did_is_said(small):
    words = "moved from 1200 to 1980 MHz between rounds: not locked, or throttled; nvidia-smi ... locks it"
    known = small.model_copy(update={"environment": Environment(state={"gpu_clocks": words})})
    assert f"the GPU's clock: {words}" in report.profile_lines(known)
    assert not any("GPU" in line for line in report.profile_lines(small))


def test_percentiles_only_when_known():
    recorded = Profile.read(OLD)
    assert "p90" not in text(report.profile_tables(recorded)[0])
    samples = [float(number) for number in range(1, 31)]
    longer = recorded.model_copy(
        update={
            "segments": [cost.model_copy(update={"samples_ms": samples}) for cost in recorded.segments],
            "final": recorded.final.model_copy(update={"samples_ms": samples}),
        }
    )
    shown = text(report.profile_tables(longer)[0])
    assert "p90" in shown
    assert "27.000" in shown
    assert "p95" not in shown


def test_what_was_not_counted_is_listed():
    lines = report.profile_lines(Profile.read(OLD))
    assert any(line.startswith("not counted (elementwise): aten::") for line in lines)


def test_figure_shows_every_head_at_its_arrival(small):
    """The backbone arrives at 2 and 8 ms; the head's whisker runs from 8 to 9."""
    (axes,) = profile_figure(small).axes
    assert list(axes.lines[0].get_ydata()) == [2.0, 8.0]
    assert list(axes.lines[2].get_ydata()) == [9.0]
    assert [line.get_label() for line in axes.lines] == ["backbone", "full model", "linear"]


def test_each_batch_size_has_its_panel(two_batches, tmp_path):
    assert len(profile_figure(two_batches).axes) == 2
    png = write_profile_plot(two_batches, tmp_path / "profile.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    page = write_profile_plot(two_batches, tmp_path / "profile.html").read_text()
    assert "<svg" in page
    assert "verdict:" in page
    assert "http-equiv" not in page


def test_the_same_profile_makes_the_same_page(small, tmp_path):
    one, other = (write_profile_plot(small, tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


def test_another_ending_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"\.png or \.html"):
        write_profile_plot(small, tmp_path / "profile.gif")
