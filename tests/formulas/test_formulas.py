"""Every single-pass method's formula gives from nodes what it gives from numpy in float64."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from formulas.nodes import Given, from_nodes, wide
from numpy.testing import assert_allclose
from tiny import Array

from onnxplain.execution import wants
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.registry import METHODS

SAMPLES, INPUT, LAYER, BLOCKS = 3, (3, 12, 10), (5, 4, 6), 3
HEADS, TOKENS, FEATURES = 2, 7, 5

FORMULAS = [kind for kind in METHODS.values() if issubclass(kind, SinglePassMethod)]

Random = np.random.Generator


def drawn(*shape: int) -> Callable[[Random], Array]:
    return lambda random: random.normal(size=(SAMPLES, *shape)).astype(np.float32)


def activation(random: Random) -> Array:
    """After a rectifier: alpha of Grad-CAM++ has poles where activations are negative."""
    return np.maximum(drawn(*LAYER)(random), 0)


def attention(random: Random) -> Array:
    return scipy.special.softmax(drawn(HEADS, TOKENS, TOKENS)(random), axis=-1).astype(np.float32)


def several(one: Callable[[Random], Array], count: int) -> Callable[[Random], list[Array]]:
    return lambda random: [one(random) for _ in range(count)]


def biases(random: Random) -> list[Array]:
    """For layers of several sizes."""
    return [drawn(*size)(random) for size in ((2, 12, 10), LAYER, (4, 1, 1))]


GIVEN: dict[type[wants.Want], Callable[[Random], Given]] = {
    wants.Activation: activation,
    wants.LayerGradient: drawn(*LAYER),
    wants.LayerHessianProduct: drawn(*LAYER),
    wants.Input: drawn(*INPUT),
    wants.Reference: drawn(*INPUT),
    wants.InputGradient: drawn(*INPUT),
    wants.ReferenceScore: drawn(),
    wants.ClassWeights: drawn(LAYER[0], 1, 1),
    wants.BiasGradients: biases,
    wants.Attention: several(attention, BLOCKS),
    wants.TokensRead: lambda random: attention(random)[:, 0, :1],
    wants.AttentionGradients: several(drawn(HEADS, TOKENS, TOKENS), BLOCKS),
    wants.AttentionRelevance: several(drawn(HEADS, TOKENS, TOKENS), BLOCKS),
    wants.ClassQueries: several(drawn(HEADS, 1, FEATURES), BLOCKS),
    wants.GridKeys: several(drawn(HEADS, FEATURES, TOKENS), BLOCKS),
    wants.ClassGradients: several(drawn(HEADS, TOKENS), BLOCKS),
    wants.BlockGradients: several(drawn(HEADS, TOKENS, TOKENS), BLOCKS),
}
"""Everything that a formula may want, as float32 arrays of the declared shapes."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FORMULAS, ids=lambda kind: kind.name)
def test_nodes_and_numpy_agree(kind: type[SinglePassMethod], seed: int) -> None:
    random, method = np.random.default_rng(seed), kind()
    given = [GIVEN[type(want)](random) for want in method.wants]

    def everything(xp: Any, *wanted: Any) -> dict[str, Any]:
        return {"map": method.map(xp, *wanted), **method.report(xp, *wanted)}

    expected = everything(NUMPY, *map(wide, given))
    written = from_nodes(everything, *given)
    for name, values in expected.items():
        assert values.dtype == np.float64
        assert written[name].shape == values.shape
        assert len(values) == SAMPLES
        scale = np.abs(values).max()
        assert scale > 0, "the case shows nothing"
        assert_allclose(written[name], values, atol=2e-6 * scale, rtol=0, err_msg=name)


@pytest.mark.parametrize("kind", FORMULAS, ids=lambda kind: kind.name)
def test_samples_of_a_batch_do_not_see_each_other(kind: type[SinglePassMethod]) -> None:
    random, method = np.random.default_rng(9), kind()
    given = [wide(GIVEN[type(want)](random)) for want in method.wants]
    together = method.map(NUMPY, *given)
    for i in range(SAMPLES):
        alone = method.map(NUMPY, *map(functools.partial(_sample, i), given))
        assert_allclose(alone, together[i : i + 1], rtol=1e-10, atol=1e-12)


def _sample(i: int, given: Given) -> Given:
    if isinstance(given, np.ndarray):
        return given[i : i + 1]
    return [one[i : i + 1] for one in given]
