"""A headless Chromium, driven over its own DevTools protocol: the few commands that the tests of the dashboard need.

python -m tests.browser ADDRESS PICTURE.png [WIDTH HEIGHT [dark]]      a picture of a running dashboard, after ten seconds
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

AXE = "axe_playwright_python-*.whl"  # brings axe-core (MPL-2.0), which looks for what keeps people from using a page
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root in a container, where Chromium's sandbox cannot
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)
KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def find_axe() -> str | None:
    """axe-core's script, where `make test` has fetched it."""
    for wheel in sorted((Path(sys.prefix) / "bindings").glob(AXE)):
        with zipfile.ZipFile(wheel) as content:
            return content.read("axe_playwright_python/axe.min.js").decode()
    return None


class NavigationError(AssertionError):
    """The page navigated away during a call."""


class Browser:
    """One tab. `open`, `run` (JavaScript -> its value), `until`, `click`, `screenshot`; `messages` has the console and errors."""

    def __init__(self, program: str, width: int = 1280, height: int = 900) -> None:
        from websockets.sync.client import connect

        self._profile = tempfile.TemporaryDirectory(prefix="plif-browser-", ignore_cleanup_errors=True)
        command = [
            program,
            *FLAGS,
            f"--user-data-dir={self._profile.name}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            tab = next(target for target in json.load(answer) if target["type"] == "page")
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(tab["webSocketDebuggerUrl"], max_size=1 << 26))
        self._number = 0
        self.messages: list[str] = []
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def _port(self) -> int:
        place = Path(self._profile.name) / "DevToolsActivePort"
        end_s = time.monotonic() + 30
        while time.monotonic() < end_s:
            if place.exists() and (lines := place.read_text().split()):
                return int(lines[0])
            time.sleep(0.05)
        raise TimeoutError("Chromium did not start within 30 s")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == self._number:
                if "navigated" in str(message.get("error")):
                    raise NavigationError(message)
                assert "error" not in message, message
                return message["result"]
            self._keep_event(message)

    def _keep_event(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.messages.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])

    def resize(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def set_dark(self, on: bool, paper: bool = False) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self._call("Emulation.setEmulatedMedia", media="print" if paper else "", features=[feature])

    def run_scripts(self, on: bool) -> None:
        """Whether pages that are opened from now on run their scripts."""
        self._call("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str, seconds: float = 15) -> Any:
        """Runs the script until its value is true, and returns that value."""
        end_s = time.monotonic() + seconds
        while True:
            try:
                value = self.run(script)
            except NavigationError:
                value = None
            if value or time.monotonic() > end_s:
                assert value, f"not within {seconds} s: {script}; the page said {self.messages}"
                return value
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def click(self, selector: str) -> None:
        """A real click: mouse down and up in the middle of the element, when it has come to rest there."""
        box = before = None
        while box is None or box != before:
            before = box
            time.sleep(0.1)
            box = self.run(
                f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView(); "
                "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
            )
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, box[0], box[1])

    def mouse(self, kind: str, x: float, y: float) -> None:
        """kind: mousePressed, mouseMoved or mouseReleased, with the left button, at a place of the window."""
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str) -> None:
        """A key, as a person presses it: one of KEYS, or a character."""
        code, text = (KEYS[key], "\r" if key == "Enter" else "") if key in KEYS else (ord(key.upper()), key)
        known = {"key": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self._call("Input.dispatchKeyEvent", type="keyUp", **known)

    def tab_order(self, stops: int) -> list[str]:
        """What the Tab key comes to from the top of the page on: ids, else tag names."""
        self.run("document.activeElement.blur()")
        found = []
        for _ in range(stops):
            self.press("Tab")
            found.append(self.run("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        return found

    def barriers(self, axe: str) -> list[str]:
        """What axe-core calls serious or critical on this page, a line a rule."""
        self.run(axe + ";0")
        return self.run(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations"
            ".filter((rule) => ['serious', 'critical'].includes(rule.impact))"
            ".map((rule) => [rule.id, ...rule.nodes.slice(0, 3).map((node) => node.target.join(' '))].join(' ')))"
        )

    def give(self, selector: str, path: Path) -> None:
        """A file to an input that asks for one."""
        found = self._call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        self._call("DOM.setFileInputFiles", files=[str(path)], objectId=found["objectId"])

    def screenshot(self, path: Path, full: bool = True) -> Path:
        """A picture of the page."""
        if full:
            height = self.run("document.documentElement.scrollHeight")
            width = self.run("innerWidth")
            self.resize(width, int(height))
            time.sleep(0.3)
        shot = self._call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def close(self) -> None:
        try:
            self._stack.close()
        finally:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._profile.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    asked = dict(enumerate(sys.argv[1:]))
    with Browser(find_chromium() or "chromium") as browser:
        browser.set_dark(4 in asked)
        browser.resize(int(asked.get(2, 1280)), int(asked.get(3, 1120)))
        browser.open(asked[0])
        time.sleep(10)
        print(browser.screenshot(Path(asked[1]), full=False))
