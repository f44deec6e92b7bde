"""The addresses of the server, and errors as JSON in one sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onnxplain.serve import json_text, metrics, v1, v2
from onnxplain.serve.calls import Reader
from onnxplain.serve.refusals import RefusedError
from onnxplain.serve.service import ClientGoneError, Incoming, Service
from onnxplain.versions import versions

_log = logging.getLogger("onnxplain.serve")

_CALLS: Mapping[str, Reader] = {
    "/v1/models/{name}:predict": v1.predict,
    "/v1/models/{name}:explain": v1.explain,
    "/v2/models/{name}/infer": v2.infer,
    "/v2/models/{name}/explain": v2.explain,
}

_OTHER = "other"
"""The route of other addresses, and other methods: metrics must not hold whatever clients send."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_SENTENCES = {
    404: "There is no such address: see docs/serve.md for those that exist.",
    405: "This address does not take this method: GET describes, POST predicts and explains.",
}


def make_app(service: Service) -> ASGIApp:
    """The application for a server of ASGI."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(lifespan=running, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(Exception, _failed)
    _add_descriptions(app, service)
    for path, read in _CALLS.items():
        _add_call(app, service, path, read)
    return _Observed(app, service)


def _add_call(app: FastAPI, service: Service, path: str, read: Reader) -> None:
    @app.post(path)
    async def answer(name: str, request: Request) -> Response:
        _require_model(name, service)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, "The body is compressed: send it as it is.")
        if "inference-header-content-length" in request.headers:
            raise RefusedError(
                415, "This server does not have the extension for binary data: send JSON."
            )
        declared = request.headers.get("content-length", "")
        length = int(declared) if declared.isdecimal() else None

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return _json_text(await service.answer(read, Incoming(request.stream(), length, gone)))


def _add_descriptions(app: FastAPI, service: Service) -> None:
    """The addresses of GET."""
    own = service.settings.name

    def ready(**more: Any) -> Response:
        return _json({**more, "ready": service.is_open}, 200 if service.is_open else 503)

    @app.get("/v1/models")
    async def models() -> Response:
        return _json({"models": [own]})

    @app.get("/v1/models/{name}")
    async def model_of_v1(name: str) -> Response:
        _require_model(name, service)
        return ready(name=own)

    @app.get("/v2")
    async def server() -> Response:
        version = versions().get("onnxplain", "")
        return _json({"name": "onnxplain", "version": version, "extensions": [v2.EXTENSION]})

    @app.get("/v2/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready")
    async def server_ready() -> Response:
        return ready()

    @app.get("/v2/models/{name}")
    async def model_of_v2(name: str) -> Response:
        _require_model(name, service)
        return _json(v2.metadata(service.engine, service.settings))

    @app.get("/v2/models/{name}/ready")
    async def model_ready(name: str) -> Response:
        _require_model(name, service)
        return ready(name=own)

    @app.get("/metrics")
    async def counts() -> Response:
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _require_model(name: str, service: Service) -> None:
    if name != service.settings.name:
        raise RefusedError(404, f"There is no such model: there is {service.settings.name!r}.")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _error(error.status, str(error), error.retry_after)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, _SENTENCES.get(error.status_code, str(error.detail)))


async def _gone(_: Request, error: Exception) -> Response:
    return _error(499, "The client is gone.")  # nobody reads it; the status is that of nginx


async def _failed(_: Request, error: Exception) -> Response:
    return _error(500, "The server failed inside: its log says why.")


def _error(status: int, sentence: str, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _json({"error": sentence}, status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return _json_text(json_text.write(value), status, headers)


def _json_text(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(text, status, headers, "application/json")


class _Observed:
    """The application, whose requests are counted, and whose faults are logged."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 0, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:  # answered by `_failed` before
            _log.exception("A request failed inside:")
        finally:
            route = getattr(scope.get("route"), "path", _OTHER)
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            seconds = time.perf_counter() - began
            self._service.metrics.note_request(route, method, status, seconds)
