"""A web server whose faults are planned, for tests."""

from __future__ import annotations

import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Web:
    """What is served, and what goes wrong.

    Args:
        files: Content by path.
        ranges: Whether requests of ranges are understood.
    """

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.files, self.ranges = files, ranges
        self.faults: dict[str, list[str]] = {}  # of the next requests, one each
        self.always: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.delay_s = 0.0
        self.url = ""
        self.lock = threading.Lock()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        web, path = self.web, self.path.partition("?")[0]
        with web.lock:
            web.asked[path] += with_body
            planned = web.faults.get(path)
            fault = (planned.pop(0) if planned else web.always.get(path, "")) if with_body else ""
        if fault.isdigit() or path not in web.files:
            return self._status(int(fault or 404))
        data, start = web.files[path], 0
        wanted = self.headers.get("Range", "")
        if web.ranges and wanted.startswith("bytes="):
            first, _, last = wanted[6:].partition("-")
            start = int(first)
            if start >= len(data):
                return self._status(416)
            data = data[start : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(web.files[path])}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not with_body:
            return None
        time.sleep(web.delay_s)
        if fault == "stall":
            time.sleep(2.0)
        if fault == "wrong":
            data = bytes(len(data))
        if fault in ("drop", "slow drop"):
            data = data[: len(data) // 2]
        self.wfile.write(data)
        web.sent += len(data)
        if fault in ("drop", "slow drop"):
            self.wfile.flush()
            time.sleep(0.2)  # else a busy reader may not have read anything when the connection ends
            self.close_connection = True
            self.connection.close()
        return None

    def _status(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away


@contextmanager
def served(web: Web) -> Iterator[Web]:
    """Serve until the block ends."""
    handler = type("Handler", (_Handler,), {"web": web})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
