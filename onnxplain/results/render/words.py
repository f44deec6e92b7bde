"""A text whose words have background colors: as HTML, and on a terminal.

Orange raises the score, blue lowers it; the darkest color is the largest absolute value of a token.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from onnxplain.results.text_data import TextData, Word
from onnxplain.tensors import Array
from onnxplain.visible import visible

_RAISES, _LOWERS = np.array([230, 110, 0]), np.array([85, 151, 237])
_PAPER = np.array([255, 255, 255])
_LISTED = 10
_BAR = 12

_STYLE = """
.onnxplain { font: 16px/1.9 system-ui, sans-serif; color: #1a1a1a; background: #fff; padding: 1em;
  max-width: 48em; }
.onnxplain .title { font-size: 1.2em; font-weight: 600; }
.onnxplain .facts { color: #555; font-size: .85em; }
.onnxplain .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.onnxplain .text span { border-radius: .2em; padding: .12em 0; }
.onnxplain .text .special { color: #666; font-size: .75em; padding: .12em .3em; margin: 0 .3em;
  border: 1px solid #ccc; }
.onnxplain .bar { display: inline-block; width: 12em; height: .8em; margin: 0 .5em;
  border: 1px solid #ccc; vertical-align: middle; }
.onnxplain table { border-collapse: collapse; font-size: .9em; line-height: 1.5; }
.onnxplain td, .onnxplain th { padding: .1em .8em; text-align: left; white-space: pre-wrap; }
.onnxplain td + td, .onnxplain th + th { text-align: right; font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class Piece:
    """A part of the drawn text: its characters, and its tokens, none for what no token covers.

    `value` is that of all its tokens, see `TextData.value_of`. Tokens that share characters, as the
    bytes of one letter do, are one piece.
    """

    text: str
    tokens: Sequence[int]
    value: float
    special: bool = False


def pieces(data: TextData) -> Iterator[Sequence[Piece]]:
    """The pieces of each line: the special tokens at their places, and all characters of the texts.

    A pair of texts is two lines.
    """
    lines: list[list[Piece]] = [[] for _ in data.text.texts]
    line, done = 0, 0
    tokens = data.text.tokens
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.sequence is None:
            value = float(data.values[index])
            lines[line].append(Piece(token.piece, [index], value, special=True))
            index += 1
            continue
        if token.sequence != line:
            lines[line] += _plain(data.text.texts[line][done:])
            line, done = token.sequence, 0
        stop, end = index + 1, token.end
        while stop < len(tokens) and tokens[stop].sequence == line and tokens[stop].start < end:
            end = max(end, tokens[stop].end)
            stop += 1
        text = data.text.texts[line]
        lines[line] += _plain(text[done : token.start])
        covered = range(index, stop)
        lines[line].append(Piece(text[token.start : end], covered, data.value_of(covered)))
        index, done = stop, end
    lines[line] += _plain(data.text.texts[line][done:])
    yield from lines


def as_html(data: TextData) -> str:
    """A part of a page, with its own styles: for notebooks, and for `as_page`."""
    largest = data.largest
    lines = "\n".join(
        f'<p class="text">{"".join(_span(data, piece) for piece in line)}</p>'
        for line in pieces(data)
    )
    low, high = (_css(_color(sign * largest, largest)) for sign in (-1, 1))
    signed = bool((data.values < 0).any())
    start = f"{-largest:.3g} lowers the score" if signed else "0"
    ramp = f"linear-gradient(to right, {low + ', ' if signed else ''}#fff, {high})"
    rows = "\n".join(
        f"<tr><td>{_escaped(word.text)}</td>"
        f'<td style="background:{_css(_color(word.value, largest))}">{word.value:+.4g}</td></tr>'
        for word in strongest(data)
    )
    return f"""<div class="onnxplain"><style>{_STYLE}</style>
<p class="title">{_escaped(data.target.title)} \
<span class="facts">{_escaped(data.scored)}</span></p>
{lines}
<p class="facts">{start} <span class="bar" style="background:{ramp}"></span> {largest:.3g} \
{"raises the score" if signed else "changes the score most"}</p>
<table><tr><th>word</th><th>value</th></tr>
{rows}
</table>
<p class="facts">{_escaped(data.how)}</p></div>"""


def as_page(data: TextData) -> bytes:
    """An HTML file that needs no other file."""
    title = _escaped(f"{data.name} · {data.target.title}")
    return (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n{as_html(data)}\n</body></html>\n"
    ).encode()


def on_terminal(data: TextData) -> RenderableType:
    """The text with background colors, and the words with the largest values."""
    lines = [
        Text.assemble(*((_shown(piece.text), _style(piece.value, data.largest)) for piece in line))
        for line in pieces(data)
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_column()
    words = strongest(data)
    most = max(abs(word.value) for word in words) or 1.0
    for word in words:
        bar = "█" * round(_BAR * abs(word.value) / most)
        color = _RAISES if word.value > 0 else _LOWERS
        style = Style(color=_css(color.astype(float)))
        table.add_row(Text(_shown(word.text)), f"{word.value:+.4g}", Text(bar, style))
    return Group(*lines, Text(), table)


def strongest(data: TextData) -> Sequence[Word]:
    """The words with the largest absolute values, at most ten, largest first."""
    return sorted(data.words, key=lambda word: -abs(word.value))[:_LISTED]


def _shown(text: str) -> str:
    """A part of a text with its control characters visible; it keeps its lines and tabs."""
    return visible(text, kept="\n\t")


def _escaped(text: str) -> str:
    return html.escape(_shown(text))


def _plain(text: str) -> list[Piece]:
    return [Piece(text, (), 0.0)] if text else []


def _span(data: TextData, piece: Piece) -> str:
    if not piece.tokens:
        return _escaped(piece.text)
    names = " ".join(data.text.tokens[i].piece for i in piece.tokens)
    special = ' class="special"' if piece.special else ""
    color = _css(_color(piece.value, data.largest))
    return (
        f'<span{special} style="background:{color}" title="{_escaped(names)}: {piece.value:+.4g}">'
        f"{_escaped(piece.text)}</span>"
    )


def _color(value: float, largest: float) -> Array:
    """White for 0, and the full color for the largest value."""
    share = min(abs(value) / largest, 1.0)
    color: Array = _PAPER + share * ((_RAISES if value > 0 else _LOWERS) - _PAPER)
    return color


def _css(color: Array) -> str:
    return "#" + "".join(f"{round(c):02x}" for c in color)


def _style(value: float, largest: float) -> Style:
    if not value:
        return Style()
    return Style(color="black", bgcolor=_css(_color(value, largest)))
