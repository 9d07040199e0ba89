"""Search over the knobs of search_spaces/digits_knobs.toml from Python: some minutes, most of them training.

    python examples/search_knobs.py

Profiles and trained heads are kept in profiles/knobs/ and outcomes/knobs/; a second run takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

import exitsearch

SPACE = Path(__file__).parents[1] / "search_spaces" / "digits_knobs.toml"


def main(**options: Any) -> nn.Module:
    """Search, say what was tried, and build the chosen model with the heads that were trained on the way."""
    result = exitsearch.search(space=SPACE, budget="uniform:10%,100%", threads=1, out="exitsearch-out", **options)
    tried = result.settings
    for row in tried.rows:
        print(row.setting, row.state, row.value if row.reason is None else row.reason)
    print(f"{tried.setting}: {result.value:.4f}, {'proved' if tried.proved else 'not proved'} over {tried.settings}")
    return exitsearch.build_model(result.config, weights=tried.sources["outcomes"])


if __name__ == "__main__":
    main()
