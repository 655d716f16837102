"""The page on this machine alone: the files of a gallery over HTTP, to nobody else.

Only the loopback interface is listened on. A page of another site could still be shown under a name
that leads here (DNS rebinding), so the Host that is asked for must be this one; and could load the
data as scripts of its own, which `Cross-Origin-Resource-Policy` forbids. No path is ever looked up
in a file system: what there is comes from the gallery.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.reports.view.gallery import INDEX, TYPES, Gallery
from nnw_onnx.text import one_line

ADDRESS = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PLAIN_PORT = 80
"""The port that addresses leave out."""
_PATIENCE = 30.0
"""Seconds that a connection may be silent."""
_log = logging.getLogger(__name__)


@contextmanager
def serving(gallery: Gallery, port: int) -> Iterator[ThreadingHTTPServer]:
    """A server of the page; `serve_forever` of it answers.

    Args:
        gallery: what is served.
        port: of the loopback interface; 0 for any that is free.

    Raises:
        ConfigurationError: the port cannot be had.
    """
    handler = type("Handler", (_Handler,), {"gallery": gallery})
    try:
        server = _Server((ADDRESS, port), handler)
    except OSError as error:
        raise ConfigurationError(
            f"--port: expected a free port, got {port}: {error.strerror or error}; give another, "
            "or 0 for any"
        ) from error
    with server:
        yield server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that went away in the middle of an answer is no error of the server."""
        _log.debug("a connection ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; everything else is refused."""

    gallery: Gallery
    timeout = _PATIENCE
    server_version, sys_version = "nnw", ""

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with what is known of a file."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Tell a request to who wants to see each step."""
        _log.debug("%s", one_line(format % args))

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path.removeprefix("/") or INDEX
        if self.headers.get("Host") not in self._hosts():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"not for this host\n", ".txt", with_body)
            return
        try:
            found = self.gallery.file(path)
        except (RunError, OSError) as error:
            told = one_line(str(error)).encode()
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, told + b"\n", ".txt", with_body)
            return
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, b"no such page\n", ".txt", with_body)
            return
        self._send(HTTPStatus.OK, found, PurePosixPath(path).suffix, with_body)

    def _hosts(self) -> tuple[str, ...]:
        port = self.connection.getsockname()[1]
        plain = (ADDRESS, "localhost") if port == _PLAIN_PORT else ()
        return *plain, f"{ADDRESS}:{port}", f"localhost:{port}"

    def _send(self, status: HTTPStatus, content: bytes, kind: str, with_body: bool) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", TYPES.get(kind, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)
