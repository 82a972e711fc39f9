"""The web application: its endpoints, and the headers that every answer carries.

It can answer from the first moment: what it says depends on ``Readiness``, and PyTorch is never imported here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from inference.answer import canonical_json
from inference.errors import DeviceError, QueueFullError, RefusedError
from inference.identity import versions
from inference.limits import CLIENT_LEFT, new_request_id
from inference.log import event
from inference.metrics import CONTENT_TYPE, Metrics
from inference.openapi import document
from inference.readiness import Failed, Loading, Ready
from inference.upload import read_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from concurrent.futures import Future

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from inference.answer import Answer
    from inference.batching import BatchWorker
    from inference.identity import Fact
    from inference.readiness import Readiness
    from inference.settings import Settings

COMPUTE_SECONDS: Final = 60.0
"""A computation that runs longer hangs: its device is taken for broken."""

_CLOSE_SECONDS: Final = 5.0
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_LEFT: Final = 499  # nginx's word for it; nobody receives it, log and metrics show it
_QUIET: Final = frozenset({"/health", "/livez", "/readyz", "/metrics"})  # asked every second, for ever
_RETRY_SECONDS: Final = {"loading": 2, "failed": 30, "busy": 1, "stopping": 1}
_SUGGESTION: Final = {
    "loading": "The model is still loading; retry in a few seconds or use the other zone.",
    "failed": "This server cannot answer until it is restarted; use the other zone.",
    "busy": "The server is at its limit; retry in a second or use the other zone.",
    "stopping": "The server is stopping; use the other zone.",
}


class Service:
    """The handlers of one server. ``create_app`` makes the ASGI application of it."""

    def __init__(self, settings: Settings, readiness: Readiness, metrics: Metrics) -> None:
        self._settings = settings
        self._readiness = readiness
        self._metrics = metrics
        self._inside = 0
        metrics.watch("requests_in_flight", "/predict requests that are inside.", lambda: self._inside)
        metrics.watch("ready", "1 while the server can answer, else 0.", lambda: isinstance(readiness.state, Ready))
        metrics.watch("queue_depth_images", "Images that wait for their turn.", lambda: self._of_ready("depth"))
        metrics.watch("gpu_memory_bytes", "GPU memory that PyTorch holds.", lambda: self._of_ready("gpu_memory"))

    async def health(self, _: Request) -> Response:
        match self._readiness.state:
            case Loading(progress):
                return _json(503, {"status": "loading", "progress": round(progress, 3)}, _retry("loading"))
            case Failed(reason):
                return _json(503, {"status": "failed", "reason": reason}, _retry("failed"))
            case Ready():
                return _json(200, {"status": "healthy", "uptime_sec": round(self._readiness.uptime, 3)})

    async def alive(self, request: Request) -> Response:
        answer = await self.health(request)
        if not isinstance(self._readiness.state, Failed):
            answer.status_code = 200
        return answer

    async def metrics(self, _: Request) -> Response:
        return Response(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _: Request) -> Response:
        return _json(200, document())

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
            return self._unavailable("failed" if isinstance(state, Failed) else "loading")
        if self._inside >= self._settings.queue_size:
            return self._unavailable("busy")
        self._inside += 1
        try:
            answer = await self._answer(request, state.worker)
        except RefusedError as error:
            self._metrics.failed(error.error)
            return _json(error.status, {"error": error.error, "message": str(error)})
        except QueueFullError:
            return self._unavailable("busy")
        except DeviceError:
            return self._unavailable("failed")
        except ClientDisconnect:
            self._metrics.failed("client_left")
            return Response(status_code=_CLIENT_LEFT)
        except asyncio.CancelledError:  # the time to drain is over; this task ends with this answer
            return self._unavailable("stopping")
        except Exception:
            self._metrics.failed("internal_error")
            raise
        finally:
            self._inside -= 1
        if isinstance(
            self._readiness.state, Failed
        ):  # the device was found broken meanwhile: what it says is no answer
            return self._unavailable("failed")
        return _json(200, cast("Mapping[str, object]", answer))

    async def _answer(self, request: Request, worker: BatchWorker) -> Answer:
        """Read the image and wait for its answer. Raises ClientDisconnect once the client is gone.

        What has not begun by then is not computed.
        """
        started = time.monotonic()
        data = await read_upload(request)
        uploaded = time.monotonic() - started
        loop = asyncio.get_running_loop()
        # One future for whatever comes first: the answer, that the client left, or that the device hangs.
        outcome: asyncio.Future[Answer] = loop.create_future()

        def answered(job: Future[Answer]) -> None:
            if not loop.is_closed():  # as it is when a device hung longer than the server was waited for
                loop.call_soon_threadsafe(_settle, outcome, job)

        def left(_: asyncio.Future[None]) -> None:
            if not outcome.done():
                outcome.set_exception(ClientDisconnect())

        timer: asyncio.TimerHandle

        def late() -> None:
            nonlocal timer
            if worker.longest > COMPUTE_SECONDS and not outcome.done():
                outcome.set_exception(self._hangs(worker.longest))
            else:
                timer = loop.call_later(COMPUTE_SECONDS, late)

        job = worker.submit(data, answered)
        # The rest is done while the worker's thread wakes up.
        timer = loop.call_later(COMPUTE_SECONDS, late)
        leaving: asyncio.Future[None] = request.scope["extensions"][CLIENT_LEFT]
        leaving.add_done_callback(left)
        self._metrics.stage("upload", uploaded)
        try:
            return await outcome
        finally:
            timer.cancel()
            leaving.remove_done_callback(left)
            job.cancel()  # where its turn has not come, it is skipped

    def _hangs(self, seconds: float) -> DeviceError:
        error = DeviceError(f"A computation has been running for {seconds:.0f} s: the device hangs.")
        self._readiness.fail(str(error))
        event(logging.ERROR, "failed", reason=str(error))
        return error

    def _unavailable(self, why: str) -> Response:
        self._metrics.failed(why)
        body = {"error": "service_unavailable", "fallback": True, "suggestion": _SUGGESTION[why]}
        return _json(503, body, _retry(why))

    def _of_ready(self, what: Literal["depth", "gpu_memory"]) -> float:
        state = self._readiness.state
        if not isinstance(state, Ready):
            return 0
        return state.worker.depth if what == "depth" else state.predictor.gpu_memory()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Every request has been answered by now, or its time was over: only a device that hangs is not waited for.
            if isinstance(state := self._readiness.state, Ready) and not state.worker.close(_CLOSE_SECONDS):
                event(logging.WARNING, "device hangs")


class Identified:
    """Adds request id and model hash to every response, errors included; logs and counts each request.

    Zone and host are added below, by the HTTP server, so that answers it gives by itself carry them too.
    """

    def __init__(self, app: ASGIApp, readiness: Readiness, metrics: Metrics) -> None:
        self._app = app
        self._readiness = readiness
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        asked = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else new_request_id()
        status = 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("ascii")),
                    *self._model(),
                ]
            await send(message)

        try:
            await self._app(scope, receive, identified)
        finally:
            seconds = time.monotonic() - started
            self._metrics.answered(scope["path"], status, seconds)
            event(
                _level(scope["path"], status),
                "request",
                request_id=request_id,
                method=scope["method"],
                path=scope["path"][:200],
                status=status,
                milliseconds=round(seconds * 1e3, 2),
            )

    def _model(self) -> list[tuple[bytes, bytes]]:
        state = self._readiness.state
        if not isinstance(state, Ready):
            return []
        return [(b"x-model-sha256", state.predictor.description.sha256.encode("ascii"))]


def create_app(settings: Settings, readiness: Readiness, metrics: Metrics) -> ASGIApp:
    """Build the complete ASGI application; ``readiness`` may become ready, or fail, at any time while it serves."""
    service = Service(settings, readiness, metrics)
    app = Starlette(
        routes=[
            Route("/health", service.health, methods=["GET"]),
            Route("/readyz", service.health, methods=["GET"]),
            Route("/livez", service.alive, methods=["GET"]),
            Route("/info", service.info, methods=["GET"]),
            Route("/metrics", service.metrics, methods=["GET"]),
            Route("/openapi.json", service.openapi, methods=["GET"]),
            Route("/predict", service.predict, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=service.lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would name a host that the client did not ask

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        # The one request whose every microsecond counts goes around the router, and what surrounds it.
        if scope["type"] != "http" or scope["path"] != "/predict" or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await service.predict(request)
        except Exception as error:
            await (await _bug(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)

    return Identified(routed, readiness, metrics)


def _settle(outcome: asyncio.Future[Answer], job: Future[Answer]) -> None:
    if outcome.done() or job.cancelled():
        return
    if error := job.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(job.result())


def _level(path: str, status: int) -> int:
    if path in _QUIET:
        return logging.DEBUG
    return logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING


async def _http_error(_: Request, error: Exception) -> Response:
    status = HTTPStatus(cast("HTTPException", error).status_code)
    body = {
        "error": status.phrase.lower().replace(" ", "_"),
        "message": "GET /openapi.json tells what is known here.",
    }
    return _json(status, body, dict(cast("HTTPException", error).headers or {}))


async def _bug(_: Request, __: Exception) -> Response:
    # The exception is raised again after this answer, so that it is logged with its traceback.
    return _json(500, {"error": "internal_error", "message": "A bug in the server; its log has the details."})


def _json(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(canonical_json(body), status, headers, media_type="application/json")


def _retry(why: str) -> dict[str, str]:
    return {"Retry-After": str(_RETRY_SECONDS[why])}
