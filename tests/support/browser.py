"""A real browser for tests: Debian's Chromium without a window, and pages in it that do what they are told.

Owns the browser's process and its profile, and the sites the pages come from: each is a port of 127.0.0.1, so an origin
of its own. What a page can do stands in `page.html`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = "needs chromium"
SECONDS = 30.0
PAGE = Path(__file__).with_name("page.html").read_bytes()
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
REBOUND = "rebound.example"
"""A name of somebody else's that leads to this machine, as an attacker's DNS would have it."""


class Site:
    """One origin, and the page of it that is open. Closed by `close`, after the browser."""

    def __init__(self) -> None:
        self._orders: Queue[dict[str, Any] | None] = Queue()
        self._told: Queue[dict[str, Any]] = Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def loaded(self) -> dict[str, Any]:
        """Wait until the page is there: its origin as the browser has it, and whether that is a secure context."""
        return self._told.get(timeout=SECONDS)

    def do(self, verb: str, **order: Any) -> dict[str, Any]:
        """Have the page do something; what came of it."""
        self._orders.put({"verb": verb, **order})
        return self._told.get(timeout=SECONDS)

    def reload(self) -> dict[str, Any]:
        """Load the page anew, in the same browser."""
        return self.do("reload")

    def close(self) -> None:
        self._orders.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        orders, told = self._orders, self._told

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("text/html", PAGE)

            def do_POST(self) -> None:
                """The page is done with one thing and asks for the next."""
                told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                order = orders.get()
                if order is not None:
                    self._answer("application/json", json.dumps(order).encode())

            def _answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Access-Control-Allow-Origin", "*")  # a sandboxed frame is of no origin, not of ours
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: pytest shows what matters."""

        return Handler


@contextmanager
def browsing(profile: Path, url: str) -> Iterator[None]:
    """A browser that shows `url`, for as long as the block lasts."""
    assert CHROMIUM is not None
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1", url]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            yield
        finally:
            browser.terminate()
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
