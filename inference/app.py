"""The web application: ``/health``, ``/info`` and ``/predict``, and the headers that every answer carries.

It can answer from the first moment: what it says depends on ``Readiness``, and PyTorch is never imported here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from inference.answer import canonical_json
from inference.errors import DeviceError, QueueFullError, RefusedError
from inference.identity import versions
from inference.log import event
from inference.readiness import Failed, Loading, Ready
from inference.upload import drop_upload, read_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from inference.identity import Fact
    from inference.readiness import Readiness
    from inference.settings import Settings

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_LEFT: Final = 499  # nginx's word for it; nobody receives it, the log shows it
_DECODERS: Final = min(8, os.cpu_count() or 1)
_RETRY_SECONDS: Final = {"loading": 2, "failed": 30, "busy": 1}
_SUGGESTION: Final = {
    "loading": "The model is still loading; retry in a few seconds or use the other zone.",
    "failed": "This server cannot answer until it is restarted; use the other zone.",
    "busy": "The server is at its limit; retry in a second or use the other zone.",
}


class Service:
    """The handlers of one server. ``create_app`` makes the ASGI application of it."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._waiting = 0

    async def health(self, _: Request) -> Response:
        match self._readiness.state:
            case Loading(progress):
                return _json(503, {"status": "loading", "progress": round(progress, 3)}, _retry("loading"))
            case Failed(reason):
                return _json(503, {"status": "failed", "reason": reason}, _retry("failed"))
            case Ready():
                return _json(200, {"status": "healthy", "uptime_sec": round(self._readiness.uptime, 3)})

    async def info(self, _: Request) -> Response:
        settings, state = self._settings, self._readiness.state
        model = state.predictor.description if isinstance(state, Ready) else None
        fingerprint: dict[str, Fact] = state.fingerprint if isinstance(state, Ready) else {}
        return _json(
            200,
            {
                "service": settings.service_name,
                "is_primary": settings.is_primary,
                "zone": settings.zone,
                "host": settings.node_name,
                "device": str(state.predictor.device) if isinstance(state, Ready) else None,
                "model": {
                    "path": str(settings.model_path),
                    "sha256": model.sha256 if model else None,
                    "architecture": model.card.name if model else None,
                    "classes": model.card.classes if model else None,
                },
                "versions": versions(),
                "fingerprint": fingerprint,
            },
        )

    async def predict(self, request: Request) -> Response:
        state = self._readiness.state
        if not isinstance(state, Ready):
            await drop_upload(request)
            return _unavailable("failed" if isinstance(state, Failed) else "loading")
        if self._waiting >= self._settings.queue_size:
            await drop_upload(request)
            return _unavailable("busy")
        self._waiting += 1
        try:
            data = await read_upload(request)
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self._decoders, state.predictor.prepare, data)
            if await request.is_disconnected():
                return Response(status_code=_CLIENT_LEFT)
            answer = await asyncio.wrap_future(state.worker.submit(prepared))
        except RefusedError as error:
            return _json(error.status, {"error": error.error, "message": str(error)})
        except QueueFullError:
            return _unavailable("busy")
        except DeviceError:
            return _unavailable("failed")
        except ClientDisconnect:
            return Response(status_code=_CLIENT_LEFT)
        finally:
            self._waiting -= 1
        return _json(200, cast("Mapping[str, object]", answer))

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Every request has been answered by now; nothing is cut off here.
            self._decoders.shutdown()
            if isinstance(state := self._readiness.state, Ready):
                state.worker.close()


class Identified:
    """Adds zone, host, request id and model hash to every response, errors included, and logs each request."""

    def __init__(self, app: ASGIApp, settings: Settings, readiness: Readiness) -> None:
        self._app = app
        self._readiness = readiness
        self._fixed = [
            (b"x-served-zone", settings.zone.encode("ascii")),
            (b"x-served-host", settings.node_name.encode("ascii")),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        asked = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        status = 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *self._fixed,
                    (b"x-request-id", request_id.encode("ascii")),
                    *self._model(),
                ]
            await send(message)

        try:
            await self._app(scope, receive, identified)
        finally:
            event(
                logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING,
                "request",
                request_id=request_id,
                method=scope["method"],
                path=scope["path"][:200],
                status=status,
                milliseconds=round((time.monotonic() - started) * 1e3, 2),
            )

    def _model(self) -> list[tuple[bytes, bytes]]:
        state = self._readiness.state
        if not isinstance(state, Ready):
            return []
        return [(b"x-model-sha256", state.predictor.description.sha256.encode("ascii"))]


def create_app(settings: Settings, readiness: Readiness) -> ASGIApp:
    """Build the complete ASGI application; ``readiness`` may become ready, or fail, at any time while it serves."""
    service = Service(settings, readiness)
    app = Starlette(
        routes=[
            Route("/health", service.health, methods=["GET"]),
            Route("/info", service.info, methods=["GET"]),
            Route("/predict", service.predict, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=service.lifespan,
    )
    return Identified(app, settings, readiness)


async def _http_error(_: Request, error: Exception) -> Response:
    status = HTTPStatus(cast("HTTPException", error).status_code)
    body = {
        "error": status.phrase.lower().replace(" ", "_"),
        "message": "Known are GET /health, GET /info, POST /predict.",
    }
    return _json(status, body, dict(cast("HTTPException", error).headers or {}))


async def _bug(_: Request, __: Exception) -> Response:
    # Starlette raises the exception again after this answer, so that it is logged with its traceback.
    return _json(500, {"error": "internal_error", "message": "A bug in the server; its log has the details."})


def _json(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(canonical_json(body), status, headers, media_type="application/json")


def _retry(why: str) -> dict[str, str]:
    return {"Retry-After": str(_RETRY_SECONDS[why])}


def _unavailable(why: str) -> Response:
    body = {"error": "service_unavailable", "fallback": True, "suggestion": _SUGGESTION[why]}
    return _json(503, body, _retry(why))
