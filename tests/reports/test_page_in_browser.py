"""The page of a report, opened from the disk in headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from onnxplain.cli.app import execute

CHROMIUM = shutil.which("chromium")
MODELS = Path(__file__).parents[2] / "models"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def chromium(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page, with its messages on standard error."""
    fixed = "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [str(CHROMIUM), *fixed, profile, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def pages(folders: Path, maps: Callable[..., Path]) -> list[Path]:
    out = folders / "pages"
    boxes = str(folders / "marked" / "boxes.json")
    models = [str(MODELS / f"{name}.onnx") for name in ("clean_digits", "marked_digits")]
    job = str(maps("marked_digits", "marked"))
    given = "--annotations", boxes, "--concepts", models[1], "--concept-count", "3"
    assert execute(["report", job, *given, "-o", str(out)]) == 0
    assert execute(["diff", *models, str(folders / "marked" / "three"), "-o", str(out)]) == 0
    return [out / "report.html", out / "diff.html"]


def test_pages_open_without_messages_and_show_every_picture(pages: list[Path]) -> None:
    for page in pages:
        # A script of the test, which the policy of the page itself would refuse.
        text = page.read_text(encoding="utf-8")
        policy = re.search(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", text)
        assert policy is not None
        checked = page.with_name(f"checked_{page.name}")
        counting = (
            "<script>addEventListener('load', () => { const all = [...document.images];"
            "document.title = all.length + ' pictures, ' + all.filter(one => !one.naturalWidth)"
            ".length + ' broken, ' + performance.getEntriesByType('resource').filter(one =>"
            " !one.name.startsWith('data:')).length + ' loaded, wide ' +"
            " (document.documentElement.scrollWidth > innerWidth); });</script></body>"
        )
        checked.write_text(
            text.replace(policy[0], "").replace("</body>", counting), encoding="utf-8"
        )
        dumped = chromium(checked, "--dump-dom", "--window-size=1200,900")
        found = re.search(r"<title>(\d+) pictures, (.*?)</title>", dumped.stdout)
        assert found is not None, dumped.stdout[:500]
        assert int(found[1]) > 30
        assert found[2] == "0 broken, 0 loaded, wide false"
        shown = chromium(page, "--dump-dom")
        assert "CONSOLE" not in shown.stderr


def test_a_picture_of_the_page(pages: list[Path], tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    chromium(pages[0], f"--screenshot={shot}", "--window-size=1000,1400")
    drawn = cv2.imread(str(shot))
    assert drawn is not None
    # The red edge of the finding, and the colors of its maps.
    red = (drawn[..., 2] > 150) & (drawn[..., 1] < 60) & (drawn[..., 0] < 60)
    assert red[:, :60].any()
    assert (drawn.std((0, 1)) > 10).all()
