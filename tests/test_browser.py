"""The HTML pages in a real browser: nothing is cut off on a narrow screen, and every picture loads."""

import re
import shutil
import subprocess

import pytest
from helpers import TRAIN

from sparring.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (chromium or google-chrome on the PATH)"),
]

PROBE = """<script>addEventListener("load", () => document.documentElement.setAttribute("data-seen", [
    document.documentElement.scrollWidth, innerWidth, document.images.length,
    [...document.images].filter((image) => !image.naturalWidth).length,
].join()))</script>"""


def layout(page, width, folder):
    """(page width, window width, number of images, number of broken images) of an HTML file in a window."""
    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom"]
    dom = subprocess.run(
        [CHROMIUM, *options, probed.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    return tuple(map(int, re.search(r'data-seen="([\d,]+)"', dom)[1].split(",")))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    main([*TRAIN, "--data", "digits", "--out", str(folder)])
    (run,) = folder.iterdir()
    main(["evaluate", str(run), "-n", "100"])
    main(["report", str(run)])
    return run / "report.html"


@pytest.mark.parametrize("width", [1280, 500])
def test_a_report_fits_its_window_and_shows_every_picture(report, width, tmp_path):
    page, window, images, broken = layout(report, width, tmp_path)
    assert page <= window, f"the page is {page} px wide in a window of {window}"
    assert images >= 3
    assert broken == 0
