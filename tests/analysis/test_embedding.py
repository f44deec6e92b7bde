"""Which answers are embeddings, and which may be scores of classes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from tiny import noise, tiny

from onnxplain.analysis.embedding import SMALLEST, embedding_sign
from onnxplain.analysis.score import find_score
from onnxplain.model.load import load
from onnxplain.transforms.extract import answering

SIZE = 40
WEIGHTS = {
    "k": noise(SIZE, 3, 1, 1),
    "own": noise(SIZE, SIZE, 1, 1),
    "w": noise(SIZE, SIZE),
    "gain": noise(SIZE),
    "bias": noise(SIZE),
    "epsilon": np.array(1e-12, np.float32),
    "two": np.array(2, np.float32),
    "half": np.array(0.5, np.float32),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "last": np.array([-1]),
    "places": np.array([2, 3]),
    "flat": np.array([0, -1]),
    "first": np.array(0),
    "tokens": np.array([0, SIZE, 64]),
}
FEATURES = "c = Conv(x, k)  r = Relu(c)  "
VECTOR = FEATURES + "p = GlobalAveragePool(r)  f = Flatten(p)  z = MatMul(f, w)  "
TOKENS = FEATURES + "t = Reshape(r, tokens)  s = Transpose<perm=[0, 2, 1]>(t)  "
DECOMPOSED = (
    "m = ReduceMean<axes=[-1]>(z)  d = Sub(z, m)  q = Pow(d, two)  v = ReduceMean<axes=[-1]>(q)  "
    "ve = Add(v, epsilon)  sd = Sqrt(ve)  n = Div(d, sd)  g = Mul(n, gain)  y = Add(g, bias)"
)


def made(body: str) -> ModelProto:
    weights = {name: value for name, value in WEIGHTS.items() if name in body}
    return tiny(body, outputs=f"float[N,{SIZE}] y", **weights)


def sign_of(model: ModelProto, size: int | None = SIZE) -> str:
    loaded = load(model)
    return embedding_sign(loaded, find_score(loaded), size)


def sign(body: str, size: int | None = SIZE) -> str:
    return sign_of(made(body), size)


NORMALIZED = {
    "onnx": VECTOR + "y = LpNormalization<axis=1, p=2>(z)",
    "torch norm": VECTOR + "l = ReduceL2<axes=[-1]>(z)  y = Div(z, l)",
    "torch functional": VECTOR
    + "l = ReduceL2<axes=[-1]>(z)  m = Clip(l, epsilon)  sh = Shape(z)  e = Expand(m, sh)  "
    "y = Div(z, e)",
    "tensorflow": VECTOR
    + "q = Mul(z, z)  s = ReduceSum<keepdims=1>(q, last)  m = Max(s, epsilon)  "
    "i = Sqrt(m)  j = Reciprocal(i)  y = Mul(z, j)",
    "by hand": VECTOR + "q = Pow(z, two)  s = ReduceSum(q, last)  l = Pow(s, half)  y = Div(z, l)",
    "scaled": VECTOR
    + "l = ReduceL2<axes=[-1]>(z)  n = Div(z, l)  s = Mul(n, six)  y = Identity(s)",
    "sum of squares": VECTOR
    + "s = ReduceSumSquare<axes=[-1]>(z)  l = Sqrt(s)  n = Div(z, l)  y = Reshape(n, flat)",
}


@pytest.mark.parametrize("body", NORMALIZED.values(), ids=NORMALIZED)
def test_a_vector_of_length_one(body: str) -> None:
    assert sign(body) == "it is divided by its length"


def test_layer_normalizations() -> None:
    one = VECTOR + "y = LayerNormalization(z, gain, bias)"
    of_token = TOKENS + "n = LayerNormalization(s, gain, bias)  y = Gather<axis=1>(n, first)"
    assert sign(one) == sign(of_token) == "it ends in a layer normalization"
    assert sign(VECTOR + DECOMPOSED) == "it is divided by its length"


POOL = "  p = GlobalAveragePool(a)  y = Flatten(p)"
POOLED = {
    "residual": ("b = Conv(r, own)  s = Add(b, r)  a = Relu(s)", "a residual sum"),
    "dense": ("b = Concat<axis=1>(r, c)  a = Relu(b)", "joined channels"),
    "relu6": ("b = Conv(r, own)  a = Clip(b, zero, six)", "clipped activations"),
    "swish": ("b = Conv(r, own)  g = Sigmoid(b)  a = Mul(b, g)", "gated activations"),
    "hard swish": ("b = Conv(r, own)  g = HardSigmoid(b)  a = Mul(g, b)", "gated activations"),
}


@pytest.mark.parametrize(("body", "what"), POOLED.values(), ids=POOLED)
def test_a_pool_of_what_is_no_map_of_scores(body: str, what: str) -> None:
    assert sign(FEATURES + body + POOL) == f"it is the pool of {what}"
    mean = "  p = ReduceMean<axes=[2, 3], keepdims=0>(a)  y = Identity(p)"
    assert sign(FEATURES + body + mean) == f"it is the pool of {what}"


@pytest.mark.parametrize(
    "body", [NORMALIZED["onnx"], FEATURES + POOLED["residual"][0] + POOL], ids=["unit", "pool"]
)
def test_few_numbers_may_be_a_direction_or_few_classes(body: str) -> None:
    assert not sign(body, size=SMALLEST - 1)
    assert not sign(body, size=None)
    assert sign(body, size=SMALLEST)


NAMES = (
    "embedding embeddings image_embeds text_embeds features output_features feat pooler_output "
    "last_hidden_state global_descriptor image/embedding:0 Embedding"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_names(name: str) -> None:
    for size in (2, None):
        assert sign_of(renamed(name), size) == f"its output is called {name!r}"


def renamed(name: str, last: str = "z = MatMul(f, w)  y = Identity(z)") -> ModelProto:
    model = made(VECTOR.replace("z = MatMul(f, w)", last))
    model.graph.node[-1].output[0] = model.graph.output[0].name = name
    return model


@pytest.mark.parametrize(
    "name", "output logits 495 y featured unembeddable /features/conv/Conv_output_0 fc1".split()
)
def test_names_that_say_nothing(name: str) -> None:
    assert not sign_of(renamed(name))


def test_what_says_classes_is_stronger_than_a_name() -> None:
    for activation in ("Softmax", "Sigmoid"):
        last = f"z = MatMul(f, w)  y = {activation}(z)"
        assert not sign_of(renamed("features", last))
    assert not sign_of(renamed("features_logits"))


CLASSES = {
    "linear": VECTOR + "y = Add(z, bias)",
    "batch normalization": VECTOR + "y = BatchNormalization(z, gain, bias, bias, gain)",
    "scores that are pooled": FEATURES + "b = Conv(r, own)  a = Relu(b)" + POOL,
    "scores with a batch normalization": FEATURES
    + "b = Conv(r, own)  a = BatchNormalization(b, gain, bias, bias, gain)"
    + POOL,
    "scores that are weighted": FEATURES
    + "b = Conv(r, own)  h = Conv(r, own)  g = Sigmoid(h)  a = Mul(b, g)"
    + POOL,
    "the mean of two models": VECTOR
    + "b = MatMul(f, w)  u = Unsqueeze(z, last)  v = Unsqueeze(b, last)  "
    "c2 = Concat<axis=2>(u, v)  y = ReduceMean<axes=[2], keepdims=0>(c2)",
    "the sum of two heads": VECTOR + "b = MatMul(f, w)  y = Add(z, b)",
    "a cosine with each class": VECTOR
    + "l = ReduceL2<axes=[-1]>(z)  n = Div(z, l)  b = MatMul(n, w)  y = Mul(b, six)",
    "divided by another length": VECTOR + "l = ReduceL2<axes=[-1]>(f)  y = Div(z, l)",
}


@pytest.mark.parametrize("body", CLASSES.values(), ids=CLASSES)
def test_what_may_be_scores(body: str) -> None:
    assert not sign(body)


def cut(body: str, tensor: str) -> str:
    loaded = load(made(body))
    return embedding_sign(loaded, find_score(answering(loaded, tensor), tensor), None)


def test_an_inner_tensor_is_an_embedding_if_layers_come_after_it() -> None:
    body = VECTOR + "y = Softmax(z)"
    assert cut(body, "f") == "the layer MatMul 'z' comes after it"
    assert cut(body, "r") == "the layer MatMul 'z' comes after it"
    assert not cut(body, "z")
    # As in the estimate of an age from the probabilities of each year.
    assert not cut(VECTOR + "s = Softmax(z)  y = MatMul(s, w)", "z")
    assert not cut(VECTOR + "q = Mul(z, six)  y = Floor(q)", "z")


MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1", "digit_vit"])
def test_shipped_classifiers(name: str) -> None:
    loaded = load(MODELS / f"{name}.onnx")
    assert not embedding_sign(loaded, find_score(loaded), 1000)
