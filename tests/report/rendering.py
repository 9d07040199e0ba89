"""What a reader sees: text as the terminal shows it, and a search whose numbers are known by hand."""

from __future__ import annotations

import io
import re
from itertools import takewhile
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

import exitsearch
from exitsearch.specs.document import write_json
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

WIDTHS = (80, 120, 200)
BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": 2}
# Right answers of each exit among ten samples: choice split, report split.
RIGHT = {(0, "a"): (6, 5), (0, "b(k=2)"): (7, 7), (1, "a"): (8, 6)}
FINAL = (9, 8)


def shown(*renderables, width=120):
    """What the terminal shows in so many columns; sentences as the commands print them."""
    console = Console(width=width, file=io.StringIO(), highlight=False, color_system=None)
    for renderable in renderables:
        console.print(renderable, markup=False) if isinstance(renderable, str) else console.print(renderable)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


def sentences(text):
    """Text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def columns(text):
    """What stands in the columns of a table, by heading, all rows as one text without spaces; of its parts together.

    Where a column is narrow its words are broken, in the heading too: read downwards nothing may be missing.
    """
    found = {}
    for table in re.split(r"\n\s*\n", text):
        found |= _columns(table.splitlines())
    return found


def _columns(lines):
    """Of one table: its title, the headings over a line of dashes, its rows."""
    rules = [index for index, line in enumerate(lines) if re.fullmatch(r"[─ ]*─[─ ]*", line)]
    if not rules:
        return {}
    (rule,) = rules
    spans = [match.span() for match in re.finditer("─+", lines[rule])]
    spans = [(begin, end - 1 if (begin, end) != spans[-1] else None) for begin, end in spans]

    def is_row(line):
        return all(line[end : end + 2].strip() == "" for _, end in spans[:-1])

    heading = list(takewhile(is_row, reversed(lines[1:rule])))[::-1]
    body = list(takewhile(lambda line: is_row(line) and not line.startswith("("), lines[rule + 1 :]))
    return {
        "".join("".join(line[begin:end] for line in heading).split()): "".join(
            "".join(line[begin:end] for line in body).split()
        )
        for begin, end in spans
    }


def columns_of(rows):
    """The same of rows that a table is made of."""
    return {
        "".join(key.split()): "".join("".join(text.split()) for text in cells([row[key] for row in rows]))
        for key in (rows[0] if rows else {})
    }


def cells(values):
    """A column as a table shows it: decimal numbers with as many places as the longest needs."""
    places = max((len(f"{v:g}".partition(".")[2]) for v in values if isinstance(v, float)), default=0)
    return ["" if v is None else f"{v:.{places}f}" if isinstance(v, float) else str(v) for v in values]


def toy_profile(**more) -> Profile:
    """Placements at 2 and 5 ms, heads of 1 ms (b: 2 ms), final at 8 ms."""
    heads = [(0, "a", 1.0, 10), (0, "b(k=2)", 2.0, 20), (1, "a", 1.0, 10)]
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": BACKBONE,
            "segments": [
                {"placement": place, "module": f"blocks.{place}", "latency_ms": ms, **more}
                for place, ms in enumerate((2.0, 3.0))
            ],
            "heads": [
                {"placement": place, "head": head, "latency_ms": ms, **more, "params": params}
                for place, head, ms, params in heads
            ],
            "final": {"latency_ms": 3.0, **more},
            "verdict": {"status": "ok"},
        }
    )


def toy_outcomes(folder: Path, *, source: str = "toy samples") -> Outcomes:
    """Ten samples a split of two classes; the first n answers of an exit are right."""
    splits = ("choice", "report")

    def outputs(right):
        labels = np.arange(10) % 2
        return np.eye(2, dtype=np.float32)[np.where(np.arange(10) < right, labels, 1 - labels)]

    def scores(counts):
        return {split: count / 10 for split, count in zip(splits, counts, strict=True)}

    folder.mkdir(parents=True, exist_ok=True)
    for index, split in enumerate(splits):
        tensors = {f"{place}/{head}": outputs(counts[index]) for (place, head), counts in RIGHT.items()}
        tensors |= {"labels": np.arange(10) % 2, "final": outputs(FINAL[index])}
        save_file(tensors, folder / f"{split}.safetensors")
    document = {
        "schema_version": 1,
        "backbone": BACKBONE,
        "metric": "accuracy",
        "fallback": 0.0,
        "splits": dict.fromkeys(splits, 10),
        "source": source,
        "heads": [{"placement": p, "head": h, "scores": scores(counts)} for (p, h), counts in RIGHT.items()],
        "final": {"scores": scores(FINAL)},
    }
    write_json(folder / "outcomes.json", document)
    return Outcomes.load(folder)


def toy_result(folder: Path, *, source: str = "toy samples", **asked):
    """Head a at both placements, worth 0.48.

    Budgets uniform from 0 to 10, G(t) = 1 - t / 10. Both heads a: answers at 3, 7 and 10 ms, in hand with chances 0.4,
    0.3 and 0; 0.6 * 0.7 + 0.2 * 0.3 + 0.1 * 0 = 0.48. The first alone: 0.6 * 0.7 + 0.3 * 0.1 = 0.45. The backbone:
    0.9 * 0.2 = 0.18. On the report split 0.5 * 0.4 + 0.6 * 0.3 = 0.38. Budgets known beforehand: 0.6 from 3, 0.8 from
    6, 0.9 from 8 ms: 0.18 + 0.16 + 0.18 = 0.52.
    """
    asked = {"budget": "uniform:0,10", "trials": 0, **asked}
    return exitsearch.search(toy_profile(), toy_outcomes(folder / "outcomes", source=source), **asked)
