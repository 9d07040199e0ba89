"""Answers over HTTP: a bundle behind a server that refuses what it cannot answer in time (the extra `serve`).

    app = create_app("BUNDLE")            # any ASGI server runs it; `exitsearch serve BUNDLE` does so with uvicorn

`web/` reads requests and runs the server, `admission/` decides which are let in and answers them, `service.py` and
`app.py` put it together. Nothing here needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitsearch.serving.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: `extra.py` must be there to say which libraries are missing.
    if name == "create_app":
        from exitsearch.serving.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
