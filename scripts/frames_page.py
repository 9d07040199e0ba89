"""Write docs/frames.md: every column of every `to_frame()`, from the documents themselves.

python scripts/frames_page.py
"""

from __future__ import annotations

from pathlib import Path

from exitsearch.learn.bank.checkpoint import Checkpoint
from exitsearch.learn.engine.folder.record import TrainingRecord
from exitsearch.measure.compare import Comparison
from exitsearch.pipeline.trained.static_training import StaticRecord
from exitsearch.search.frames import BASELINES
from exitsearch.search.result import FrontResult, SearchResult, SettingsResult
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.space import SearchSpace
from exitsearch.specs.verification import Verification

PAGE = Path(__file__).parents[1] / "docs" / "frames.md"

_HEAD = """# Documents as tables

Every document and every result is had as a pandas DataFrame with `to_frame()`. In a notebook it shows itself as a
table, on a terminal with `rich.print(document)`, and in a plain shell as one line.

```python
import exitsearch

profile = exitsearch.load_profile("published:mevit-gmacs")
frame = profile.to_frame()
print(profile)  # <Profile: profile vit_base_patch16_384: 11 placements, 77 heads, verdict given>
print(frame[frame["part"] == "head"].groupby("head")["latency_ms"].mean().round(3))
print(frame.attrs["columns"]["latency_ms"])  # median time of one batch, in ms
```

`frame.attrs["title"]` is the title, `frame.attrs["columns"]` says what stands in each column. Values may be missing:
whole numbers are pandas' `Int64`, texts `string`, truths `boolean`, other numbers `float64`. Times are milliseconds of
one batch. Samples one by one come with `outcomes.samples_frame()`.
"""

# Frame, what it is of, and what one row is.
TABLES: list[tuple[str, Frame, str]] = [
    ("Profile", Profile.frame, "a unit of one batch size"),
    ("Outcomes", Outcomes.frame, "an exit on one split"),
    ("SearchSpace", SearchSpace.frame, "a candidate head"),
    ("MultiExitConfig (`chosen.json`)", MultiExitConfig.frame, "an exit"),
    ("SearchResult", SearchResult.frame, "an exit of the choice"),
    ("SearchResult.baselines_frame()", BASELINES, "the choice or a baseline"),
    ("FrontResult (`result.front`)", FrontResult.frame, "a point of the front"),
    ("SettingsResult (`result.settings`)", SettingsResult.frame, "a setting"),
    ("TrainingRecord (`training.json`)", TrainingRecord.frame, "an epoch"),
    ("Checkpoint", Checkpoint.frame, "an exit"),
    ("StaticRecord", StaticRecord.frame, "a split"),
    ("Bundle (`bundle.json`)", Bundle.frame, "an exit"),
    ("Verification (`verify.json`)", Verification.frame, "a phase of requests"),
    ("Comparison", Comparison.frame, "a unit that two profiles share"),
]


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for name, frame, row in TABLES:
        lines = [f"| `{column}` | {told.kind} | {told.meaning} |" for column, told in frame.columns.items()]
        parts.append(
            "\n".join([f"## {name}\n", f"A row is {row}.\n", "| column | kind | what |", "|---|---|---|", *lines])
        )
    return "\n".join(f"{part}\n" if part != _HEAD else part for part in parts)


if __name__ == "__main__":
    PAGE.write_text(page())
