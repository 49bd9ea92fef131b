"""A headless Chromium by the WebDriver protocol: opens pages, and tells what went wrong with them."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
CHROMEDRIVER = Path("/usr/bin/chromedriver")
START_SECONDS = 60.0
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A page as a browser showed it.

    Attributes:
        problems: messages of the console.
        requests: addresses that were asked for, the page's own left out.
    """

    problems: tuple[str, ...]
    requests: tuple[str, ...]


class Browser:
    """A session of one browser; every page is opened in the same tab."""

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, page: Path, *, width: int, is_dark: bool, height: int = 800, scale: float = 1.0) -> None:
        """Open a page at a width in pixels, in light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._execute("Emulation.setDeviceMetricsOverride", metrics)
        self._execute("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._ask("url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """Run a script in the page, and give what it returns."""
        return self._ask("execute/sync", {"script": script, "args": []})

    def look(self, page: Path) -> Seen:
        """Return what has been said and asked for since the last look."""
        problems = tuple(entry["message"] for entry in self._ask("se/log", {"type": "browser"}))
        asked = []
        for entry in self._ask("se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            is_request = message["method"] == "Network.requestWillBeSent"
            # The browser opens with a page of its own, which goes on loading for a moment.
            if is_request and not message["params"]["documentURL"].startswith("chrome:"):
                asked.append(message["params"]["request"]["url"])
        own = {page.as_uri(), "about:blank", "data:,"}
        return Seen(problems, tuple(address for address in asked if address not in own))

    def picture(self, *, height: int | None = None) -> bytes:
        """Take the page as a PNG, whole or down to a height in pixels."""
        size = self._execute("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        asked = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self._execute("Page.captureScreenshot", asked)["data"])

    def _execute(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _ask(self, what: str, parameters: dict[str, Any]) -> Any:
        return _post(f"{self._address}/{what}", parameters)


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose settings lie in an empty folder, and end it.

    Raises:
        TimeoutError: the driver did not answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "driver.log").open("wb") as log:
        driver = subprocess.Popen(
            [CHROMEDRIVER, f"--port={port}"], stdout=log, stderr=log, start_new_session=True
        )  # a group of its own: it and the browser end together
    root = f"http://127.0.0.1:{port}"
    try:
        _wait(root)
        options = {"binary": str(CHROMIUM), "args": [*ARGUMENTS, f"--user-data-dir={folder / 'settings'}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = _post(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        address = f"{root}/session/{session}"
        yield Browser(address)
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=START_SECONDS).close()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def _wait(root: str) -> None:
    started = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(f"{root}/status", timeout=START_SECONDS):
                return
        except OSError as err:
            if time.monotonic() - started > START_SECONDS:
                raise TimeoutError(f"{CHROMEDRIVER} does not answer.") from err
            time.sleep(0.05)


def _post(address: str, parameters: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(parameters).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
        return json.load(answer)["value"]
