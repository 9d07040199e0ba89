"""The figure of a profile: when the backbone is at each placement, and what each exit head adds there."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exitsearch.errors import InputError
from exitsearch.report.html.charts.pictures import svg_text
from exitsearch.specs.document import write_bytes, write_text
from exitsearch.specs.profile import Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
{figure}
<p>{verdict}</p></body></html>
"""


def write_profile_plot(profile: Profile, path: Path | str) -> Path:
    """Draw a profile into a PNG or HTML file, whole or not at all.

    Args:
        profile: with times; of several batch sizes each gets its own panel.
        path: ends in `.png` or `.html`.

    Raises:
        InputError: another ending, or a profile without times.
        FileError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".png", ".html"):
        raise InputError(f"a plot is a .png or .html file, found {path}; name one that ends so")
    figure = profile_figure(profile)
    if path.suffix == ".png":
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        return write_bytes(path, picture.getvalue())
    page = _PAGE.format(
        title=html.escape(f"Profile of {profile.condition()}"),
        figure=svg_text(figure),
        verdict=html.escape(f"verdict: {profile.verdict}"),
    )
    return write_text(path, page)


def profile_figure(profile: Profile) -> Figure:
    """Cumulative latency by placement with its interval, and a whisker for every head.

    The band adds up the ends of the segments' intervals, so it is wider than the interval of the sum. A whisker stands
    on the arrival at its placement and is as long as the head takes.
    """
    from matplotlib.figure import Figure

    parts = [profile.at_batch(size) for size in profile.batch_sizes]
    figure = Figure(figsize=(9, 4.5 * len(parts)), layout="constrained")
    for axes, part in zip(np.ravel(figure.subplots(len(parts))), parts, strict=True):
        arrival = part.arrival_ms
        places = np.arange(len(arrival))
        ends = np.array([segment.interval_ms or (segment.latency_ms, segment.latency_ms) for segment in part.segments])
        low, high = np.cumsum(ends.astype(float), axis=0).T
        axes.fill_between(places, low, high, alpha=0.25, color="black", linewidth=0)
        axes.plot(places, arrival, color="black", label="backbone")
        axes.axhline(part.full_ms, color="grey", linestyle=":", label="full model")
        heads = list(dict.fromkeys(head.head for head in part.heads))
        for number, name in enumerate(heads):
            # Whiskers of one placement stand side by side within 0.7 of the way to the next.
            shift = 0.7 * ((number + 0.5) / len(heads) - 0.5)
            found = [head for head in part.heads if head.head == name]
            at = np.array([head.placement for head in found])
            took = np.array([head.latency_ms or 0.0 for head in found])
            axes.vlines(at + shift, arrival[at], arrival[at] + took, color=f"C{number % 10}")
            axes.plot(at + shift, arrival[at] + took, "_", color=f"C{number % 10}", label=name)
        axes.set(xlabel="placement", ylabel="ms per batch", title=part.condition(), xticks=places)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", ncols=2)
    return figure
