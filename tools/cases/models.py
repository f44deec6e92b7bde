"""Models with a sample each: as an `Explainer`, and as callables for the references.

The callables are made from the ONNX file, only with onnx and onnxruntime.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx.utils import Extractor
from scipy.special import softmax

from onnxplain import Explainer
from onnxplain.images.picture import read_picture
from onnxplain.images.preprocess import Preprocess
from tools.cases import nets
from tools.cases.onnx_calls import load

Array = NDArray[Any]
Score = Callable[[Array], float]
MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Case:
    """A model, a sample and a class; `logit` and `probability` are None if the model has none."""

    model: onnx.ModelProto
    explainer: Explainer
    x: Array
    index: int
    input: str
    logit: str
    probability: str | None = None

    def attribute(self, method: str, **options: Any) -> Array:
        """The values of onnxplain for the sample and its class, without the batch axis."""
        found = self.explainer.attribute(self.x, method, self.index, **options)
        return np.asarray(found.values[0])

    def run(self, tensor: str, **changed: Array) -> Array:
        """A tensor for the sample; `changed` replaces the values of the input or of tensors."""
        return run(self.model, (self.input, *changed), tensor)({self.input: self.x, **changed})

    def score(self, kind: str = "logit", at: str | None = None) -> Score:
        """The class's score as a function of the input, or of the layer `at`, for this sample."""
        changed = at or self.input
        tensor = self.logit if kind == "logit" else self.probability or self.logit
        call = run(self.model, (self.input, changed), tensor)

        def score(value: Array) -> float:
            answer = call({self.input: self.x, changed: value})[0].ravel()
            if kind == "probability" and self.probability is None:
                answer = softmax(answer.astype(np.float64))
            return float(answer[self.index])

        return score

    def weights(self, name: str) -> Array:
        """An initializer."""
        (found,) = (w for w in self.model.graph.initializer if w.name == name)
        return onnx.numpy_helper.to_array(found)

    @cached_property
    def black(self) -> Array:
        """A black picture, from the formula of the preprocessing."""
        settings = self.explainer.preprocess
        color = -np.array(settings.mean, np.float32) / np.array(settings.std, np.float32)
        return np.broadcast_to(color.reshape(1, -1, 1, 1), self.x.shape).astype(np.float32)


def run(
    model: onnx.ModelProto, inputs: tuple[str, ...], output: str
) -> Callable[[dict[str, Array]], Array]:
    """The part of a model between tensors."""
    piece = Extractor(model).extract_model(list(dict.fromkeys(inputs)), [output])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(piece.SerializeToString(), options)
    taken = [value.name for value in session.get_inputs()]
    return lambda feed: np.asarray(session.run([output], {name: feed[name] for name in taken})[0])


def net_t() -> Case:
    """Expected maps by hand, see `tools.cases.nets`."""
    model = load(nets.net_t())
    explainer = Explainer(model, preprocess=Preprocess(size=(4, 4), channels="GRAY"))
    return Case(model, explainer, nets.NET_T_INPUT, 0, "x", "y")


def net_r() -> Case:
    """Small enough to compare everything; neither picture nor grid is square."""
    model = load(nets.net_r())
    settings = Preprocess(size=(20, 26), mean=(120, 110, 100), std=(50, 60, 70))
    x = np.random.default_rng(1).normal(size=(1, 3, 20, 26)).astype(np.float32)
    return Case(model, Explainer(model, preprocess=settings), x, 3, "x", "y")


def efficientnet() -> Case:
    """Ends in logits; signed activations and residual connections inside."""
    return shipped("efficientnet_lite0", "coffee_camera.png", "input", "logits")


def squeezenet() -> Case:
    """Ends in probabilities."""
    return shipped("squeezenet1_1", "chelsea.png", "data", "pool10", "prob")


def shipped(name: str, picture: str, *names: str) -> Case:
    """A model from `models/`, and one of its pictures."""
    path = MODELS / f"{name}.onnx"
    explainer = Explainer(path, provider="cpu")
    x, _ = explainer.preprocess.apply(read_picture(MODELS / "pictures" / picture))
    model = load(path)
    scores = run(model, (names[0],), names[1])({names[0]: x})
    return Case(model, explainer, x, int(scores.ravel().argmax()), *names)


CASES = {made.__name__: cache(made) for made in (net_t, net_r, efficientnet, squeezenet)}
"""By name; each is made once."""
