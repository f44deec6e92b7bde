"""Targets that users write."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import Array, noise

from onnxplain import Explainer
from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.targets import Target
from tools.cases import nets


@dataclass(frozen=True)
class Indexing(Target):
    name: str = "indexing"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return answer[:, 3]


@dataclass(frozen=True)
class Rows(Target):
    name: str = "rows"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return answer * 2


@dataclass(frozen=True)
class Unhashable(Target):
    weights: Array
    name: str = "weights"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return xp.sum(answer * self.weights, axis=-1)


@dataclass(frozen=True)
class Difference(Target):
    """The score of class 1 minus that of the last class."""

    name: str = "difference"
    linear = True

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return xp.take(answer, 1) - xp.take(answer, -1)


@dataclass(frozen=True, eq=False)
class Contrast(Target):
    """A sum weighted by a constant of numpy, in float64."""

    weights: Array
    name: str = "contrast"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return xp.sum(answer * self.weights, axis=-1)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Indexing(), r"The formula of 'indexing' fails .*subscriptable.*no indexing"),
        (Rows(), r"The formula of 'rows' gives an array of shape \(N, 5\): it must give one"),
        (Unhashable(np.ones(5)), r"class Unhashable has no hash.*eq=False"),
    ],
)
def test_what_own_targets_cannot_do_is_said_in_one_sentence(target: Target, sentence: str) -> None:
    explainer = Explainer(nets.net_r())
    x = noise(1, 3, 20, 26)
    with pytest.raises(TargetError, match=sentence):
        explainer.attribute(x, "gradcam", target)


def test_a_contrast_of_classes_by_a_constant_of_numpy() -> None:
    explainer, x = Explainer(nets.net_r()), noise(1, 3, 20, 26)
    weights = np.array([1, 0, -0.5, -0.5, 0])
    found = explainer.attribute(x, "input_x_gradient", Contrast(weights))
    parts = [explainer.attribute(x, "input_x_gradient", index) for index in (0, 2, 3)]
    expected = parts[0].values - (parts[1].values + parts[2].values) / 2
    assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["input_x_gradient", "lrp"])
def test_a_formula_may_take_one_class_by_its_index(method: str) -> None:
    explainer, x = Explainer(nets.net_r()), noise(1, 3, 20, 26)
    found = explainer.attribute(x, method, Difference()).values
    first, last = (explainer.attribute(x, method, index).values for index in (1, 4))
    assert_allclose(found, first - last, atol=1e-5 * np.abs(found).max())
