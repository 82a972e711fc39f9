"""Tells the C library's allocator to keep what is freed: the same buffers are wanted again with the next image."""

from __future__ import annotations

import ctypes
import logging
from typing import Final

from inference.log import event

# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

MMAP_THRESHOLD: Final = 32 << 20  # the largest that glibc takes; beyond, an allocation is mapped and given back
TRIM_THRESHOLD: Final = 128 << 20


def keep_freed_memory() -> bool:
    """Let each decode and computation reuse the pages of the one before; True where the allocator can be told.

    By default glibc gives freed memory of this size back to the kernel at once in all threads but the main one, and
    every computation whose intermediate results are megabytes costs thousands of page faults. What is kept is at most
    ``TRIM_THRESHOLD`` bytes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    told = bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD))
    event(logging.DEBUG, "memory", kept=told)
    return told
