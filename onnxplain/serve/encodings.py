"""Explanations in an answer: facts, and the map in the form that the request asks for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from onnxplain.results.explanation import Explanation
from onnxplain.results.formats import FORMATS
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.serve.json_text import heat
from onnxplain.serve.refusals import bad

_LARGEST_LIST = 2**20
"""Numbers that are written as lists: a photograph of 12 megapixels would be an answer of 80 MB."""


def described(explanation: Explanation, encoding: str) -> dict[str, Any]:
    """What an answer says about an explanation; `encoding` is a key of `ENCODINGS`.

    Raises:
        RefusedError: the map is too large for lists.
    """
    target = explanation.target
    boxes = {"box": target.to_dict()["box"]} if len(target.boxes) == 1 else {}
    return {
        "target": target.name,
        "index": target.index,
        "label": target.label,
        **boxes,
        "score": explanation.score,
        "score_kind": explanation.score_kind,
        "layers": explanation.layers,
        "heatmap_range": explanation.heatmap_range,
        "warnings": list(explanation.diagnostics.get("warnings", ())),
        **ENCODINGS[encoding](explanation),
    }


def _lists(explanation: Explanation) -> dict[str, Any]:
    largest = max(explanation.values.size, explanation.heatmap.size)
    if largest > _LARGEST_LIST:
        raise bad(
            f"The map has {largest:,} numbers, too many for lists: ask for it with "
            '"format": "npy" or "png", or send a smaller picture.'
        )
    return {"values": explanation.values, "heatmap": heat(explanation.heatmap)}


def _files(**formats: str) -> Callable[[Explanation], dict[str, Any]]:
    def encoded(explanation: Explanation) -> dict[str, Any]:
        return {
            name: {"b64": _b64(FORMATS[kind].encode(explanation, DEFAULT_COLORMAP, {}))}
            for name, kind in formats.items()
        }

    return encoded


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


ENCODINGS: Mapping[str, Callable[[Explanation], dict[str, Any]]] = {
    "lists": _lists,
    "npy": _files(values="npy", heatmap="heatmap"),
    "png": _files(picture="png"),
}
"""By the value of "format" in a request."""


def encoding(given: Any) -> str:
    """The encoding that a request asks for.

    Raises:
        RefusedError: there is no such encoding.
    """
    if not isinstance(given, str) or given not in ENCODINGS:
        raise bad(f'The "format" is one of {", ".join(ENCODINGS)}.')
    return given
