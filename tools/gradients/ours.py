"""The package's gradients of a model file, in ONNX Runtime."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.explainer import Explainer
from onnxplain.model.model import Model
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.extract import with_outputs

MODELS = Path(__file__).parents[2] / "models"

CONVOLUTIONAL = [MODELS / f"{name}.onnx" for name in ("efficientnet_lite0", "squeezenet1_1")]
"""The shipped models, whose operators are converted to torch; exports have other operators."""

_SIZE = 224
"""Height and width for models that take any size."""

_CANDIDATES = 6


class Subject:
    """A model file at random pictures, each for a random class, with layers of its grid.

    `layer` is the one that CAM uses, near the end. `inner` are layers near the middle, the nearest
    first.
    """

    def __init__(self, path: Path, batch: int = 1, size: int = _SIZE) -> None:
        """Load and lower the model; find its score and its layers.

        `batch` and `size` are used if the model takes any.
        """
        explainer = Explainer(path, provider="cpu")
        any_size = [batch, 3, size, size]
        dims = [
            own if isinstance(own, int) else wanted
            for own, wanted in zip(explainer.input.shape or (), any_size, strict=True)
        ]
        self.x = np.random.default_rng(0).normal(size=dims).astype(np.float32)
        self.original = explainer.model
        self.picture = explainer.input.name
        self.score = explainer.score_tensor.logit
        self.layer = explainer.layer("auto", self.x[:1]).tensor
        self.inner = _middle([layer.tensor for layer in explainer.layers(self.x[:1])])
        self.seconds, self.prepared = _timed(lambda: lower(self.original))

    def differentiated(self, *wanted: str) -> Model:
        """The model with its score and the gradients of `wanted` as outputs."""
        return differentiate(self.prepared, self.score, wanted, [self.score])

    @functools.cached_property
    def values(self) -> dict[str, FloatArray]:
        """The score and the layers, by name, as the model itself computes them."""
        names = dict.fromkeys([self.score, self.layer, *self.inner])
        return run(with_outputs(self.original, list(names)), {self.picture: self.x})

    @functools.cached_property
    def seed(self) -> FloatArray:
        """1 for each picture's class, at every pixel if the output has pixels; else 0."""
        seed = np.zeros_like(self.values[self.score])
        classes = np.random.default_rng(1).integers(seed.shape[1], size=len(seed))
        seed[np.arange(len(seed)), classes] = 1
        return seed

    @property
    def feeds(self) -> dict[str, FloatArray]:
        """The inputs of a differentiated model."""
        return {self.picture: self.x, SEED: self.seed}

    def gradients(self, *wanted: str) -> dict[str, FloatArray]:
        """Gradients of the classes' scores by tensor; by default at the picture and the layer."""
        wanted = wanted or (self.picture, self.layer)
        answers = run(self.differentiated(*wanted), self.feeds)
        return {name: answers[GRADIENT + name] for name in wanted}


def _middle(layers: Sequence[str]) -> list[str]:
    """Some layers, those nearest to the middle first."""
    places = sorted(range(len(layers)), key=lambda place: abs(place - len(layers) // 2))
    return [layers[place] for place in places[:_CANDIDATES]]


def session(model: Model) -> Any:
    """A session on one thread, with ONNX Runtime's own optimizations, as when deployed."""
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
    return answers(session(model), feeds)


def answers(opened: Any, feeds: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Outputs of a session by name."""
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(None, feeds), strict=True))


def one_by_one(opened: Any, feeds: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The same, for samples that are run one by one and stacked."""
    samples = range(len(next(iter(feeds.values()))))
    single = [answers(opened, {k: v[i : i + 1] for k, v in feeds.items()}) for i in samples]
    return {name: np.concatenate([one[name] for one in single]) for name in single[0]}


def _timed(action: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def difference(found: Array, reference: Array) -> tuple[float, float]:
    """Largest difference as a fraction of the largest reference value, and 1 - cosine."""
    a, b = np.float64(found).ravel(), np.float64(reference).ravel()
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return float(np.abs(a - b).max() / np.abs(b).max()), 1 - cosine
