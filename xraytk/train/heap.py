"""The C library's memory, set for training on a CPU."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD = -1  # numbers of glibc's malloc.h
MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep memory that was freed, for the next step to use.

    glibc hands every large block back to the kernel when it is freed, and each step asks for the
    same hundreds of megabytes again, page by page: a third of a step of the preset ``tiny`` at 1280
    pixels (`benchmarks/pretrain.py`). Nothing is lost but that memory is returned at the end only.

    Returns:
        Whether it could be set; it cannot without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
