"""Starts the server: binds first, answers at once, and loads the model in a thread beside.

A model that may not be served (missing, damaged, another hash) ends the process: its supervisor must see it. A device
or library that does not work leaves the server up, answering 503 with the reason.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

import uvicorn

from inference.app import create_app
from inference.errors import CheckpointError, InferenceError, SettingsError
from inference.limits import LimitedProtocol
from inference.log import event
from inference.memory import keep_freed_memory
from inference.metrics import Metrics
from inference.readiness import Readiness, Ready

if TYPE_CHECKING:
    from types import FrameType

    from inference.settings import Settings

KEEP_ALIVE_SECONDS: Final = 75  # longer than nginx keeps its side (60 s): it must be the gateway that closes idle ones

# Shares of the loading time, for the progress shown; the import of PyTorch takes most of it.
_READ, _FETCHED, _IMPORTED, _BUILT = 0.2, 0.8, 0.85, 0.95

_AT_ONCE_SECONDS: Final = 0.05


class _Loading:
    """Loads the model in a thread; ``refusal`` says why the process must end."""

    def __init__(self, settings: Settings, readiness: Readiness, metrics: Metrics, server: uvicorn.Server) -> None:
        self._settings = settings
        self._readiness = readiness
        self._metrics = metrics
        self._server = server
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.refusal: CheckpointError | None = None

    def start(self) -> None:
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        # Looking for garbage among what is being imported finds none, and takes a sixth of the time.
        gc.disable()
        try:
            self._load()
        except CheckpointError as error:
            self.refusal = error
            self._server.should_exit = True
        except InferenceError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever the import of a library raises on a broken host
            self._fail(f"The model could not be loaded: {type(error).__name__}: {error}")
        finally:
            gc.freeze()  # what is loaded by now stays; no later search need look at it
            gc.enable()

    def _fail(self, reason: str) -> None:
        self._readiness.fail(reason)
        event(logging.ERROR, "failed", reason=reason)

    def _load(self) -> None:
        from inference.identity import fingerprint
        from inference.model_source import obtain_model

        settings, readiness = self._settings, self._readiness
        read = _FETCHED if settings.model_uri else _READ
        with ThreadPoolExecutor(1, thread_name_prefix="read") as beside:
            reading = beside.submit(obtain_model, settings, lambda share: readiness.advance(share * read))
            # A large model is read and hashed while PyTorch is imported. A small one is there at once, and one that is
            # refused then ends the process before anything slow was begun.
            wait([reading], _AT_ONCE_SECONDS)
            if not reading.done():
                import torch  # noqa: F401 - what is imported below, without it, takes no time
            checkpoint = reading.result()
        event(logging.INFO, "model read", path=checkpoint.description.path, sha256=checkpoint.description.sha256)
        from inference.batching import BatchWorker
        from inference.predictor import Predictor
        from inference.selfcheck import drawn_images, self_check

        readiness.advance(_IMPORTED)
        predictor = Predictor.from_settings(checkpoint, settings)
        readiness.advance(_BUILT)
        lanes = settings.lanes or predictor.default_lanes
        images = [settings.default_image_path.read_bytes()] if settings.default_image_path else []
        computed = self_check(predictor, images + drawn_images(), lanes)
        worker = BatchWorker(
            predictor,
            settings.queue_size,
            lambda error: self._fail(str(error)),
            lanes=lanes,
            threads=predictor.threads(lanes),
            wait=predictor.default_wait if settings.batch_wait is None else settings.batch_wait,
            longest_queued=settings.queue_wait,
            observer=self._metrics,
        )
        readiness.ready(Ready(predictor, worker, fingerprint(predictor.facts())))
        event(logging.INFO, "self-check passed", computations=computed, lanes=lanes, batch_size=predictor.batch_size)
        event(logging.INFO, "ready", device=str(predictor.device), seconds=round(readiness.uptime, 3))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; returns after every request in flight has been answered.

    Raises SettingsError if the address cannot be bound, CheckpointError if the model may not be served.
    """
    keep_freed_memory()
    readiness, metrics = Readiness(), Metrics()
    listener = _bind(settings.host, settings.port)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, readiness, metrics),
            http=LimitedProtocol,
            ws="none",
            loop="uvloop",
            headers=[("X-Served-Zone", settings.zone), ("X-Served-Host", settings.node_name)],
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.drain,
            lifespan="on",
        )
    )
    loading = _Loading(settings, readiness, metrics, server)

    # uvicorn takes these signals over while it runs, and when done raises them again for the handler that was there
    # before: this one, so that a requested stop ends with exit code 0.
    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    address, port = listener.getsockname()[:2]
    event(logging.INFO, "listening", host=address, port=port, zone=settings.zone, pid=os.getpid())
    loading.start()
    server.run(sockets=[listener])
    if loading.refusal:
        raise loading.refusal
    event(logging.INFO, "stopped")
    if loading.running:
        # Stopped while PyTorch is being imported: tearing down the interpreter under a thread in native code can crash.
        sys.stderr.flush()
        os._exit(0)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(f"Cannot listen on HOST {host!r}, PORT {port}: {error.strerror or error}.") from error
    return listener
