"""Some whole models and ONNX's own cases; `python -m tools.gradients` checks all of them."""

import numpy as np
import pytest

from onnxplain.autodiff.differentiate import GRADIENT, differentiate
from onnxplain.transforms.extract import with_outputs
from tools.gradients.backend import verdicts
from tools.gradients.ours import Subject, answers, difference, one_by_one, run, session
from tools.gradients.verdict import KINK, NO_RULE, PASSED, REFUSED, WRONG

MODELS = ["efficientnet_lite0", "squeezenet1_1"]
FAST = "^test_(softmax_axis_0|layer_normalization_2d_axis1|gemm_all_attributes|basic_conv)"


def test_the_score_of_a_shipped_model_climbs_along_its_gradient_as_steeply_as_it_says(request):
    subject = Subject(request.config.rootpath / "models" / "squeezenet1_1.onnx")
    gradient = subject.gradients(subject.picture)[subject.picture]
    opened = session(with_outputs(subject.original, [subject.score]))
    step = 1e-4 * np.linalg.norm(subject.x) / np.linalg.norm(gradient)

    def score(distance: float) -> float:
        moved = subject.x + np.float32(distance) * gradient
        (answer,) = opened.run(None, {subject.picture: moved})
        return float(np.sum(np.float64(answer) * subject.seed))

    slope = (score(step) - score(-step)) / (2 * step)
    np.testing.assert_allclose(slope, np.sum(np.float64(gradient) ** 2), rtol=0.01)


@pytest.fixture(params=MODELS)
def three(request):
    """A shipped model at three pictures, each for another class."""
    return Subject(request.config.rootpath / "models" / f"{request.param}.onnx", batch=3)


def test_gradients_in_a_batch_are_those_one_by_one(three):
    assert len(set(three.seed.reshape(3, -1).argmax(axis=1))) == 3
    opened = session(three.differentiated(three.picture, three.layer))
    found, expected = answers(opened, three.feeds), one_by_one(opened, three.feeds)
    for name in (GRADIENT + three.picture, GRADIENT + three.layer):
        assert difference(found[name], expected[name])[0] < 1e-5
        assert difference(expected[name][0], expected[name][1])[0] > 0.1


def test_outputs_of_a_differentiated_model_are_those_of_the_model(three):
    outputs = [value.name for value in three.original.proto.graph.output]
    model = differentiate(three.prepared, three.score, [three.picture], outputs)
    found = run(model, three.feeds)
    expected = run(three.original, {three.picture: three.x})
    for name in outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_onnx_cases_of_frequent_operators_pass():
    found = {verdict.name: verdict.kind for verdict in verdicts(FAST)}
    assert len(found) >= 5
    assert set(found.values()) <= {*PASSED}, found


WITHOUT = {
    # Changes of weights by an optimizer:
    *("Adagrad", "Adam", "Momentum"),
    # Steps, and gathering by an operator of another domain:
    *("ArrayFeatureExtractor", "Binarizer", "TreeEnsemble"),
    # Of opset 8, with a batch, which no later opset has:
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
    found = errors(subject)
    assert max(gap.float64[0] for gap in found.values()) < 1e-12
    assert found[subject.picture].float32[1] < 1e-3  # by cosine: a few ReLUs may switch
    assert found[subject.layer].float32[0] < 1e-4


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("form", ["QDQ int8", "QOperator int8", "weights in int8 (dynamic)"])
def test_gradients_of_quantized_models_are_torch_s_straight_through_ones(form):
    pytest.importorskip("torch")
    from tools.gradients.forms import samples

    for _, _, found, _ in samples([form]):
        assert all(sample.gradient.any() for sample in found)
        assert max(sample.apart() for sample in found) < 1e-12


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet18", "unet"])
def test_exports_are_exact_at_fixed_and_at_open_sizes(family, tmp_path):
    pytest.importorskip("torch")
    from tools.gradients.exports import EXACT, KINKS, rows

    found = list(rows(tmp_path, [family]))
    assert [row.shape[0] for row in found] == [1, 1, 3, 3]
    assert {row.verdict for row in found} <= {EXACT, KINKS}


def test_difference_is_zero_for_the_same_direction_and_two_for_the_opposite():
    x = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(difference(x, x), (0, 0), atol=1e-12)
    np.testing.assert_allclose(difference(-x, x), (2, 2), atol=1e-12)
