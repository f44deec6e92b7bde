"""Measures the output of each shipped model for each shipped picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .catalog import LABELS_FILE, MODELS, PICTURES_FOLDER
from .pictures import decode

INTERPOLATIONS = {"area": cv2.INTER_AREA}


def table(folder: Path) -> str:
    """A Markdown table of the top-1 class and its probability, picture by picture."""
    labels: list[str] = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
    pictures = json.loads((folder / PICTURES_FOLDER / "pictures.json").read_text(encoding="utf-8"))
    lines = [
        "| picture | " + " | ".join(model.title for model in MODELS) + " |",
        "| --- " * (len(MODELS) + 1) + "|",
    ]
    for name in pictures:
        pixels = decode((folder / PICTURES_FOLDER / name).read_bytes())
        cells = [_cell(probabilities(folder / model.name, pixels), labels) for model in MODELS]
        lines.append(" | ".join([f"| {name}", *cells]) + " |")
    return "\n".join(lines)


def probabilities(stem: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The model's probabilities for BGR `pixels`: (classes,), summing to 1."""
    sidecar = json.loads(stem.with_suffix(".onnxplain.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(
        stem.with_suffix(".onnx"), providers=["CPUExecutionProvider"]
    )
    batch = preprocess(pixels, sidecar["preprocess"])
    scores: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
    if session.get_outputs()[0].name == "prob":
        return scores
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum(), np.float32)


def preprocess(pixels: NDArray[np.uint8], how: Mapping[str, Any]) -> NDArray[np.float32]:
    """BGR `pixels` as the (1, 3, height, width) tensor that a sidecar's `preprocess` describes."""
    height, width = how["size"]
    interpolation = INTERPOLATIONS[how["interpolation"]]
    if how["fit"] == "crop":
        scale = how["resize"] / min(pixels.shape[:2])
        whole = [round(side * scale) for side in pixels.shape[:2]]
        top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
        resized = cv2.resize(pixels, whole[::-1], interpolation=interpolation)
        fitted = resized[top : top + height, left : left + width]
    else:
        fitted = cv2.resize(pixels, (width, height), interpolation=interpolation)
    ordered = fitted if how["channels"] == "BGR" else fitted[..., ::-1]
    normalized = (ordered * how["scale"] - np.array(how["mean"])) / np.array(how["std"])
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], np.float32)


def _cell(chances: NDArray[np.float32], labels: list[str]) -> str:
    best = int(chances.argmax())
    return f"{labels[best]} ({best}), {chances[best]:.2f}"
