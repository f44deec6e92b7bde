"""Gradients of the shipped models in deployed forms: how much quantizing and rounding change them.

Quantization changes the gradient of a model more than its output, because rounding moves
activations across the kinks of ReLUs. To separate this from errors of onnxplain, the gradient is
compared with torch: the straight-through gradient, in float64, of the same quantized model.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from onnxplain.analysis.score import find_score
from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.explainer import Explainer
from onnxplain.images.picture import read_picture
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import Array, FloatArray
from tools.gradients import straight_through
from tools.gradients.deployed import FORMS
from tools.gradients.float64 import run_in_float64
from tools.gradients.ours import CONVOLUTIONAL, MODELS, difference, run

EXPLAINED = ("chelsea.png", "coffee.png", "rocket.jpg")
"""Pictures to differentiate at; the others are used for calibration."""

HEADER = (
    f"| model | form | cosine of the answers | cosine of the gradients at {', '.join(EXPLAINED)} "
    "| largest difference from torch, straight through, both in float64 |\n"
    "| --- | --- | --- | --- | ---: |"
)


def rows() -> Iterator[str]:
    """One row in Markdown per model and form."""
    for model, form, found, original in samples(FORMS):
        pairs = list(zip(found, original, strict=True))
        of_answers = ", ".join(_cosine(a.answer, b.answer) for a, b in pairs)
        of_gradients = ", ".join(_cosine(a.gradient, b.gradient) for a, b in pairs)
        apart = max(sample.apart() for sample in found)
        yield f"| {model} | {form} | {of_answers} | {of_gradients} | {apart:.0e} |"


def samples(forms: Iterable[str]) -> Iterator[tuple[str, str, list[Sample], list[Sample]]]:
    """Model, form, the form at each picture, and the original model for the same classes."""
    logging.getLogger().setLevel(logging.ERROR)  # ONNX Runtime's quantizer logs a lot
    for path in CONVOLUTIONAL:
        explainer = Explainer(path, provider="cpu")
        pictures = {
            file.name: explainer.preprocess.apply(read_picture(file))[0]
            for file in sorted((MODELS / "pictures").iterdir())
            if file.suffix in (".png", ".jpg")
        }
        others = [x for name, x in pictures.items() if name not in EXPLAINED]
        original = [Sample(load(path), pictures[name]) for name in EXPLAINED]
        with tempfile.TemporaryDirectory() as folder:
            for form in forms:
                made = Path(folder) / "model.onnx"
                FORMS[form](path, made, {explainer.input.name: others})
                model = load(made)
                yield path.stem, form, [Sample(model, s.x, s.seed) for s in original], original


class Sample:
    """The output of a model for a picture, and the gradient of a class, by default the top one."""

    def __init__(self, model: Model, x: Array, seed: FloatArray | None = None) -> None:
        (spec,) = model.inputs
        self.x = x
        self.name, self.score = spec.name, find_score(model).logit
        self.prepared = lower(model)
        self.model = differentiate(self.prepared, self.score, [self.name], [self.score])
        feeds = {self.name: x.astype(spec.dtype)}
        if seed is None:
            seed = np.zeros((1, 1000), np.float32)
            answer = run(self.model, {**feeds, SEED: seed})[self.score]
            seed.ravel()[answer.argmax()] = 1
        self.seed = seed
        self.feeds = {**feeds, SEED: seed}
        answers = run(self.model, self.feeds)
        self.answer = answers[self.score].astype(np.float64)
        self.gradient = answers[GRADIENT + self.name].astype(np.float64)

    def apart(self) -> float:
        """The difference between our gradient and torch's, both in float64."""
        ours = run_in_float64(self.model, self.feeds)[GRADIENT + self.name]
        picture = {self.name: self.feeds[self.name]}
        _, theirs = straight_through.gradient(self.prepared, picture, self.score, self.seed)
        return difference(ours, theirs)[0] if np.abs(theirs).max() else float(np.abs(ours).max())


def _cosine(found: Array, original: Array) -> str:
    if not found.any():
        return "zero"
    return f"{1 - difference(found, original)[1]:.4f}"
