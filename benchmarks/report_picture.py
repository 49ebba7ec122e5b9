"""The picture of the README: parts of the report of its first build, in headless Chromium.

python benchmarks/report_picture.py docs/pictures/report.png
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import edgekit

WIDTH = 1100
MARGIN = 24
PARTS = (("h1", "#figures .tiles"), ("#steps h2", "#front .detail:visible"))
"""From the top of the one to the end of the other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    picture: Path = parser.parse_args().picture
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "out"
        edgekit.build(task="stop, yield, no entry", target="rpi4", budget=edgekit.Budget(latency_ms=1.0), output=folder)
        parts = [Image.open(io.BytesIO(part)).convert("RGB") for part in _shots(folder / "report.html")]
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
    for number, part in enumerate(parts):
        whole.paste(part, (0, sum(above.height for above in parts[:number])))
    picture.parent.mkdir(parents=True, exist_ok=True)
    # Few colours, so a palette loses nothing that is seen.
    whole.quantize(128).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


def _shots(page_file: Path) -> list[bytes]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        shots = []
        for first, last in PARTS:
            above, below = page.locator(first).bounding_box(), page.locator(last).bounding_box()
            assert above
            assert below
            top, bottom = max(0, above["y"] - MARGIN), below["y"] + below["height"] + MARGIN
            clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}
            shots.append(page.screenshot(full_page=True, clip=clip))
        browser.close()
    return shots


if __name__ == "__main__":
    main()
