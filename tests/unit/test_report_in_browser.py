"""The report in a real browser, 390 pixels wide: nothing wider than the page, no complaint of the browser, no request.

A chromium on the PATH is taken, or the one that ``MEMBERLEVEL_CHROMIUM`` names; without one these tests are skipped.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from memberlevel_spark.report.render import render_report
from tests.unit.report_sample import sample_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
CHROMIUM = os.environ.get("MEMBERLEVEL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
# The report forbids scripts, so a page around it measures it in a frame as wide as a phone.
AROUND = """<!DOCTYPE html><meta charset="utf-8">
<iframe width="390" height="844" style="border: 0" srcdoc="{}"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const inside = frame.contentDocument, all = [...inside.querySelectorAll("svg, img")];
  console.log("MEASURED" + JSON.stringify({{
    tooWide: inside.documentElement.scrollWidth - inside.documentElement.clientWidth,
    requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    unnamed: all.filter(image => !image.getAttribute("aria-label") && !image.alt).length,
    images: all.length,
  }}));
}};
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH nor named by MEMBERLEVEL_CHROMIUM")


def seen(page: str, folder: Path) -> dict[str, Any]:
    """What the browser measures of a page, and what it writes to its console until then."""
    file = folder / "around.html"
    file.write_text(AROUND.format(html.escape(page)), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        # Not every build ends by itself.
        deadline = Timer(60, browser.kill)
        deadline.start()
        lines: list[str] = []
        for line in browser.stderr or ():
            lines.append(line)
            if measured := re.search(r"MEASURED({.+})", line):
                break
        deadline.cancel()
        browser.kill()
    assert measured, "".join(lines)
    return {**json.loads(measured[1]), "console": [line for line in lines[:-1] if "CONSOLE" in line]}


def test_the_report_fits_a_phone_names_its_images_and_neither_complains_nor_asks(tmp_path: Path) -> None:
    found = seen(render_report(sample_report()), tmp_path)
    assert found == {"tooWide": 0, "requests": 0, "unnamed": 0, "images": 18, "console": []}


def test_the_browser_would_see_a_wide_box_an_unnamed_image_and_a_request(tmp_path: Path) -> None:
    bad = '<div style="width: 600px">wide</div><img src="https://example.invalid/a.png"><svg></svg></main>'
    found = seen(render_report(sample_report()).replace("</main>", bad), tmp_path)
    assert found["tooWide"] > 0 and found["unnamed"] == 2
    assert len(found["console"]) == 1 and "https://example.invalid/a.png" in found["console"][0]
