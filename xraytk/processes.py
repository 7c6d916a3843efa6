"""Processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import connection


def leave_with_parent() -> None:
    """End this process as soon as its parent has ended, however it did; return at once.

    A process that outlives a killed parent would keep its memory and the parent's locks. The
    process id of the parent does not tell: under a fork server it is the server's.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
