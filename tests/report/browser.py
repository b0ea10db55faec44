"""Debian's Chromium, driven headless: what the page tests and the screenshots share."""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
ABSENT = CHROMIUM is None or DRIVER is None
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--window-size=1400,900",
)


class Browser(Chrome):
    """Chromium with the few things that the tests ask of it."""

    def show(self, page: Path, width: int = 1400, dark: bool = False) -> None:
        """Opens a file at a width, light or dark; requests and messages before it are forgotten."""
        self.get("about:blank")
        self.get_log("performance")
        self.get_log("browser")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.get(page.resolve().as_uri())

    def picture(self, path: Path, height: int | None = None) -> None:
        """Writes a PNG of the page from its top, whole or of a height."""
        content = self.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": height or content["height"], "scale": 1}
        shot = self.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """Every address that the page asked for since `show`, itself among them."""
        events = [json.loads(entry["message"])["message"] for entry in self.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings on the console since `show`."""
        return list(self.get_log("browser"))


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium with a profile of its own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="zeroshot-browser-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        opened = Browser(options, Service(str(DRIVER)))
        try:
            yield opened
        finally:
            opened.quit()
