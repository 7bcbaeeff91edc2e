"""A page in headless Chromium, driven by the DevTools protocol over a pair of pipes.

No driver and no websocket: with --remote-debugging-pipe the browser reads JSON from its file
descriptor 3 and writes to 4, each message ended by a zero byte.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.waiting import readable

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)


class Page:
    """One page; `events` keeps every notice of the console, of errors and of requests."""

    def __init__(self, reads: int, writes: int):
        self.reads, self.writes = reads, writes
        self.buffer = b""
        self.number = 0
        self.session: str | None = None
        self.events: list[dict] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params) -> dict:
        """Send one command and wait for its answer."""
        self.number += 1
        content = {"id": self.number, "method": method, "params": params}
        if self.session:
            content["sessionId"] = self.session
        os.write(self.writes, json.dumps(content).encode() + b"\0")
        return self._until(lambda m: m.get("id") == self.number)["result"]

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Load a file at a window size, and wait for it."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.ask("Page.navigate", url=path.as_uri())
        self._until(lambda m: m.get("method") == "Page.loadEventFired")

    def run(self, script: str):
        """The value of a JavaScript expression."""
        actual = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in actual, actual
        return actual["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as a person at a keyboard presses it."""
        code = {"Enter": 13, "Tab": 9}[key]
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **facts)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        actual = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(actual["data"])

    def paper(self) -> bytes:
        """The page as it prints, as PDF."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])

    def _until(self, expected, seconds: float = 60) -> dict:
        end = time.monotonic() + seconds
        while True:
            head, zero, rest = self.buffer.partition(b"\0")
            if zero:
                self.buffer = rest
                content = json.loads(head)
                if "method" in content:
                    self.events.append(content)
                assert "error" not in content, content
                if expected(content):
                    return content
                continue
            ready = readable(self.reads, max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self.reads, 1 << 20)
            assert more, "the browser has gone"
            self.buffer += more


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own below a folder."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # The browser wants its ends as 3 and 4: they are moved there before it starts, from above
    # (a free number: one that is taken may be a file of somebody else in this process).
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 60) for fd in (theirs_in, theirs_out)]
    move = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)]; "
    move += "os.execv(sys.argv[3], sys.argv[3:])"
    command = [sys.executable, "-c", move, *map(str, high), CHROMIUM, *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=high,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    for fd in (theirs_in, theirs_out, *high):
        os.close(fd)
    try:
        yield Page(ours_in, ours_out)
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours_in)
        os.close(ours_out)
