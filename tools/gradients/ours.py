"""The package's gradients of a model file, in ONNX Runtime."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.prepare import prepare
from onnxplain.explainer import Explainer
from onnxplain.graph.model import Model
from onnxplain.graph.surgery import with_outputs
from onnxplain.tensors import Array, FloatArray

_SIZE = 224
"""Height and width where the model takes any."""


class Subject:
    """A model file at one random picture, for one random class, with the layer CAM looks at."""

    def __init__(self, path: Path) -> None:
        """Load and prepare the model; find its score and its layer."""
        explainer = Explainer(path, provider="cpu")
        _, *sizes = explainer.input.shape or ()
        dims = [1, *(size if isinstance(size, int) else _SIZE for size in sizes)]
        self.x = np.random.default_rng(0).normal(size=dims).astype(np.float32)
        self.original = explainer.model
        self.picture = explainer.input.name
        self.score = explainer.score_tensor.logit
        self.layer = explainer.layer("auto", self.x).tensor
        self.seconds, self.prepared = _timed(lambda: prepare(self.original))

    def differentiated(self, *wanted: str) -> Model:
        """The model with the score, the layer, and the gradients of `wanted` as outputs."""
        return differentiate(self.prepared, self.score, wanted, [self.score, self.layer])

    @functools.cached_property
    def values(self) -> dict[str, FloatArray]:
        """The score and the layer, by name, as the model itself computes them."""
        return run(with_outputs(self.original, [self.score, self.layer]), {self.picture: self.x})

    @functools.cached_property
    def seed(self) -> FloatArray:
        """1 for the class, at every pixel where the model answers for pixels; else 0."""
        seed = np.zeros_like(self.values[self.score])
        seed[:, np.random.default_rng(1).integers(seed.shape[1])] = 1
        return seed

    @property
    def feeds(self) -> dict[str, FloatArray]:
        """What a differentiated model is fed."""
        return {self.picture: self.x, SEED: self.seed}

    def gradients(self) -> tuple[FloatArray, FloatArray]:
        """Of the class's score by the picture and by the layer; `seconds` grows by the building."""
        seconds, model = _timed(lambda: self.differentiated(self.picture, self.layer))
        self.seconds += seconds
        answers = run(model, self.feeds)
        return answers[GRADIENT + self.picture], answers[GRADIENT + self.layer]


def session(model: Model) -> Any:
    """On one thread, with ONNX Runtime's own optimisations, as it is deployed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if model.folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(model.folder))
    proto = model.proto.SerializeToString()
    return ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])


def run(model: Model, feeds: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Outputs by name."""
    opened = session(model)
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(None, feeds), strict=True))


def _timed(action: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def difference(found: Array, reference: Array) -> tuple[float, float]:
    """Largest difference as a fraction of the largest reference value, and 1 - cosine."""
    a, b = np.float64(found).ravel(), np.float64(reference).ravel()
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return float(np.abs(a - b).max() / np.abs(b).max()), 1 - cosine
