"""Everything the inference package raises on purpose.

InferenceError
├── SettingsError          a bad environment variable or command-line argument; nothing was started
├── CheckpointError        the model folder is missing, incomplete or inconsistent
│   ├── HashMismatchError  a file is not the one that MODEL_SHA256, or the manifest beside it, asks for
│   └── DownloadError      the model cannot be fetched from MODEL_URI
├── RefusedError           a request that is answered with a 4xx status
│   ├── ImageError         the bytes are no image that can be answered
│   └── UploadError        the request carries no usable file
├── QueueFullError         more work than the server may hold (503)
└── DeviceError            the device failed while computing (503 until the server is replaced)
"""

from __future__ import annotations


class InferenceError(Exception):
    """Base of all errors of this package; its text is one or two sentences for a person."""


class SettingsError(InferenceError):
    """An environment variable or argument is missing or has a value that is not allowed."""


class CheckpointError(InferenceError):
    """The model folder cannot be served: something is missing, unreadable or does not fit together."""


class HashMismatchError(CheckpointError):
    """A file of the model has another SHA-256 than MODEL_SHA256, or the manifest beside it, says."""


class DownloadError(CheckpointError):
    """The model cannot be fetched from MODEL_URI; trying again at once would not help."""


class RefusedError(InferenceError):
    """A request that is answered with a 4xx status; ``error`` is the machine-readable word in the body."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class ImageError(RefusedError):
    """The bytes are not an image in an accepted format, or one too large to decode."""


class UploadError(RefusedError):
    """The request has no single readable part named ``file``, or is larger than allowed."""


class QueueFullError(InferenceError):
    """As many requests as the server may hold are already waiting."""


class DeviceError(InferenceError):
    """The computing device failed; results of this process can no longer be trusted."""
