import cv2
import numpy as np
import pytest

from onnxplain.results.render.text import (
    StrokeFont,
    Style,
    TrueTypeFont,
    default_font,
    one_line,
    to_ascii,
    wrap,
)

needs_truetype = pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="needs OpenCV 5")
FONTS = [pytest.param(TrueTypeFont, marks=needs_truetype), StrokeFont]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiger cat", "tiger cat"),
        ("Café Ångström", "Cafe Angstrom"),
        ("Größe", "Grosse"),
        ("a · b − 2×3 …", "a - b - 2x3 ..."),
        ("虎", "\\u864e"),
        ("🐈", "\\U0001f408"),
    ],
)
def test_to_ascii_never_loses_a_letter_silently(text, expected):
    assert to_ascii(text) == expected


def fits(line):
    return len(line) <= 10


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("short", ["short"]),
        ("exactly 10", ["exactly 10"]),
        ("two words more", ["two words", "more"]),
        ("ends at edge now", ["ends at", "edge now"]),
        ("/a/very/long/path", ["/a/very/lo", "ng/path"]),
        ("one two three four five six", ["one two", "three fou…"]),
    ],
)
def test_wrap(text, lines):
    assert wrap(text, fits, max_lines=2) == lines


def test_wrap_ends_even_if_nothing_fits():
    assert wrap("abc", lambda line: False, max_lines=2) == ["a", "…"]


def test_one_line():
    assert one_line(" a\n\nb\tc\u200dd ") == "a b c d"


def test_control_characters_are_drawn_as_escapes():
    assert one_line("a\x00b\x1b[31m\u202ec") == r"a\x00b\x1b[31m\u202ec"


@pytest.mark.parametrize("font", FONTS)
def test_no_text_reaches_the_font_with_control_characters(font):
    style = Style(20, (0, 0, 0))
    assert font().width("a\x1b", style) == font().width(r"a\x1b", style)


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("size", [11, 15, 40, 120])
@pytest.mark.parametrize("bold", [False, True])
def test_text_is_as_large_as_asked_and_as_wide_as_measured(font, size, bold):
    style, text = Style(size, (0, 0, 0), bold), "HxTiger, 0.83"
    canvas = np.full((3 * size, 12 * size, 3), 255, np.uint8)
    font().draw(canvas, text, size, 2 * size, style)
    rows, columns = np.nonzero((canvas < 128).all(axis=2))
    width = font().width(text, style)
    assert columns.min() >= size - 2
    assert width - 4 - 0.2 * size <= np.ptp(columns) <= width + 2
    assert rows.max() <= 2.4 * size  # descenders
    assert 0.55 * size <= 2 * size - rows.min() <= 0.95 * size + 1  # capitals


@pytest.mark.parametrize("font", FONTS)
def test_text_takes_its_color_in_rgb(font):
    canvas = np.full((60, 200, 3), 255, np.uint8)
    font().draw(canvas, "HHHH", 5, 50, Style(48, (200, 0, 0)))
    assert (canvas == (200, 0, 0)).all(axis=2).any()


@needs_truetype
@pytest.mark.parametrize("text", ["ß", "猫", "кот", "é", "−", "…", "\\", "🐈"])
def test_truetype_draws_no_question_mark(text):
    style = Style(40, (0, 0, 0))

    def drawn(what):
        canvas = np.full((80, 600, 3), 255, np.uint8)
        TrueTypeFont().draw(canvas, what, 5, 60, style)
        return canvas

    question_mark = drawn("?")
    assert (drawn(text) != 255).any()
    assert (drawn(text) != question_mark).any()


def test_the_best_font_is_chosen(monkeypatch):
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    assert isinstance(default_font(), StrokeFont)
    monkeypatch.setattr(cv2, "FontFace", lambda name: name, raising=False)
    assert isinstance(default_font(), TrueTypeFont)
