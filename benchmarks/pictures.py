"""The two pictures of the README, from a folder of results: a board in a terminal, and the first screen of its page.

``python -m benchmarks.pictures demo/runs`` after ``make demo``; Chromium and its driver have to be there.
"""

from __future__ import annotations

import argparse
import html
import os
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS, LINES = 100, 24
"""Of the board: its summary, without the matrices below it."""
TERMINAL = (
    '<meta charset="utf-8"><body style="margin:0;background:#15171c"><pre style="margin:16px;color:#d8dbe2;'
    'font:14px/1.35 DejaVu Sans Mono,monospace">$ janus-bench leaderboard\n{}</pre>'
)


def told(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", *arguments]
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> int:
    from selenium import webdriver

    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("runs", type=Path)
    runs = str(parser.parse_args().runs)
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options=options) as browser:
        terminal, page = Path(folder) / "board.html", Path(folder) / "report.html"
        lines = told("leaderboard", "--runs", runs).splitlines()[:LINES]
        terminal.write_text(TERMINAL.format(html.escape("\n".join(lines))), encoding="utf-8")
        told("report", "--runs", runs, "-o", str(page))
        for shown, picture, height in ((terminal, "board.png", 560), (page, "report.png", 1000)):
            size = {"width": 900 if shown is terminal else 1280, "height": height, "deviceScaleFactor": 1}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "mobile": False})
            browser.get(shown.as_uri())
            browser.save_screenshot(str(IMAGES / picture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
