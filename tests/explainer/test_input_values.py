"""Values of other inputs: numbers, arrays with and without a batch axis, files, and pictures.

The models are linear in their other inputs, so that every score has a closed form.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OnnxplainError, OptionError, PictureError
from onnxplain.images.opencv import cv2

X = noise(1, 3, 8, 8)
MEAN = X.mean()


def summed(declared, opset=17):
    """y = (mean of the picture) + Σ (mean of another input); `declared` is its type."""
    body = "m = ReduceMean<keepdims=0,axes=[1,2,3]>(x) f = Cast<to=1>(other) "
    body += "o = ReduceMean<keepdims=0>(f) s = Add(m, o) y = Reshape(s, shape)"
    return tiny(
        body,
        f"float[N,3,8,8] x, {declared} other",
        "float[N,1] y",
        opset=opset,
        shape=np.array([-1, 1]),
    )


def score(model, value):
    explainer = Explainer(model, inputs={"other": value}, explain_input="x")
    return float(explainer.attribute(X, "gradient", 0).scores[0])


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("float", 0.5),
        ("float[1]", 0.5),
        ("float[N,1]", 0.5),
        ("float[N]", [0.5]),
        ("float[N,3]", [1, 5, 9]),
        ("float[1,3]", [1, 5, 9]),
        ("float[3]", [1, 5, 9]),
        ("int64[N,3]", [1, 5, 9]),
        ("int64[N,T]", [1, 5, 9, 2]),
        ("bool[N,2]", [1, 0]),
        ("float[N,2,2]", np.arange(4.0).reshape(2, 2)),
        ("float[N,2,2]", np.arange(4.0).reshape(1, 2, 2)),
    ],
)
def test_numbers_and_arrays_with_and_without_a_batch_axis(declared, value):
    assert_allclose(score(summed(declared), value), MEAN + np.mean(value), rtol=1e-5)


def test_a_file_of_an_array(tmp_path):
    np.save(tmp_path / "z.npy", np.array([1.0, 5.0, 9.0]))
    for path in (tmp_path / "z.npy", str(tmp_path / "z.npy")):
        assert_allclose(score(summed("float[N,3]"), path), MEAN + 5, rtol=1e-5)


@pytest.mark.parametrize(
    ("declared", "value", "words"),
    [
        (
            "float[N,3]",
            [1, 2],
            "takes an array of shape (N, 3), or (3) for one sample, and the value has shape (2).",
        ),
        ("float[N,3]", np.zeros((2, 2, 3)), "the value has shape (2, 2, 3)."),
        ("float[3]", 1.0, "takes an array of shape (3), and the value has shape ()."),
        ("int64[N,3]", [1, 2, 0.5], "takes int64, and not every value"),
        ("bool[N,2]", [1, 2], "takes bool, and not every value"),
        ("float[N,3]", "gone.npy", "There is no file gone.npy."),
        ("float[N,3]", "gone.png", "'gone.png' is no value for the input 'other': give numbers"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(declared, value, words):
    with pytest.raises((OptionError, PictureError)) as error:
        score(summed(declared), value)
    assert words in str(error.value)


def test_a_file_that_is_no_array(tmp_path):
    (tmp_path / "z.npy").write_text("no array")
    with pytest.raises(PictureError, match="is not a "):
        score(summed("float[N,3]"), tmp_path / "z.npy")


def test_a_picture_for_an_input_that_takes_none(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(OptionError, match=r"takes \(N, 3\) float32, which is no picture"):
        score(summed("float[N,3]"), tmp_path / "a.png")


def test_samples_have_their_own_values():
    explainer = Explainer(summed("float[N,3]"), explain_input="x")
    given = {"x": np.concatenate([X, X]), "other": np.array([[1, 2, 3], [4, 5, 6.0]])}
    with pytest.raises(OnnxplainError):
        explainer.attribute({**given, "other": np.zeros((3, 3))}, "gradient", 0)
    fixed = Explainer(summed("float[1,3]"), explain_input="x")
    assert_allclose(
        fixed.attribute(given | {"other": given["other"][:1]}, "occlusion", 0, fill=0).scores,
        [MEAN + 2] * 2,
        rtol=1e-5,
    )


SIAMESE = tiny(
    """
    p = ReduceMean<keepdims=0,axes=[2,3]>(x) q = ReduceMean<keepdims=0,axes=[2,3]>(z)
    y = Mul(p, q)
    """,
    "float[N,3,8,8] x, float[N,3,4,4] z",
    "float[N,3] y",
)


def test_a_second_picture_is_prepared_as_the_first_is(tmp_path):
    """Each score is the product of the mean colors of both pictures, prepared by hand here."""
    first, second = (np.random.default_rng(i).integers(0, 256, (8, 8, 3)) for i in (1, 2))
    for name, pixels in (("first.png", first), ("second.png", second)):
        cv2.imwrite(str(tmp_path / name), pixels[..., ::-1].astype(np.uint8))
    settings = {"fit": "stretch", "interpolation": "area", "scale": 1 / 255, "mean": 0.5, "std": 2}
    explainer = Explainer(
        SIAMESE, inputs={"z": tmp_path / "second.png"}, explain_input="x", preprocess=settings
    )
    found = explainer.explain(tmp_path / "first.png", "occlusion", 1, window=4)
    a, b = ((one[..., 1].mean() / 255 - 0.5) / 2 for one in (first, second))
    assert_allclose(found.score, a * b, rtol=1e-4)


def test_a_second_picture_that_does_not_exist():
    with pytest.raises(OptionError, match="is no value for the input 'z'"):
        Explainer(SIAMESE, inputs={"z": "gone.png"}, explain_input="x")
