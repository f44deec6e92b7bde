"""Files beside a model that say how to use it: most of them are damaged or hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.fuzz.blocks import Draw
from tools.fuzz.case import Case
from tools.fuzz.damage import changed_bytes
from tools.fuzz.files import png
from tools.fuzz.models import LINKS, OUTSIDE
from tools.fuzz.pictures import MODELS
from tools.fuzz.words import text_model, tokenizer

_PICTURE = png(np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8))

_SIDECAR = {
    "preprocess": {
        "size": [20, 26],
        "layout": "NCHW",
        "channels": "RGB",
        "fit": "stretch",
        "interpolation": "bilinear",
        "scale": 0.01,
        "mean": [0.1, 0.2, 0.3],
        "std": [1, 2, 1],
        "pad": 0,
        "dtype": "float32",
        "origin": "by hand",
        "multiple": 1,
        "resize": None,
    },
    "labels": ["a", "b", "c", "d", "e"],
    "note": "by hand",
}
_TRANSFORMERS = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 20, "width": 26},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 0.00392,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_center_crop": False,
    "crop_size": {"height": 20, "width": 26},
    "crop_pct": 0.9,
}
_TIMM = {
    "pretrained_cfg": {
        "input_size": [3, 20, 26],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    },
    "label_names": ["a", "b", "c", "d", "e"],
    "label_descriptions": {"a": "an a"},
}
_HUB = {"id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}, "model_type": "vit"}

_VALUES: list[Any] = [
    None, True, 0, -1, 1, 3, 2**31, 10**400, 0.5, 1e999, -1e-300, float("nan"), "", "x", "é", "\0",
    "\x1b[2J", "\ud800", "z" * 2000, [], {}, [[]], [1, "2", None], {"a": 1}, {"0": "n"}, [1] * 300,
    "picture", "20x26", "1,2,3", ["a"] * 5, {"height": 20, "width": 26}, "crop", "NHWC", "BGR",
    "first", "float16", "object", "U7", "datetime64", "antialias-bicubic", *OUTSIDE, "labels.txt",
]  # fmt: skip


def _places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value in a JSON object."""
    inside = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in inside:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += _places(value, (*path, key))
    return found


def _changed(draw: Draw, content: Any) -> Any:
    """A JSON object in which some values are others, or are left out."""
    copy = json.loads(json.dumps(content))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        places = _places(copy)
        if not places:
            return copy
        *path, last = draw(st.sampled_from(places))
        inner = copy
        for key in path:
            inner = inner[key]
        if draw(st.integers(0, 4)):
            inner[last] = deepcopy(draw(st.sampled_from(_VALUES)))
        else:
            del inner[last]
    return copy


def _json(content: Any) -> Callable[[Draw], bytes]:
    """A JSON file like `content`, of which values, or bytes, are changed."""

    def write(draw: Draw) -> bytes:
        changed = json.dumps(_changed(draw, content)).encode()
        return changed_bytes(draw, changed) if draw(st.integers(0, 7)) == 0 else changed

    return write


def _sidecar(draw: Draw) -> bytes:
    """A sidecar, which may also name a layout of boxes or a blank, as those of other models do."""
    added = draw(st.sampled_from([{}, {}, {}, {"boxes": "yolo"}, {"blank": "first"}, {"blank": 1}]))
    return _json({**_SIDECAR, **added})(draw)


_NESTED = b"[" * 50_000 + b"]" * 50_000


_ODD = [
    b"",
    b"null",
    b"3",
    b"{",
    b"[]",
    b'"a"',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b"\xff",
    b'{"labels": "\xff"}',
    _NESTED,
    b'{"preprocess": ' + _NESTED + b"}",
    b'{"note": ' + b"9" * 5000 + b"}",
    b'{"labels": ["a"], "labels": 3}',
    rb'{"labels": ["\ud800", "b", "c", "d", "e"]}',
    b'{"preprocess": {"mean": ' + b"9" * 400 + b"}}",
]
"""Files that are no JSON, or have a strange form."""


def _odd(draw: Draw) -> bytes:
    return bytes(draw(st.sampled_from(_ODD)))


def _names(draw: Draw) -> bytes:
    """A text file of labels."""
    lines = draw(st.lists(st.text(max_size=8), max_size=7))
    return "\n".join(lines).encode("utf-8", "replace")


_FILES: Mapping[str, Callable[[Draw], bytes]] = {
    "m.onnxplain.json": _sidecar,
    "preprocessor_config.json": _json(_TRANSFORMERS),
    "config.json": _json({**_TIMM, **_HUB}),
    "labels.txt": _names,
}


def _usual(draw: Draw) -> Case:
    """A model of pictures with one to three files beside it."""
    names = draw(st.lists(st.sampled_from(list(_FILES)), min_size=1, max_size=3, unique=True))
    files = {
        name: _odd(draw) if draw(st.integers(0, 7)) == 0 else _FILES[name](draw) for name in names
    }
    return _run(draw, files, ", ".join(names))


def _run(draw: Draw, files: Mapping[str, bytes], what: str, **more: Any) -> Case:
    files = {"m.onnx": MODELS["net R"], "p.png": _PICTURE, **files}
    method = draw(st.sampled_from(["gradient", "occlusion"]))
    run = ["run", "../given/m.onnx", "../given/p.png", "-m", method, "--json", "-o", "../out"]
    if "labels.txt" in files and draw(st.booleans()):
        run += ["--labels", "../given/labels.txt"]
    commands = [run, ["inspect", "../given/m.onnx", "--json"]]
    return Case("configuration", what, files, commands[: draw(st.integers(1, 2))], **more)


def _pointing(draw: Draw) -> Case:
    """A sidecar whose labels are in a file that it must not read, or cannot."""
    where = draw(st.sampled_from([*OUTSIDE, "labels.json", "pipe"]))
    sidecar = json.dumps({"labels": where}).encode()
    files = {"m.onnxplain.json": sidecar, "labels.json": _json(["a", "b", "c", "d", "e"])(draw)}
    what = f"labels in {where[:30]!r}"
    return _run(draw, files, what, links=LINKS, pipes=["pipe"])


def _no_file(draw: Draw) -> Case:
    """A link, a pipe or a folder in place of a file beside the model."""
    name = draw(st.sampled_from([*_FILES, "tokenizer.json"]))
    where = draw(st.sampled_from(["../beside/secret.bin", "/dev/zero", "loop", "/etc/passwd", "."]))
    if draw(st.integers(0, 3)):
        return _run(draw, {}, f"{name} is a link to {where}", links={name: where})
    return _run(draw, {}, f"{name} is a pipe", pipes=[name])


def _texts(draw: Draw) -> Case:
    """A model of texts with its tokenizer."""
    content = _json(tokenizer())(draw)
    files = {"m.onnx": text_model(), "tokenizer.json": content}
    text = draw(st.sampled_from(["I loved the film.", "", "\0", "\x1b[1m", "é" * 300, "[MASK] a"]))
    command = ["run", "../given/m.onnx", "--text", text, "-m"]
    command += [draw(st.sampled_from(["occlusion", "gradient"])), "--json", "-o", "../out"]
    return Case("configuration", f"a tokenizer, and the text {text[:20]!r}", files, [command])


_KINDS: list[Callable[[Draw], Case]] = [*[_usual] * 5, _pointing, _no_file, _texts]


@st.composite
def configurations(draw: Draw) -> Case:
    """A small model, and the files beside it."""
    kind: Callable[[Draw], Case] = draw(st.sampled_from(_KINDS))
    return kind(draw)
