"""What cannot be explained is an error that says why."""

import re

import cv2
import numpy as np
import pytest
from explainer.formulas import AS_IT_IS, OPTIONS, linear, model, noise, noise_picture
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain import Explainer, Explanation
from onnxplain.errors import (
    LayerError,
    MapError,
    OptionError,
    PictureError,
    PreprocessError,
)
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.occlusion import Occlusion
from tools.cases import nets

PICTURE = noise_picture()


def test_a_score_cut_off_from_the_picture() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,2] y) { c = Conv(x, k) a = Relu(c)
        p = GlobalAveragePool(a) f = Flatten(p) z = Mul(f, nothing) y = Add(z, bias) }"""
    made = model(text, k=noise(2, 3, 1, 1), nothing=[0], bias=[1, 2])
    explainer = Explainer(made, preprocess=AS_IT_IS)
    for method in ("occlusion", "rise", "ablationcam", "reciprocam"):
        with pytest.raises(MapError, match=f"{method} for 0 is the same everywhere"):
            explainer.explain(PICTURE, method, 0, **OPTIONS.get(method, {}))


def test_a_score_that_no_path_from_the_picture_reaches() -> None:
    text = """g (float[N,3,8,8] x) => (float[1,2] y, float[N,3,8,8] z)
        { y = Add(bias, bias) z = Relu(x) }"""
    explainer = Explainer(model(text, bias=[[1, 2]]), preprocess=AS_IT_IS)
    with pytest.raises(MapError, match="occlusion for 0 is the same everywhere"):
        explainer.explain(PICTURE, "occlusion", 0)
    with pytest.raises(LayerError, match="No layer between the input and the score"):
        explainer.explain(PICTURE, "scorecam", 0)


def test_a_model_that_answers_nan() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,3] y)
        { n = Neg(x) l = Log(n) y = ReduceMean<axes=[2,3], keepdims=0>(l) }"""
    made = model(text)
    explainer = Explainer(made, preprocess=AS_IT_IS)
    for target in ("top1", 0):
        with pytest.raises(MapError, match=r"NaN or infinite.*preprocessing"):
            explainer.explain(PICTURE, "occlusion", target)
        with pytest.raises(MapError, match="NaN or infinite"):
            explainer.attribute(noise(1, 3, 8, 8) + 5, "occlusion", target)


def test_a_model_that_answers_nan_only_when_something_is_covered() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,3] y)
        { l = Log(x) y = ReduceMean<axes=[2,3], keepdims=0>(l) }"""
    made = model(text)
    explainer = Explainer(made, preprocess=AS_IT_IS)
    bright = np.full((8, 8, 3), 9, np.uint8)
    with pytest.raises(MapError, match=r"changed sample.*another baseline or fill"):
        explainer.explain(bright, "occlusion", 0)
    assert explainer.explain_each(noise_picture(60, 60) // 2 + 1, "occlusion", 0, fill="white")


def test_a_constant_map_is_an_error_of_the_picture_but_values_of_the_array() -> None:
    explainer = Explainer(linear("3,8,8", np.ones((2, 192))), preprocess=AS_IT_IS)
    gray = np.full((8, 8, 3), 77, np.uint8)
    with pytest.raises(MapError, match=r"occlusion for 0 is the same everywhere \(231\)"):
        explainer.explain(gray, "occlusion", 0, window=1, stride=1)
    x = np.full((1, 3, 8, 8), 77, np.float32)
    found = explainer.attribute(x, "occlusion", 0, window=1, stride=1)
    assert_allclose(found.values, np.full((1, 3, 8, 8), 231), rtol=1e-3)


def test_the_targets_that_have_a_map_can_be_had_without_the_one_that_has_none() -> None:
    weights = np.concatenate([np.zeros(192), noise(192)]).reshape(2, 192)
    explainer = Explainer(linear("3,8,8", weights), preprocess=AS_IT_IS)
    asked = PICTURE, "occlusion", [1, 0, 1]
    sentence = r"The map of occlusion for 0 is the same everywhere \(0\)"
    first, none, last = explainer.try_each(*asked)
    assert isinstance(first, Explanation)
    assert isinstance(last, Explanation)
    assert isinstance(none, MapError)
    assert re.match(sentence, str(none))
    assert_array_equal(first.values, explainer.explain(PICTURE, "occlusion", 1).values)
    with pytest.raises(MapError, match=sentence):
        explainer.explain_each(*asked)


def test_unknown_methods_and_options(net_r: Explainer) -> None:
    with pytest.raises(OptionError, match=r"no method 'scorecan'.*scorecam"):
        net_r.explain(PICTURE, "scorecan")
    with pytest.raises(OptionError, match="cam has no option 'layer'; its own are smooth, score"):
        net_r.attribute(noise(1, 3, 20, 26), "cam", layer="relu2")


def test_a_configured_method_takes_further_options(net_r: Explainer) -> None:
    named = net_r.explain(PICTURE, "occlusion", 0, window=4, stride=2, fill="white")
    configured = net_r.explain(PICTURE, Occlusion(window=4, fill="white"), 0, stride=2)
    assert_array_equal(named.values, configured.values)
    assert named.parameters == configured.parameters
    own = {"window": 4, "stride": 2, "fill": "white"}
    assert named.parameters == {"score": "logit", "smooth": "none"} | own


def test_integer_inputs_take_whole_numbers_only() -> None:
    text = """g (uint8[N,8,8,3] x) => (float[N,3] y)
        { f = Cast<to=1>(x) y = ReduceMean<axes=[1,2], keepdims=0>(f) }"""
    explainer = Explainer(model(text), preprocess=AS_IT_IS)
    x = np.full((1, 8, 8, 3), 7)
    assert explainer.attribute(x, "occlusion", 0).scores == 7
    for wrong in (x + 0.5, x - 8, x + 250):
        with pytest.raises(OptionError, match=r"takes uint8.*round or scale"):
            explainer.attribute(wrong, "occlusion", 0)


def test_complex_numbers_are_not_taken_for_their_real_parts() -> None:
    explainer = Explainer(linear("3,8,8", noise(2, 192)), preprocess=AS_IT_IS)
    x = noise(1, 3, 8, 8) * 1j
    with pytest.raises(OptionError, match="the array holds complex numbers"):
        explainer.attribute(x, "gradient", 0)
    with pytest.raises(PictureError, match="the array holds complex numbers"):
        explainer.explain(x, "gradient", 0)


def test_preprocessing_that_does_not_fit() -> None:
    with pytest.raises(PreprocessError, match="height"):
        Explainer(linear("3,8,8", noise(2, 192)), preprocess=Preprocess(size=(9, 9))).explain(
            PICTURE, "occlusion"
        )


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_is_positive(size: int) -> None:
    with pytest.raises(OptionError, match="at least 1"):
        Explainer(nets.net_r(), batch_size=size)


def test_labels_of_classes_that_the_model_lacks_are_refused() -> None:
    # One name too many, such as a "background" at the start, would shift every name by one.
    explainer = Explainer(nets.net_r(), preprocess=AS_IT_IS, labels=["background", *"abcde"])
    with pytest.raises(
        PreprocessError, match=r"labels \(given\) go up to class 5.*last class is 4"
    ):
        explainer.attribute(noise(1, 1560).reshape(1, 3, 20, 26), "occlusion", 0)


def test_a_picture_may_be_the_bytes_of_a_file(net_r: Explainer) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 26, 3), np.uint8)
    _, file = cv2.imencode(".png", pixels[..., ::-1])
    found = net_r.explain(file.tobytes(), "gradient", 1)
    assert_array_equal(found.values, net_r.explain(pixels, "gradient", 1).values)
    with pytest.raises(PictureError, match="The picture given as bytes is not a picture"):
        net_r.explain(b"no picture", "gradient", 1)


def test_what_is_no_picture(net_r: Explainer) -> None:
    with pytest.raises(PictureError, match=r"a list of 2: use explain_many"):
        net_r.explain(["a.png", "b.png"], "gradient", 1)  # type: ignore[arg-type]
    with pytest.raises(PictureError, match=r"^http://a\.org/cat\.png is an address"):
        net_r.explain("http://a.org/cat.png", "gradient", 1)
