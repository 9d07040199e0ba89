"""The application: routes, the schema, and what each fault becomes.

    uvicorn.run(create_app("BUNDLE"))

`exitsearch serve` runs it with bounds on connections, too (`web/server.py`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from exitsearch.runtime import RunError, Session, load_bundle
from exitsearch.serving.bounds import Bounds
from exitsearch.serving.faults import Refused, WrongRequest
from exitsearch.serving.service import Service
from exitsearch.serving.web.arrival import BUDGET_HEADER, PROXY_HEADER, Gone
from exitsearch.serving.web.guard import Guard
from exitsearch.serving.web.pages import docs_page
from exitsearch.serving.web.replies import AnswerForm, ErrorForm, RefusedForm, error_reply, refused_reply

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# What nginx logs where the other side has gone; nobody reads it.
_GONE = 499

_PREDICT_TEXT = f"""Send an image as the body with its content type, or as the one file of a form:

    curl -H 'Content-Type: image/jpeg' -H '{BUDGET_HEADER}: 25' --data-binary @cat.jpg http://HOST:PORT/predict
    curl -H '{BUDGET_HEADER}: 25' -F image=@cat.jpg http://HOST:PORT/predict

Time counts from the arrival of the request's header to the answer's way back; the network is not in it."""
_BINARY = {"type": "string", "format": "binary"}
_PREDICT_EXTRA: dict[str, Any] = {
    "parameters": [
        {
            "name": BUDGET_HEADER,
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "budget in ms from the request's arrival; the server's default where it is missing",
        },
        {
            "name": PROXY_HEADER,
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "a proxy's own timeout in ms, which the budget does not exceed",
        },
        {
            "name": "confidence",
            "in": "query",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "answer from the first exit that is so sure (under patience: after so many in agreement)",
        },
        {
            "name": "mean_budget_ms",
            "in": "query",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "answer by the bundle's own operating point for this mean latency",
        },
        {
            "name": "outputs",
            "in": "query",
            "schema": {"type": "boolean"},
            "description": "whether the answer holds the model's outputs",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _BINARY | {"description": "PNG, JPEG, BMP, GIF, PPM, TIFF or WebP"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": _BINARY},
                    "description": "one file of the same formats and nothing else",
                }
            },
            "application/octet-stream": {
                "schema": _BINARY | {"description": "an input that is prepared: float32, little-endian, of input_size"}
            },
        },
    },
}
_PREDICT_REPLIES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorForm, "description": "a header, a parameter or a form breaks a rule"},
    408: {"model": ErrorForm, "description": "the body did not come in time"},
    413: {"model": ErrorForm, "description": "the body is too large"},
    415: {"model": ErrorForm, "description": "the content type is none that is taken"},
    422: {"model": ErrorForm, "description": "not an image that can be decoded, too many pixels, or no input"},
    500: {"model": ErrorForm, "description": "a graph failed over this input"},
    503: {"model": RefusedForm, "description": "no answer would be in time; Retry-After says when to ask again"},
}


def create_app(
    bundle: Session | Path | str,
    *,
    bounds: Bounds | None = None,
    budget_ms: float | None = None,
    threads: int | None = None,
    quantile: float = 0.99,
    clock: Callable[[], float] = time.perf_counter,
) -> FastAPI:
    """An ASGI application that answers for one bundle; `app.state.service` holds its parts.

    Args:
        bundle: a folder, or a session that is loaded already.
        bounds: of what is taken; None: the defaults of `Bounds`.
        budget_ms: of requests that name none, above 0; None: see `Service`.
        threads: that one request may use; None: as many as the bundle's latency table was measured with. Not for a
            session.
        quantile: by which deadlines are planned: 0.5, 0.9 or 0.99. Not for a session.
        clock: seconds; the session's own.

    Raises:
        RuntimeFault: the bundle cannot be loaded.
        InputError: an argument is out of its range.
    """
    bounds = bounds or Bounds()
    if not isinstance(bundle, Session):
        bundle = load_bundle(bundle, threads=threads, quantile=quantile, most_pixels=bounds.pixels)
    service = Service(bundle, bounds=bounds, budget_ms=budget_ms, clock=clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.workers.start()
        yield
        # The server has waited for every open request by now; what is left in the line nobody waits for.
        service.workers.close()

    app = FastAPI(
        title=f"exitsearch: {bundle.manifest.model}",
        description="Answers images within their deadlines, from the best exit that is in time.",
        version="1",
        docs_url=None,  # FastAPI's pages load scripts from a content delivery network
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    _add_answers(app, service)
    _add_pages(app, service)
    _add_faults(app, service)
    app.add_middleware(Guard, metrics=service.metrics, most=bounds.connections, clock=clock)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict",
        summary="Answer one image.",
        description=_PREDICT_TEXT,
        response_model=AnswerForm,
        responses=_PREDICT_REPLIES,
        openapi_extra=_PREDICT_EXTRA,
    )
    async def predict(request: Request) -> Response:
        # Filled by hand: checking one's own answer once more would take longer than some exits.
        return JSONResponse(await service.answer(request))


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/bundle", summary="What is served, and what requests are planned with now.")
    async def bundle() -> Response:
        return JSONResponse(service.facts())

    @app.get("/metrics", summary="Counters for Prometheus.")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=_METRICS_TYPE)

    @app.get("/healthz", summary="Whether the process works: 200, or 503 to be started again.")
    async def healthz() -> Response:
        alive = service.workers.alive
        return JSONResponse({"status": "ok" if alive else "a worker has ended"}, status_code=200 if alive else 503)

    @app.get("/readyz", summary="Whether requests are admitted: 200, or 503.")
    async def readyz() -> Response:
        ready = service.workers.alive and not service.line.closing
        return JSONResponse({"status": "ok" if ready else "closing"}, status_code=200 if ready else 503)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))


def _add_faults(app: FastAPI, service: Service) -> None:
    metrics = service.metrics

    @app.exception_handler(WrongRequest)
    async def wrong(_: Request, error: WrongRequest) -> Response:
        metrics.wrong(error.status)
        return error_reply(error.status, str(error))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        metrics.refused(error.reason)
        return refused_reply(error)

    @app.exception_handler(RunError)
    async def failed(_: Request, error: RunError) -> Response:
        metrics.failed()
        return error_reply(500, str(error))

    @app.exception_handler(Gone)
    async def gone(_: Request, __: Gone) -> Response:
        metrics.abandoned()
        return Response(status_code=_GONE)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        metrics.wrong(error.status_code)
        known = ", ".join(sorted({route.path for route in app.routes if hasattr(route, "path")}))
        sentences = {
            404: f"there is nothing at this path; known: {known}",
            405: f"{request.url.path} does not take {request.method[:20]}; {_allowed(error)}",
        }
        sentence = sentences.get(error.status_code, str(error.detail))
        return error_reply(error.status_code, sentence, headers=dict(error.headers or {}))


def _allowed(error: HTTPException) -> str:
    return f"use {(error.headers or {}).get('Allow', 'GET')}"
