"""Text from files, with the characters made visible that a reader would obey or not see."""

from __future__ import annotations

import re

_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    "\u2028\u2029"  # ends of lines and paragraphs
    "\ud800-\udfff]"  # lone surrogates, which no encoding takes
)
"""Characters that change how a terminal, an editor or a browser shows the text around them."""


def visible(text: str, kept: str = "") -> str:
    r"""A text in which each active character is an escape, as Python writes it, such as `\x1b`.

    Names, labels and messages of files may hold characters that move the cursor of a terminal, set
    its title or colors, or reverse the text that follows. Those in `kept` stay.
    """

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in kept else character.encode("unicode_escape").decode()

    return _ACTIVE.sub(escaped, text)
