"""The rules of the relevance of attention, on graphs of a few nodes."""

import numpy as np
from numpy.testing import assert_allclose
from tiny import Array, noise, run, tiny

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.propagation.attention import attention_relevance
from onnxplain.model.load import load


def relevance(body: str, x: Array, seed: Array, samples_axis: int = 0, **constants: Array) -> Array:
    shape = ",".join(map(str, x.shape))
    proto = tiny(
        body, f"float[{shape}] x", f"float[{','.join(map(str, seed.shape))}] y", **constants
    )
    model = differentiate(lower(load(proto)), "y", ["x"], rules=attention_relevance(samples_axis))
    read = {value.name for value in model.proto.graph.input}
    feeds = {name: array for name, array in {"x": x, SEED: seed}.items() if name in read}
    return run(model.proto, feeds)[0]


def test_biases_get_nothing() -> None:
    x, w, seed = np.abs(noise(2, 3)), noise(3, 4), np.abs(noise(2, 4, seed=1))
    expected = np.zeros_like(x)
    for row, j in np.ndindex(2, 4):
        shares = np.maximum(x[row] * w[:, j], 0)
        expected[row] += seed[row, j] * shares / shares.sum()
    for body in ("y = Gemm(x, w, b)", "h = MatMul(x, w) y = Add(h, b)"):
        found = relevance(body, x, seed, w=w, b=noise(4, seed=2))
        assert_allclose(found, expected, rtol=1e-4)


def test_each_term_of_a_sum_gets_a_part_of_the_whole_for_each_sample() -> None:
    """Shares of x and −3 x in their sum are −1/2 and 3/2 of it, so the parts are 1/4 and 3/4."""
    for axis, x in enumerate([noise(2, 3, 4), noise(3, 2, 4)]):
        seed = np.abs(noise(*x.shape, seed=1))
        others = tuple({0, 1, 2} - {axis})
        whole = seed.sum(axis=others, keepdims=True)
        # The part of x keeps the sign of the whole, like that of −3 x, which passes it to x.
        found = relevance("a = Mul(x, k) y = Add(x, a)", x, seed, axis, k=np.float32(-3))
        assert_allclose(found.sum(axis=others, keepdims=True), whole, rtol=1e-4)
        assert_allclose(found, seed, rtol=1e-4)


def test_a_normalization_passes_relevance_on_however_it_is_written() -> None:
    x, seed = noise(2, 3, 8), noise(2, 3, 8, seed=1)
    written = """
      m = ReduceMean<axes=[-1]>(x) c = Sub(x, m) two = Mul(c, c) v = ReduceMean<axes=[-1]>(two)
      e = Add(v, eps) r = Sqrt(e) n = Div(c, r) s = Mul(n, k) y = Add(s, b)
    """
    scale = {"k": noise(8, seed=2), "b": noise(8, seed=3)}
    for body, constants in (
        ("y = LayerNormalization(x, k, b)", scale),
        (written, {**scale, "eps": np.float32(1e-5)}),
    ):
        assert_allclose(relevance(body, x, seed, **constants), seed, rtol=1e-5)


def test_half_goes_to_each_of_two_activations_that_are_multiplied() -> None:
    x, seed = noise(1, 2, 3, 3), noise(1, 2, 3, 3, seed=1)
    square = relevance("y = MatMul(x, x)", x, seed)
    named = relevance('y = Einsum<equation="bhij, bhjk -> bhik">(x, x)', x, seed)
    ratio = seed / (x @ x) / 2
    back = x.transpose(0, 1, 3, 2)
    assert_allclose(square, x * (ratio @ back + back @ ratio), rtol=1e-3, atol=1e-5)
    assert_allclose(named, square, rtol=1e-4, atol=1e-6)
