"""One sitting: start the server, open the browser, wait for Ctrl-C, say what was done."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xraytk.data.review.desk import Desk
from xraytk.data.review.queue import Queue
from xraytk.data.review.server import serving
from xraytk.errors import DataError
from xraytk.progress import Progress, Silent


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What was said in one sitting.

    Args:
        accepted: Contours that are right as they are.
        corrected: Contours that a person drew or moved.
        rejected: Images without a right contour.
        looked: Images of the table that were decided in all, now or before.
        total: Images of the table that can be looked at.
    """

    accepted: int
    corrected: int
    rejected: int
    looked: int
    total: int


def run(
    masks: Path,
    ingest: Path,
    *,
    port: int = 0,
    browser: bool = True,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Reviewed:
    """Let a person look at the contours of a masks folder, until Ctrl-C.

    What is said is written at once into ``corrections`` of the masks folder; no other file is
    touched, and none needs to be written at the end.

    Args:
        masks: The masks folder.
        ingest: The ingest folder.
        port: To listen on, on 127.0.0.1; 0 for a free one.
        browser: Open the page, where this machine has a screen.
        progress: Where to say the address.
        stop: Ends the sitting too, when set.

    Returns:
        How many were accepted, corrected, rejected.

    Raises:
        DataError: If there are no contours to look at.
        UsageError: If the port is taken.
    """
    progress = progress or Silent()
    stop = stop or threading.Event()
    queue = Queue(masks, ingest)
    if not len(queue):
        raise DataError(f"{masks} has no contours to look at", todo="Run `xraytk mask` on frontal images.")
    desk = Desk(queue, masks / "corrections")
    with serving(desk, port) as server, _opened(server.url, masks, browser):
        progress.note(f"Review the contours at {server.url}")
        progress.note(
            "The address holds a secret: give it to nobody. From another machine, first run there "
            f"`ssh -L {server.server_port}:127.0.0.1:{server.server_port} THIS-MACHINE`."
        )
        progress.note("Every change is saved at once. Ctrl-C ends the review.")
        with contextlib.suppress(KeyboardInterrupt):
            stop.wait()
    said = list(desk.said.values())
    done = Reviewed(
        accepted=said.count("accepted"),
        corrected=said.count("drawn"),
        rejected=said.count("rejected"),
        **desk.counts(),
    )
    progress.note(
        f"{done.accepted} accepted, {done.corrected} corrected, {done.rejected} rejected; "
        f"{done.looked} of {done.total} looked at"
    )
    return done


@contextlib.contextmanager
def _opened(url: str, folder: Path, wanted: bool) -> Iterator[None]:
    """Open the page by way of a file that only this user can read.

    Everybody on a machine can see the words that a program was started with; the address with
    its secret must not be among them.
    """
    if not (wanted and _has_screen()):
        yield
        return
    door = folder.resolve() / f".tmp-{os.getpid()}-{secrets.token_hex(4)}-review.html"
    try:
        with os.fdopen(os.open(door, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">\n')
        threading.Thread(target=webbrowser.open, args=(door.as_uri(),), daemon=True).start()
        yield
    finally:
        door.unlink(missing_ok=True)


def _has_screen() -> bool:
    """Whether a browser would come up before the person who typed the command."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY"))
