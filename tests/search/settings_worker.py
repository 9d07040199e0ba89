"""One of several processes that try settings of one study: `python settings_worker.py STORAGE LOG`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from settings_provider import OTHERWISE, FakeProvider

from exitsearch.search.settings import search_settings
from exitsearch.specs.question.knobs import Knobs
from exitsearch.specs.question.request import SearchRequest

KNOBS = Knobs.model_validate({"runtime": ["eager", "compile"], "heads": {"b": {"k": [1, 2, 3, 4]}}})

if __name__ == "__main__":
    log = Path(sys.argv[2])

    def tried(row: object) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    provider = FakeProvider(KNOBS)
    request = SearchRequest.asked(budget="uniform:0,10")
    found = search_settings(
        KNOBS, provider, request, otherwise=OTHERWISE, trials=8, storage=sys.argv[1], on_tried=tried
    )
    print(found.count("tried"), found.proved, found.result.value)
