"""Texts with background colors: HTML that can be parsed, escaped, with every character once."""

import re
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from onnxplain.results.data import ModelFacts, Provenance
from onnxplain.results.formats.text_files import TEXT_FORMATS
from onnxplain.results.render.words import as_page, pieces, strongest
from onnxplain.results.text_explanation import TextExplanation
from onnxplain.targets.described import ExplainedTarget
from onnxplain.texts.tokens import Token, TokenizedText

TEXT = 'a <b> & "c" é'
TOKENS = (
    Token("<s>", 0),
    Token("a", 1, 0, 1, 0, 0),
    Token("<b", 2, 2, 4, 0, 1),
    Token(">", 3, 4, 5, 0, 1),
    Token("&", 4, 6, 7, 0, 2),
    Token('"c"', 5, 8, 11, 0, 3),
    Token("Ã", 6, 12, 13, 0, 4),  # the two bytes of é
    Token("©", 7, 12, 13, 0, 4),
    Token("</s>", 8),
)
VALUES = np.array([0, 0.5, -1, 0.25, 0, 2, 0.5, 0.25, 0], np.float32)


def explained(values=VALUES, tokens=TOKENS, texts=(TEXT,), label="<ok>", adds_up=True):
    facts = ModelFacts(None, "0" * 64, 17, "input_ids", ("logits",))
    return TextExplanation(
        text=TokenizedText(texts, tokens, (0,) * len(tokens)),
        values=values,
        adds_up=adds_up,
        method="occlusion",
        target=ExplainedTarget.of_class(1, label),
        score=2.5,
        score_kind="logit",
        score_tensor="logits",
        embedding="e",
        absent={"fill": {"token": "<pad>", "id": 9}},
        parameters={},
        provenance=Provenance(facts, {}, "CPUExecutionProvider", {}),
    )


class Page(HTMLParser):
    """The text of each element by class or tag, and the background colors of spans."""

    def __init__(self):
        super().__init__()
        self.path, self.found, self.colors = [], {}, []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag != "meta":
            self.path.append(given.get("class", tag))
        if "title" in given:
            self.colors.append((given["title"], given["style"].removeprefix("background:")))

    def handle_endtag(self, tag):
        self.path.pop()

    def handle_data(self, data):
        for name in self.path:
            self.found[name] = self.found.get(name, "") + data


def page(explanation):
    read = Page()
    read.feed(as_page(explanation).decode())
    read.close()
    assert not read.path, "every element ends"
    return read


def test_the_page_shows_the_whole_text_and_the_target():
    read = page(explained())
    assert read.found["text"] == f"<s>{TEXT}</s>"
    assert read.found["special"] == "<s></s>"
    assert "<ok> logit 2.5" in read.found["title"]
    assert "occlusion · fill <pad>" in read.found["facts"]
    assert "http" not in as_page(explained()).decode()


def test_colors_are_white_at_zero_and_full_at_the_largest_value():
    colors = dict(page(explained()).colors)
    assert colors["<s>: +0"] == colors["&: +0"] == "#ffffff"
    assert colors['"c": +2'] == "#e66e00"
    assert colors["<b: -1"] == "#aacbf6"  # half way from white to (85, 151, 237)
    assert colors["Ã ©: +0.75"] == "#f6c99f"


def test_tokens_that_share_a_letter_are_one_piece():
    (line,) = pieces(explained())
    assert [piece.text for piece in line if len(piece.tokens) == 2] == ["é"]
    assert "".join(piece.text for piece in line if not piece.special) == TEXT


def test_pieces_and_words_are_means_where_values_do_not_add_up():
    found = explained(adds_up=False)
    (line,) = pieces(found)
    (accented,) = (piece for piece in line if piece.text == "é")
    assert accented.value == np.mean(VALUES[6:8])
    assert [word.value for word in found.words if len(word.tokens) > 1] == [
        np.mean(VALUES[word.tokens]) for word in found.words if len(word.tokens) > 1
    ]


def test_words_are_sorted_by_size():
    assert [word.text for word in strongest(explained())][:3] == ['"c"', "<b>", "é"]
    assert [word.value for word in strongest(explained())][:3] == [2, -0.75, 0.75]


def test_a_pair_is_two_lines():
    tokens = (Token("[CLS]", 0), Token("a", 1, 0, 1, 0, 0), Token("[SEP]", 2),
              Token("b", 3, 0, 1, 1, 0), Token("[SEP]", 2))  # fmt: skip
    both = explained(np.arange(5, dtype=np.float32), tokens, ("a?", "b."))
    lines = ["".join(piece.text for piece in line) for line in pieces(both)]
    assert lines == ["[CLS]a[SEP]?", "b[SEP]."]


@pytest.mark.parametrize("colors", ["truecolor", None])
def test_the_terminal_shows_the_text_with_and_without_colors(colors):
    file = StringIO()
    terminal = colors is not None
    Console(width=60, file=file, force_terminal=terminal, color_system=colors).print(explained())
    shown = file.getvalue()
    assert ('\x1b[30;48;2;230;110;0m"c"' in shown) == terminal
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert lines[0] == f"<s>{TEXT}</s>"
    assert lines[2].split()[:2] == ['"c"', "+2"]


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_every_format_is_saved(tmp_path, name):
    (path,) = explained().save(tmp_path, name)
    assert path.name.endswith(f".occlusion.1_ok.{name}")
    assert path.stat().st_size


def test_control_characters_are_shown_and_lines_stay():
    text = "a\x1b[31m\u202e\n\tb\ud800"
    tokens = (Token("\x1bA", 1, 0, len(text), 0, 0),)
    page = as_page(explained(VALUES[1:2], tokens, (text,), label="\x9bok")).decode()
    assert not {"\x1b", "\u202e", "\x9b"} & set(page)
    assert "a\\x1b[31m\\u202e\n\tb\\ud800</span>" in page
    assert 'title="\\x1bA: ' in page
    assert "\\x9bok" in page
    terminal = Console(file=StringIO(), color_system=None, width=80)
    terminal.print(explained(VALUES[1:2], tokens, (text,)))
    assert not {"\x1b", "\u202e", "\x9b"} & set(terminal.file.getvalue())
