"""HTTP between the page and the desk, for one browser on this machine.

Other people's programs may run on the same machine, and other pages in the same browser. So:
the server listens on 127.0.0.1 only; every address begins with a secret, and what changes
something carries it in a header as well, which no other page can send; a request for another
host name is refused (DNS rebinding); the page may load nothing from elsewhere and nobody may
frame it; nothing is cached, as pictures of patients must not stay behind.

A cookie would not do: browsers send it to every port of the machine.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from xraytk.data.review.desk import Desk, Refusal
from xraytk.errors import MachineError, UsageError, XraytkError

HOST = "127.0.0.1"
TOKEN_HEADER = "X-Review-Token"  # noqa: S105 - the name of the header
MOST_BYTES = 1_000_000
"""Of a request's body."""

_LOCAL = r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?"
_PAGE = Path(__file__).parent / "page"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class _Answer(NamedTuple):
    status: int
    kind: str
    body: bytes


class Server(ThreadingHTTPServer):
    """The server of one sitting.

    Args:
        desk: Where what is said is kept.
        port: To listen on; 0 for a free one.
    """

    daemon_threads = True
    request_queue_size = 128  # the standard five are too few for a page that loads its parts at once
    block_on_close = False  # a browser keeps connections open; `Desk.close` waits for saves

    def __init__(self, desk: Desk, port: int = 0) -> None:
        self.desk = desk
        self.token = secrets.token_hex(20)
        self.decoding = threading.BoundedSemaphore(2)
        self.static = {p.name: (_KINDS[p.suffix], p.read_bytes()) for p in _PAGE.iterdir()}
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking for the machine's name, which may take a while."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    @property
    def url(self) -> str:
        """Of the page, with the secret."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that hangs up is no error."""


@contextlib.contextmanager
def serving(desk: Desk, port: int = 0) -> Iterator[Server]:
    """Serve from another thread; at the end, every save that was begun is whole.

    Args:
        desk: Where what is said is kept.
        port: To listen on; 0 for a free one.

    Raises:
        UsageError: If the port is taken.
    """
    try:
        server = Server(desk, port)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used",
            f"the system says: {error.strerror}",
            "Choose another with --port, or leave it away for a free one.",
        ) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        desk.close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "xraytk", ""
    timeout = 60

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_HEAD(self) -> None:
        self._respond(self._get)

    def do_POST(self) -> None:
        self._is_read = False
        self._respond(self._post)

    def log_message(self, *args: object) -> None:
        """Log nothing: the addresses carry the secret."""

    def _respond(self, work: Callable[[], _Answer]) -> None:
        try:
            answer = work()
        except Refusal as no:
            answer = _json({"error": no.reason}, no.status)
        except MachineError as error:
            answer = _json({"error": str(error)}, 507)
        except (XraytkError, OSError) as error:
            answer = _json({"error": type(error).__name__}, 500)
        if answer.status >= 400 and self.command == "POST":
            self.close_connection = True
            self._drain()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _address(self) -> tuple[list[str], dict[str, list[str]]]:
        """Parts of the path behind the secret, and the query.

        Raises:
            Refusal: If the host or the secret is not ours.
        """
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not re.fullmatch(_LOCAL, hosts[0]):
            raise Refusal(403, "another host")
        address = urlsplit(self.path)
        _, *parts = address.path.split("/")
        if not parts or not self._is_token(parts[0]):
            raise Refusal(403, "the address of this review is printed where it was started")
        return parts[1:], parse_qs(address.query, keep_blank_values=True)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _get(self) -> _Answer:
        parts, query = self._address()
        desk = self.server.desk
        match parts:
            case [""]:
                return _Answer(200, *self.server.static["index.html"])
            case [name] if name in self.server.static:
                return _Answer(200, *self.server.static[name])
            case ["api", "list"]:
                after, limit = (_number(query, key, given) for key, given in (("after", 0), ("limit", 50)))
                return _json(desk.listing(after, limit, "all" in query))
            case ["api", "image", image_id]:
                return _json(desk.image(image_id))
            case ["picture", image_id]:
                with self.server.decoding:
                    return _Answer(200, "image/png", desk.picture(image_id))
        raise Refusal(404, "no such page")

    def _post(self) -> _Answer:
        parts, _ = self._address()
        origin = self.headers.get("Origin")
        if not self._is_token(self.headers.get(TOKEN_HEADER, "")):
            raise Refusal(403, "without the secret")
        if origin is not None and not re.fullmatch(f"http://{_LOCAL}", origin):
            raise Refusal(403, "from another page")
        match parts:
            case ["api", "image", image_id]:
                return _json(self.server.desk.decide(image_id, self._body()))
        raise Refusal(404, "no such page")

    def _body(self) -> Any:
        """The request's JSON.

        Raises:
            Refusal: If it is none, or too long.
        """
        if self.headers.get_content_type() != "application/json":
            raise Refusal(415, "not JSON")
        length = self._length()
        if length is None:
            raise Refusal(411, "without a length")
        if length > MOST_BYTES:
            raise Refusal(413, "too long")
        self._is_read = True
        try:
            return json.loads(self.rfile.read(length), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise Refusal(400, "not JSON") from None

    def _length(self) -> int | None:
        """Bytes of the request's body; None when it does not say."""
        given = self.headers.get("Content-Length", "")
        known = re.fullmatch(r"[0-9]{1,9}", given) and "Transfer-Encoding" not in self.headers
        return int(given) if known else None

    def _drain(self) -> None:
        """Read a refused body away: a connection that is closed on one loses the answer with it."""
        left = 0 if self._is_read else min(self._length() or 0, 4 * MOST_BYTES)
        while left > 0 and (got := self.rfile.read(min(left, 65536))):
            left -= len(got)


def _json(value: object, status: int = 200) -> _Answer:
    return _Answer(status, "application/json", json.dumps(value).encode())


def _no_number(name: str) -> None:
    raise ValueError(name)


def _number(query: dict[str, list[str]], key: str, otherwise: int) -> int:
    given = query.get(key, [""])[-1]
    return int(given) if re.fullmatch(r"[0-9]{1,9}", given) else otherwise
