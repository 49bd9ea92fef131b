"""Take the pictures in docs/images: the report of a sample checkpoint at a prompt and as a page, as they are.

Run by `make screenshots`. The pages are shown by Debian's chromium, driven by its chromium-driver.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

import embcompress
from embcompress.report.terminal import render_terminal
from tests.report.browser import open_browser

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SAMPLE = ROOT / "sample_checkpoints" / "words"
COMMAND = "embcompress approximate model.pt --ratio 16 --labels vocabulary.txt --report report.html"
COLUMNS = 96
PICTURES = {
    "page.png": {"width": 1240, "is_dark": False, "scale": 1.0},
    "page-dark.png": {"width": 1240, "is_dark": True, "scale": 1.0},
    "page-phone.png": {"width": 360, "is_dark": False, "scale": 2.0},
}  # file -> how the page is opened
HEIGHTS = {"page.png": 1230, "page-dark.png": 1230, "page-phone.png": 780}  # pixels of the page that are shown
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # rich names a font that a reader would have to fetch


def main() -> None:
    """Compress the sample, and show its report in every way that the README has a picture of."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("model.pt", "vocabulary.txt"):
            shutil.copy(SAMPLE / file, folder)
        os.chdir(folder)
        result = embcompress.approximate("model.pt", ratio=16, labels="vocabulary.txt", report="report.html")
        console = Console(record=True, width=COLUMNS, highlight=False, file=io.StringIO(), force_terminal=True)
        console.print(f"$ {COMMAND}", style="dim", markup=False)
        console.print(render_terminal(result))
        picture = WEB_FONT.sub("", console.export_svg(title="embcompress", unique_id="terminal"))
        (IMAGES / "terminal.svg").write_text(picture, encoding="utf-8")
        (folder / "browser").mkdir()
        with open_browser(folder / "browser") as browser:
            for file, how in PICTURES.items():
                browser.open(
                    folder / "report.html", width=int(how["width"]), is_dark=bool(how["is_dark"]), scale=how["scale"]
                )
                (IMAGES / file).write_bytes(browser.picture(height=HEIGHTS[file]))
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
