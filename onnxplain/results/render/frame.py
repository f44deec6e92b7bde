"""The white frame around a picture: a caption above it, a color bar and a legend below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxplain.results.render.text import Color, Font, Style, default_font, one_line, wrapped
from onnxplain.tensors import Array

INK: Color = (28, 28, 30)
FAINT_INK: Color = (104, 104, 110)
PAPER = 255

_MIN_TEXT = 15  # px: below this, letters blur
_MAX_TITLE_LINES = 2
_MAX_DETAIL_LINES = 2


@dataclass(frozen=True)
class Caption:
    """What is written above a picture.

    Attributes:
        title: the name of what is explained, in bold.
        score: next to the title if there is room, else below it; may be empty.
        details: method, layer and the like, in small letters.
    """

    title: str
    score: str
    details: str


@dataclass(frozen=True)
class Page:
    """The sizes from which a frame is built, all in pixels.

    Attributes:
        width: of the space between the margins.
        text: em height of the main text; everything else is in proportion.
    """

    width: int
    text: int
    font: Font = field(default_factory=default_font)

    @property
    def margin(self) -> int:
        """Return the white space at every edge."""
        return max(8, round(0.8 * self.text))

    @property
    def title(self) -> Style:
        """Return the style of the title."""
        return Style(self.text, INK, bold=True)

    @property
    def score(self) -> Style:
        """Return the style of the score."""
        return Style(self.text, INK)

    @property
    def small(self) -> Style:
        """Return the style of details and legend, in small letters."""
        return Style(max(_MIN_TEXT - 2, round(0.8 * self.text)), FAINT_INK)


def page_for(image: Array) -> Page:
    """Choose the sizes for an image: text in proportion to it, and room for a short caption."""
    height, width = image.shape[:2]
    text = max(_MIN_TEXT, round(0.022 * min(width, 2 * height)))
    return Page(width=max(width, 20 * text), text=text)


def frame(image: Array, caption: Caption, below: Sequence[Array], page: Page) -> Array:
    """Put an image on a white page, its caption above it and the given strips below.

    The image is copied as it is, centered if the page is wider. Strips must be `page.width` wide.
    """
    gap = page.margin // 2
    parts = [_header(caption, page), image, *below]
    height = sum(part.shape[0] + gap for part in parts) + 3 * gap
    framed = np.full((height, page.width + 2 * page.margin, 3), PAPER, np.uint8)
    top = 2 * gap
    for part in parts:
        rows, columns = part.shape[:2]
        left = page.margin + (page.width - columns) // 2
        framed[top : top + rows, left : left + columns] = part
        top += rows + gap
    return framed


def _header(caption: Caption, page: Page) -> Array:
    title, score, details = map(one_line, (caption.title, caption.score, caption.details))
    score_width = page.font.width(score, page.score)
    if page.font.width(title, page.title) + 2 * page.text + score_width <= page.width:
        top = text_strip([title], page.title, page)
        x = page.width - score_width
        page.font.draw(top, score, x, baseline_in(page.title), page.score)
        strips = [top]
    else:
        strips = [
            _wrapped_strip(title, page.title, page, _MAX_TITLE_LINES),
            _wrapped_strip(score, page.score, page, 1),
        ]
    strips.append(_wrapped_strip(details, page.small, page, _MAX_DETAIL_LINES))
    return np.concatenate(strips)


def _wrapped_strip(text: str, style: Style, page: Page, max_lines: int) -> Array:
    return text_strip(wrapped(text, page.font, style, page.width, max_lines), style, page)


def text_strip(lines: Sequence[str], style: Style, page: Page) -> Array:
    """Return a white strip of `page.width` with these lines on it, aligned left."""
    strip = _blank(len(lines) * _line_height(style), page)
    for row, line in enumerate(lines):
        page.font.draw(strip, line, 0, row * _line_height(style) + baseline_in(style), style)
    return strip


def legend_strips(entries: Sequence[tuple[Array, str]], page: Page) -> list[Array]:
    """Return one strip for each pair of a swatch (a small sample of a drawing) and its meaning."""
    strips = []
    for swatch, meaning in entries:
        height, width = swatch.shape[:2]
        strip = _blank(max(height, _line_height(page.small)), page)
        top = (strip.shape[0] - height) // 2
        strip[top : top + height, :width] = swatch
        baseline = round(strip.shape[0] / 2 + 0.35 * page.small.size)
        page.font.draw(strip, meaning, width + page.text // 2, baseline, page.small)
        strips.append(strip)
    return strips


def _line_height(style: Style) -> int:
    return round(1.4 * style.size)


def baseline_in(style: Style) -> int:
    """Return how far the baseline is below the top of a line."""
    return round(1.05 * style.size)


def _blank(height: int, page: Page) -> Array:
    return np.full((height, page.width, 3), PAPER, np.uint8)
