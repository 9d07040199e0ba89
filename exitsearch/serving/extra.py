"""Whether the libraries of the extra `serve` are there."""

from __future__ import annotations

import importlib

from exitsearch.errors import UnavailableError

# What is imported, and why.
MODULES = {
    "fastapi": "routes and the OpenAPI schema",
    "uvicorn": "HTTP",
    "prometheus_client": "metrics",
    "python_multipart": "files in forms",
    "PIL": "images",
    "onnxruntime": "the graphs of a bundle",
}


def check_extra() -> None:
    """See that everything is installed that a server needs.

    Raises:
        UnavailableError: something is not.
    """
    for name, purpose in MODULES.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UnavailableError(
                f"serving needs {name} ({purpose}), which is not installed here ({error}); pip install "
                "'exitsearch[serve]'"
            ) from None
