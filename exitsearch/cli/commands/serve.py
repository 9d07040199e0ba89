"""`exitsearch serve`: answer images over HTTP within their deadlines, from a bundle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from exitsearch.cli import options
from exitsearch.errors import InputError

HELP = "answer images over HTTP within their deadlines, from a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that exitsearch export wrote")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address (default: %(default)s, this machine)")
    parser.add_argument(
        "--port", type=options.count, default=8000, metavar="N", help="default: %(default)s; 0: a free one"
    )
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--budget-ms",
        type=options.finite,
        metavar="MS",
        help="budget of requests without the header X-Budget-Ms (default: four times what the final exit takes, at "
        "least 1000)",
    )
    group.add_argument(
        "--quantile",
        type=options.finite,
        default=0.99,
        metavar="Q",
        help="by which deadlines are planned: 0.5, 0.9 or 0.99 (default: %(default)s)",
    )
    group.add_argument(
        "--threads",
        type=options.positive_int,
        metavar="N",
        help="CPU threads of one request (default: the bundle's own)",
    )
    bounds = parser.add_argument_group("bounds")
    bounds.add_argument(
        "--workers",
        type=options.positive_int,
        metavar="N",
        help="requests computed at the same time (default: cores / threads, one core kept free)",
    )
    bounds.add_argument(
        "--queue", type=options.count, default=16, metavar="N", help="requests that may wait (default: %(default)s)"
    )
    bounds.add_argument(
        "--max-body", type=options.positive_int, default=2**24, metavar="BYTES", help="default: %(default)s"
    )
    bounds.add_argument(
        "--max-pixels",
        type=options.positive_int,
        default=32_000_000,
        metavar="N",
        help="of an image before it is resized (default: %(default)s)",
    )
    bounds.add_argument(
        "--body-seconds", type=options.seconds, default=10.0, metavar="S", help="for a body (default: %(default)s)"
    )
    bounds.add_argument(
        "--header-seconds", type=options.seconds, default=10.0, metavar="S", help="for a header (default: %(default)s)"
    )
    bounds.add_argument(
        "--connections", type=options.positive_int, default=256, metavar="N", help="open at once (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from exitsearch.serving.extra import check_extra

    check_extra()
    from exitsearch.runtime import RuntimeFault, load_bundle
    from exitsearch.serving.app import create_app
    from exitsearch.serving.bounds import Bounds
    from exitsearch.serving.service import checked_budget, usual_workers
    from exitsearch.serving.web.server import address_of, open_socket, run_server

    if args.budget_ms is not None:
        checked_budget(args.budget_ms)
    bounds = Bounds(
        workers=args.workers or 1,
        queue=args.queue,
        body_bytes=args.max_body,
        pixels=args.max_pixels,
        body_seconds=args.body_seconds,
        header_seconds=args.header_seconds,
        connections=args.connections,
    )
    # Before a bundle is loaded, which may take long.
    listener = open_socket(args.host, args.port)
    with listener:
        try:
            session = load_bundle(
                args.bundle, threads=args.threads, quantile=args.quantile, most_pixels=args.max_pixels
            )
        except RuntimeFault as error:
            raise InputError(str(error)) from None
        threads = args.threads or session.manifest.latency.threads
        bounds = replace(bounds, workers=args.workers or usual_workers(threads))
        app = create_app(session, bounds=bounds, budget_ms=args.budget_ms)

        def started() -> None:
            if args.quiet:
                return
            service = app.state.service
            print(f"serving {args.bundle} ({described(service.facts())}), {plural(bounds.workers, 'worker')}")
            print(f"at {address_of(listener)}/predict; {address_of(listener)}/docs says how to ask; Ctrl-C ends it")
            sys.stdout.flush()

        run_server(app, listener, started=started)
    return 0


def described(facts: dict[str, Any]) -> str:
    """What is served, in a few words."""
    count = len(facts["exits"])
    return (
        f"{facts['model']}, {facts['format']} {facts['precision']}, {plural(count, 'exit')}, budgets from "
        f"{facts['least_budget_ms']:.3g} ms on, {facts['default_budget_ms']:g} ms where a request names none"
    )


def plural(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
