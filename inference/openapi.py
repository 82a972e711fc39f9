"""The OpenAPI 3.1 document of the server, as ``/openapi.json`` publishes it; clients and tests are made from it."""

from __future__ import annotations

from typing import Final

from inference.preprocess import FORMATS
from inference.upload import FIELD, MAX_FILE

Json = dict[str, object]
MEDIA_TYPES: Final = tuple(f"image/{name.lower()}" for name in FORMATS)

_HEADERS: Final[Json] = {
    name: {"description": meaning, "schema": {"type": "string"}}
    for name, meaning in (
        ("X-Served-Zone", "Zone that answered."),
        ("X-Served-Host", "Host that answered."),
        ("X-Request-Id", "The request's id: the client's own if it sent a sane one."),
        ("X-Model-Sha256", "SHA-256 of the weights that are loaded; absent until they are."),
    )
}
_RETRY: Final[Json] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}


def document() -> Json:
    """Build the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image recognition",
            "version": "1",
            "description": "One image in, the most likely labels out; the same bytes from every zone.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/health": {"get": _get("health", "Whether the server can answer.", "Health", {"503": "Health"})},
            "/readyz": {"get": _get("readyz", "The same, for load balancers.", "Health", {"503": "Health"})},
            "/livez": {"get": _get("livez", "503 only when nothing but a restart helps.", "Health", {"503": "Health"})},
            "/info": {"get": _get("info", "What is served, and by what.", "Info", {})},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("openapi", "This document.", "Document", {})},
        },
        "components": {"schemas": _schemas()},
    }


def _predict() -> Json:
    refusals = {
        "400": "No file, two files, an empty, damaged or too elongated one, or a malformed body.",
        "408": "The upload took too long.",
        "413": "The file or the image is too large.",
        "415": f"A format other than {', '.join(FORMATS)}.",
    }
    upload = {
        "type": "object",
        "properties": {FIELD: {"type": "string", "format": "binary", "description": f"At most {MAX_FILE} bytes."}},
        "required": [FIELD],
    }
    form = {"schema": upload, "encoding": {FIELD: {"contentType": ", ".join(MEDIA_TYPES)}}}
    return {
        "operationId": "predict",
        "summary": "Recognise one image.",
        "requestBody": {"required": True, "content": {"multipart/form-data": form}},
        "responses": {
            "200": _answer("The most likely labels, highest logit first.", "Answer"),
            **{status: _answer(meaning, "Refusal") for status, meaning in refusals.items()},
            "503": _answer("Loading, failed, stopping or at its limit.", "Fallback", _RETRY),
        },
    }


def _get(operation: str, summary: str, schema: str, others: dict[str, str]) -> Json:
    responses = {"200": _answer(summary, schema)} | {
        status: _answer(summary, other, _RETRY) for status, other in others.items()
    }
    return {"operationId": operation, "summary": summary, "responses": responses}


def _metrics() -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "summary": "Measurements in the text format of Prometheus.",
        "responses": {
            "200": {"description": "Counters, gauges and histograms.", "headers": _HEADERS, "content": content}
        },
    }


def _answer(description: str, schema: str, headers: Json | None = None) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "headers": {**_HEADERS, **(headers or {})}, "content": content}


def _schemas() -> Json:
    prediction = {
        "index": {"type": "integer", "minimum": 0},
        "label": {"type": "string"},
        "logit": {"type": "number"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
    }
    return {
        "Answer": _object({"predictions": {"type": "array", "minItems": 1, "items": _object(prediction)}}),
        "Refusal": _object({"error": {"type": "string"}, "message": {"type": "string"}}),
        "Fallback": _object(
            {
                "error": {"const": "service_unavailable"},
                "fallback": {"const": True},
                "suggestion": {"type": "string"},
            }
        ),
        "Health": {
            "oneOf": [
                _object({"status": {"const": "healthy"}, "uptime_sec": {"type": "number", "minimum": 0}}),
                _object({"status": {"const": "loading"}, "progress": {"type": "number", "minimum": 0, "maximum": 1}}),
                _object({"status": {"const": "failed"}, "reason": {"type": "string"}}),
            ]
        },
        "Info": _object(
            {
                "service": {"enum": ["main", "backup"]},
                "is_primary": {"type": "boolean"},
                "zone": {"type": "string"},
                "host": {"type": "string"},
                "device": {"type": ["string", "null"]},
                "model": {"type": "object"},
                "versions": {"type": "object", "additionalProperties": {"type": "string"}},
                "fingerprint": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
                },
            }
        ),
        "Document": {"type": "object", "required": ["openapi"]},
    }


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}
