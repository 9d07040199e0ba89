"""Runs a bundle: numpy and onnxruntime alone, on the device. Also a package of its own, `exitsearch-runtime`.

    session = load_bundle("BUNDLE")
    session.predict("cat.jpg", budget_ms=25)                # the budget is known: the best exit that is in time
    with session.start("cat.jpg") as started:               # it is not: take the best finished answer at any moment
        started.answer()
    session.predict("cat.jpg", confidence=0.9)              # leave as soon as an exit is sure

A Python thread that computes in the same process may hold a request up by the interpreter's switch interval (5 ms);
`sys.setswitchinterval` shortens it.
"""

from .answer import Answer
from .bundle.manifest import Manifest
from .errors import BundleError, MissingError, RequestError, RunError, RuntimeFault
from .session import Session, load_bundle
from .started import Started

__all__ = [
    "Answer",
    "BundleError",
    "Manifest",
    "MissingError",
    "RequestError",
    "RunError",
    "RuntimeFault",
    "Session",
    "Started",
    "load_bundle",
]
