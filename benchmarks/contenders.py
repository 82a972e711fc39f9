"""What the server is measured beside, each a process of its own with the same model and preprocessing.

``python -m benchmarks.contenders loop``: no HTTP at all; decode + preprocess + model in a loop, one process for each
core of this one. Reads ``SECONDS IMAGE…`` lines from stdin, answers each with one JSON line.
``… flask``: the development server of the original runbook, one request at a time through ``predict_image``.
The model and device come from the variables that ``python -m inference serve`` reads.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inference.checkpoint import read_checkpoint
from inference.predictor import Predictor
from inference.settings import read_settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from inference.settings import Settings


def load(settings: Settings) -> Predictor:
    """Build the same predictor that the server would."""
    return Predictor.from_settings(read_checkpoint(settings.model_path, settings.model_sha256), settings)


def loop(settings: Settings) -> None:
    """Answer each line of stdin with what all cores did in that time: images per second and latencies of a batch."""
    cores = sorted(os.sched_getaffinity(0))
    pipes = []
    for core in cores[:: settings.threads]:
        mine, theirs = multiprocessing.Pipe()
        chosen = set(cores[cores.index(core) :][: settings.threads])
        multiprocessing.get_context("spawn").Process(target=_lane, args=(theirs, chosen), daemon=True).start()
        pipes.append(mine)
    for pipe in pipes:
        pipe.recv()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, *images = line.split()
        for pipe in pipes:
            pipe.send((float(seconds), images))
        parts = [pipe.recv() for pipe in pipes]
        latencies = [latency for _, ofs in parts for latency in ofs]
        print(json.dumps({"rate": sum(rate for rate, _ in parts), "latencies": latencies}), flush=True)


def _lane(pipe: Connection, cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    predictor = load(read_settings(os.environ))
    pipe.send("ready")
    while True:
        seconds, paths = pipe.recv()
        images = [Path(path).read_bytes() for path in paths]
        size, latencies, number = predictor.batch_size, [], 0
        begin = now = time.monotonic()
        while now < begin + seconds:
            batch = [predictor.prepare(images[(number + slot) % len(images)]) for slot in range(size)]
            predictor.compute(batch)
            number += size
            latencies.append(time.monotonic() - now)
            now += latencies[-1]
        pipe.send((number / (now - begin), latencies))


def flask(settings: Settings) -> None:
    """Serve with Flask's development server, one request at a time."""
    from flask import Flask, Response, request

    from inference.answer import canonical_json

    predictor = load(settings)
    app = Flask("runbook")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    @app.post("/predict")
    def predict() -> Response:
        answer = predictor.predict_image(request.files["file"].read())
        return Response(canonical_json({**answer}), mimetype="application/json")

    @app.get("/health")
    def health() -> str:
        return "ok"

    app.run(settings.host, settings.port, threaded=False)


if __name__ == "__main__":
    {"loop": loop, "flask": flask}[sys.argv[1]](read_settings(os.environ))
