r"""Text on a picture, at a size in pixels, with OpenCV 4 or 5.

OpenCV 5 has a TrueType font that covers most scripts. OpenCV 4 has only stroke fonts for ASCII.
With these, letters lose their accents, and any other character is written as an escape such as
`\u732b`, so that the label can still be identified.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnxplain.images.opencv import cv2
from onnxplain.tensors import Array
from onnxplain.visible import visible

ELLIPSIS = "…"

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How a piece of text looks: `size` is the em height in pixels, `color` is RGB."""

    size: int
    color: Color
    bold: bool = False


class TrueTypeFont:
    """The Unicode font built into OpenCV 5."""

    def __init__(self) -> None:
        self._face = cv2.FontFace("sans")

    def width(self, text: str, style: Style) -> int:
        """Return the width of a line of text in pixels."""
        # Measured on a very large canvas, because OpenCV wraps text at the edge.
        endless = (1 << 24, 1 << 10)
        pen = self._face, style.size, _weight(style)
        left, _, width, _ = cv2.getTextSize(endless, _in_plane(text), (0, 0), *pen)
        return int(left + width)

    def draw(self, canvas: Array, text: str, x: int, baseline: int, style: Style) -> None:
        """Draw on `canvas` (uint8, H×W×3, RGB) in place, the first letter starting at `x`."""
        at, weight = (x, baseline), _weight(style)
        cv2.putText(canvas, _in_plane(text), at, style.color, self._face, style.size, weight)


class StrokeFont:
    """The Hershey font of OpenCV 4: ASCII only."""

    # At scale 1 a capital is 21 px high, and in most fonts a capital is 0.7 of the em.
    _EM = 30.0

    def width(self, text: str, style: Style) -> int:
        """Return the width of a line of text in pixels."""
        (width, _), _ = cv2.getTextSize(to_ascii(text), *self._pen(style))
        return int(width)

    def draw(self, canvas: Array, text: str, x: int, baseline: int, style: Style) -> None:
        """Draw on `canvas` (uint8, H×W×3, RGB) in place, the first letter starting at `x`."""
        face, scale, thickness = self._pen(style)
        cv2.putText(
            canvas, to_ascii(text), (x, baseline), face, scale, style.color, thickness, cv2.LINE_AA
        )

    def _pen(self, style: Style) -> tuple[Any, float, int]:
        face = cv2.FONT_HERSHEY_DUPLEX if style.bold else cv2.FONT_HERSHEY_SIMPLEX
        return face, style.size / self._EM, max(1, round(style.size / 18))


Font = TrueTypeFont | StrokeFont


def default_font() -> Font:
    """Return the best font that the installed OpenCV has."""
    return TrueTypeFont() if hasattr(cv2, "FontFace") else StrokeFont()


_ASCII_LOOKALIKES = str.maketrans(
    {"·": "-", "–": "-", "—": "-", "−": "-", "×": "x", "’": "'"}
    | {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l"}
    | {"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L"}
)


def to_ascii(text: str) -> str:
    """Convert text to ASCII: accents are dropped, signs replaced, other characters escaped."""
    decomposed = unicodedata.normalize("NFKD", visible(text).translate(_ASCII_LOOKALIKES))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return letters.encode("ascii", "backslashreplace").decode("ascii")


def _weight(style: Style) -> int:
    return 600 if style.bold else 400


def _in_plane(text: str) -> str:
    # The built-in font has only the basic plane of Unicode. Other characters, such as emoji, would
    # be drawn as "?".
    return "".join(c if ord(c) <= 0xFFFF else f"\\U{ord(c):08x}" for c in visible(text))


def one_line(text: str) -> str:
    """Replace each run of white space by one space, and show control characters as escapes."""
    shown = visible(" ".join(text.split()))
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def wrap(text: str, fits: Callable[[str], bool], max_lines: int) -> list[str]:
    """Break one line of text into lines that fit, at spaces where possible.

    What does not fit on `max_lines` is replaced by "…". At least one character goes on every line,
    even if it does not fit.
    """
    rest = text
    lines: list[str] = []
    while rest and len(lines) < max_lines:
        length = _longest_prefix(rest, fits)
        lines.append(rest[:length].rstrip())
        rest = rest[length:].lstrip()
    if rest:
        last = lines[-1]
        while last and not fits(last + ELLIPSIS):
            last = last[:-1]
        lines[-1] = last.rstrip() + ELLIPSIS
    return lines


def wrapped(text: str, font: Font, style: Style, width: int, max_lines: int) -> list[str]:
    """Break text into lines of at most `width` pixels; see `wrap`."""
    return wrap(one_line(text), lambda line: font.width(line, style) <= width, max_lines)


def _longest_prefix(text: str, fits: Callable[[str], bool]) -> int:
    if fits(text):
        return len(text)
    lengths = range(1, len(text))
    longest = max(1, bisect_left(lengths, True, key=lambda length: not fits(text[:length])))
    at_space = text.rfind(" ", 0, longest + 1)
    return at_space if at_space > 0 else longest
