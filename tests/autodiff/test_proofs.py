"""Whole models and ONNX's own cases, as `python -m tools.gradients` looks at all of them."""

import numpy as np
import pytest

from onnxplain.graph.surgery import with_outputs
from tools.gradients.backend import verdicts
from tools.gradients.ours import Subject, difference, session
from tools.gradients.verdict import KINK, NO_RULE, PASSED, REFUSED, WRONG

MODELS = ["efficientnet_lite0", "squeezenet1_1"]
FAST = "^test_(softmax_axis_0|layer_normalization_2d_axis1|gemm_all_attributes|basic_conv)"


def test_the_score_of_a_shipped_model_climbs_along_its_gradient_as_steeply_as_it_says(request):
    subject = Subject(request.config.rootpath / "models" / "squeezenet1_1.onnx")
    gradient, _ = subject.gradients()
    opened = session(with_outputs(subject.original, [subject.score]))
    step = 1e-4 * np.linalg.norm(subject.x) / np.linalg.norm(gradient)

    def score(distance: float) -> float:
        moved = subject.x + np.float32(distance) * gradient
        (answer,) = opened.run(None, {subject.picture: moved})
        return float(np.sum(np.float64(answer) * subject.seed))

    slope = (score(step) - score(-step)) / (2 * step)
    np.testing.assert_allclose(slope, np.sum(np.float64(gradient) ** 2), rtol=0.01)


@pytest.mark.slow
def test_onnx_cases_of_frequent_operators_pass():
    found = {verdict.name: verdict.kind for verdict in verdicts(FAST)}
    assert len(found) >= 5
    assert set(found.values()) <= {*PASSED}, found


WITHOUT = {
    # What an optimiser does to weights:
    *("Adagrad", "Adam", "Momentum"),
    # Steps, and gathering by an operator of another domain:
    *("ArrayFeatureExtractor", "Binarizer", "TreeEnsemble"),
    # Of opset 8, with a batch, which no later one has:
    "Scan",
}
"""Operators without a gradient."""


@pytest.mark.slow
def test_every_onnx_case_passes_or_has_its_reason():
    found = list(verdicts())
    assert not [verdict for verdict in found if verdict.kind in (WRONG, KINK, REFUSED)]
    assert {verdict.operator for verdict in found if verdict.kind == NO_RULE} <= WITHOUT
    assert sum(verdict.kind in PASSED for verdict in found) > 1200  # of 1,328


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_agree_with_torch_in_float64(name, request):
    pytest.importorskip("torch")
    from tools.gradients.models import errors

    subject = Subject(request.config.rootpath / "models" / f"{name}.onnx")
    (_, at_input), (at_layer, _) = errors(subject)
    assert at_input < 1e-3  # by cosine: a few signs at ReLU may flip in float32
    assert at_layer < 1e-4


def test_difference_is_zero_for_the_same_direction_and_two_for_the_opposite():
    x = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(difference(x, x), (0, 0), atol=1e-12)
    np.testing.assert_allclose(difference(-x, x), (2, 2), atol=1e-12)
