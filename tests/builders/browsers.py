"""A page in a Chromium without a screen, and what the page would have fetched."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Opened:
    """A page after it was loaded.

    Attributes:
        html: the page as its scripts, if any, have left it.
        fetched: addresses that the browser asked for.
    """

    html: str
    fetched: list[str]


def find_browser() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def open_page(browser: str, page: Path, profile: Path) -> Opened:
    """Opens a file in a new profile. All that the browser fetches goes through a proxy, which refuses it."""
    with _proxy() as (address, fetched):
        command = [
            *(
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={profile}", f"--proxy-server={address}", "--proxy-bypass-list=<-loopback>"),
            *("--virtual-time-budget=3000", "--dump-dom", page.resolve().as_uri()),
        ]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    return Opened(done.stdout, fetched)


@contextmanager
def _proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy on a free port of this machine: its address, and the addresses that it was asked for."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_error(404)

        do_CONNECT = do_POST = do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", fetched
        server.shutdown()
