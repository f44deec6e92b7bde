"""Which input is explained, and which inputs are pictures."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny

from onnxplain.analysis.inputs import explained_input, is_picture, require_picture
from onnxplain.errors import ModelError
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import TensorSpec


def model(inputs: str) -> Model:
    return load(tiny("y = Neg(x)", inputs))


CHOICES = {
    "the only one": ("float[N,7] x", [], None, "x"),
    "the only picture": ("float[N,7] v, float[N,3,8,8] x, int64[1] n", [], None, "x"),
    "the only one without a value": ("float[N,7] x, float[N,3,8,8] v", ["v"], None, "x"),
    "the one that is named": ("float[N,7] v, float[N,3,8,8] x", [], "v", "v"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_input_to_explain(name: str) -> None:
    inputs, given, asked, expected = CHOICES[name]
    assert explained_input(model(inputs), given, asked).name == expected


@pytest.mark.parametrize(
    ("inputs", "given", "asked", "message"),
    [
        ("float[N,7] x, float[2] v", [], None, "not clear which input"),
        ("float[N,3,8,8] x, float[N,3,8,8] v", [], None, "not clear which input"),
        ("float[N,7] x", ["x"], None, "open: none"),
        ("float[N,7] x", [], "z", "no input 'z'"),
        ("float[N,7] pixels, float x", ["pixel"], None, r"did you mean pixels\?"),
    ],
)
def test_no_guess_where_it_is_not_clear(
    inputs: str, given: list[str], asked: str | None, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        explained_input(model(inputs), given, asked)


PICTURES = {
    ("float32", ("N", 3, 224, 224)): True,
    ("float16", (1, 1, 28, 28)): True,
    ("uint8", (None, 480, 640, 3)): True,
    ("float32", (None, None, None, None)): True,
    ("float32", None): True,
    ("float32", ("N", 4, 64, 64)): False,
    ("float32", ("N", 3, 224)): False,
    ("int64", ("N", 77)): False,
    ("bool", ("N", 3, 8, 8)): False,
    ("object", ("N", 3, 8, 8)): False,
}


@pytest.mark.parametrize(("dtype", "shape"), PICTURES)
def test_pictures(dtype: str, shape: tuple[int | str | None, ...] | None) -> None:
    spec = TensorSpec("x", np.dtype(dtype), shape)
    assert is_picture(spec) == PICTURES[dtype, shape]
    if not is_picture(spec):
        with pytest.raises(ModelError, match=r"'x' takes .*no picture.*Explainer\.attribute"):
            require_picture(spec)
