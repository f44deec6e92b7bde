"""The text that a recognizer reads in a picture, with its characters numbered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxplain.explainer import Explainer


def find_text(explainer: Explainer, picture: Path) -> dict[str, Any]:
    """The text that a recognizer reads, in JSON types.

    Raises:
        OnnxplainError: the picture cannot be read, the model is no text recognizer, or it is not
            known which class is the blank.
    """
    found = explainer.recognized(picture)
    listed = [
        {
            "target": f"char:{character.position}",
            "character": character.label,
            "class": character.index,
            "steps": character.steps,
            "probability": float(character.score(found.scores[None])[0]),
        }
        for character in found.characters
    ]
    return {
        "picture": str(picture),
        "text": found.text,
        "log_probability": found.log_probability,
        "steps": len(found.path),
        "characters": listed,
    }


def text_lines(found: dict[str, Any]) -> Iterator[str]:
    """Lines for people: the text, and one for each character."""
    yield f"text  {found['text']!r}, log probability {found['log_probability']:.4g}"
    wide = max((len(one["target"]) for one in found["characters"]), default=0)
    for one in found["characters"]:
        steps = one["steps"]
        called = f"class {one['class']}" if one["character"] is None else repr(one["character"])
        place = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]}-{steps[-1]}"
        yield f"{one['target']:{wide}}  {called}  {one['probability']:.3f}  {place}"
