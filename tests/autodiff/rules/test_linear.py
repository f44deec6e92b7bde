"""Rules of matrix products, Einsum, determinants and transforms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, check_node, ints, normal, single_node, uniform

PRODUCTS = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((1, 6, 2, 3), (5, 1, 3, 4)),
    ((3,), (5, 3, 4)),
    ((2, 5, 2, 3), (3,)),
    ((5, 2, 3), (3,)),
    ((5, 1, 3), (5, 3, 1)),
]


@pytest.mark.parametrize(("a", "b"), PRODUCTS, ids=str)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    inputs = {"a": normal(*a, seed=1), "b": normal(*b, seed=2)}
    check_node("MatMul", inputs, batched=["a"] if a[0] == 5 and len(a) >= len(b) else ())
    check_node("MatMul", inputs, constants=["b"])


@pytest.mark.parametrize(("ta", "tb"), list(itertools.product((0, 1), (0, 1))))
@pytest.mark.parametrize("bias", [None, (), (1,), (4,), (2, 1), (1, 4), (2, 4)], ids=str)
def test_gemm(ta: int, tb: int, bias: tuple[int, ...] | None) -> None:
    inputs: dict[str, Array] = {
        "a": normal(*((3, 2) if ta else (2, 3)), seed=1),
        "b": normal(*((4, 3) if tb else (3, 4)), seed=2),
    }
    if bias is not None:
        inputs["c"] = normal(*bias, seed=3)
    batched = [] if ta or bias in ((2, 1), (2, 4)) else ["a"]
    check_node("Gemm", inputs, transA=ta, transB=tb, batched=batched)
    check_node("Gemm", inputs, transA=ta, transB=tb, alpha=0.7, beta=-1.3, batched=batched)


EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ba,cb", (2, 3), (4, 2)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bhwqc,wkc -> bhwqk", (2, 3, 2, 4, 3), (2, 5, 3)),
    ("...ij,...jk->...ik", (2, 5, 2, 3), (2, 5, 3, 4)),
    ("...ij,jk->...ik", (2, 5, 2, 3), (3, 4)),
    ("i...,i...->...", (3, 2, 5), (3, 2, 5)),
    ("...ij,...jk->...ik", (1, 5, 2, 3), (2, 1, 3, 4)),
    ("...j,...j", (2, 5, 3), (2, 5, 3)),
    ("bij,bij->b", (2, 3, 4), (1, 3, 4)),
    ("ij,ij->", (2, 3), (1, 3)),
    ("ij,ij->i", (2, 1), (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("i,i->", (3,), (3,)),
    ("ij->ji", (2, 3)),
    ("ij->i", (2, 3)),
    ("ij->", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("bii->b", (2, 3, 3)),
    ("iij,jk->ik", (3, 3, 2), (2, 4)),
    ("iii->i", (3, 3, 3)),
    ("...ii->...i", (2, 3, 3)),
    ("...->...", (2, 3)),
    ("ij,k->k", (2, 3), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("bi,oij,bj->bo", (2, 3), (4, 3, 5), (2, 5)),
]


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: str(case[0]))
def test_einsum(case: tuple[str, *tuple[tuple[int, ...], ...]]) -> None:
    equation, *shapes = case
    inputs = {f"x{i}": normal(*shape, seed=i) for i, shape in enumerate(shapes)}
    check_node("Einsum", inputs, equation=equation)


def test_einsum_with_a_dynamic_batch() -> None:
    for equation, other in (("bij,bjk->bik", (2, 3, 4)), ("...ij,jk->...ik", (3, 4))):
        inputs = {"a": normal(2, 5, 3), "b": normal(*other, seed=1)}
        batched = [name for name, value in inputs.items() if value.ndim == 3]
        check_node("Einsum", inputs, equation=equation, batched=batched)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 3, 3), (2, 1, 4, 4)], ids=str)
def test_det(shape: tuple[int, ...]) -> None:
    check_node("Det", {"x": normal(*shape)}, batched=["x"] if len(shape) > 2 else ())


def test_det_of_a_singular_matrix() -> None:
    x = np.outer([1, 2, 3], [1, -1, 2]).astype(np.float32)
    x[2, 2] += 1
    check_node("Det", {"x": x - np.diag([0, 0, 1]).astype(np.float32)})


@pytest.mark.parametrize(
    ("columns", "image", "block", "attributes"),
    [
        ((1, 12, 6), (3, 4), (2, 2), {}),
        ((2, 8, 4), (4, 4), (2, 2), {"strides": [2, 2]}),
        ((2, 18, 12), (5, 6), (3, 3), {}),
        ((2, 9, 15), (3, 5), (3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 8, 9), (5, 5), (2, 2), {"dilations": [2, 2]}),
        ((2, 8, 12), (4, 5), (2, 2), {"pads": [0, 1, 1, 0], "strides": [1, 2]}),
        ((2, 3, 4), (6,), (3,), {}),
        ((2, 8, 4), (3, 3, 2), (2, 2, 2), {}),
    ],
    ids=str,
)
def test_col2im(
    columns: tuple[int, ...],
    image: tuple[int, ...],
    block: tuple[int, ...],
    attributes: dict[str, list[int]],
) -> None:
    inputs = {"x": normal(*columns), "image": ints(*image), "block": ints(*block)}
    for constants in (["image", "block"], ["block"], []):
        check_node("Col2Im", inputs, constants=constants, batched=["x"], **attributes)


DFTS = [
    # shape, length, axis, inverse, onesided
    ((2, 8, 1), None, 1, 0, 0),
    ((2, 8, 2), None, 1, 0, 0),
    ((2, 7, 2), None, 1, 1, 0),
    ((2, 7, 1), None, 1, 0, 1),
    ((2, 8, 1), None, -2, 0, 1),
    ((5, 4, 2), None, 0, 0, 0),
    ((2, 6, 3, 1), None, 1, 0, 1),
    ((2, 8, 2), 5, 1, 0, 0),
    ((2, 5, 2), 8, 1, 0, 0),
    ((2, 5, 2), 8, 1, 1, 0),
    ((2, 8, 1), 6, 1, 0, 1),
    ((2, 5, 2), None, 1, 1, 1),
    ((2, 5, 2), 9, 1, 1, 1),
    ((2, 5, 2), 6, 1, 1, 1),
]


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize(("shape", "length", "axis", "inverse", "onesided"), DFTS, ids=str)
def test_dft(
    shape: tuple[int, ...], length: int | None, axis: int, inverse: int, onesided: int, opset: int
) -> None:
    inputs = {"x": normal(*shape), "length": None if length is None else np.array(length)}
    kind = {"inverse": inverse, "onesided": onesided, "opset": opset}
    if opset < 20:
        kind["axis"] = axis
    else:
        inputs["axis"] = np.array(axis)
    while inputs[next(reversed(inputs))] is None:
        del inputs[next(reversed(inputs))]
    check_node("DFT", inputs, constants=["axis", "length"], batched=["x"], **kind)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("window", [None, uniform(6)], ids=["flat", "window"])
def test_stft(window: Array | None, onesided: int) -> None:
    inputs = {
        "signal": normal(2, 20, 1),
        "step": np.array(3),
        "window": window,
        "length": np.array(6),
    }
    check_node("STFT", inputs, constants=["step", "length"], onesided=onesided, batched=["signal"])


def test_dft_needs_its_axis() -> None:
    model = load(single_node("DFT", {"x": normal(2, 8, 2), "length": None, "axis": np.array(1)}))
    with pytest.raises(GradientError, match="The axis of the DFT 'the_DFT'"):
        differentiate(model, "y0", ["x"])


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)], ids=str)
def test_inverse(shape: tuple[int, ...]) -> None:
    x = normal(*shape) / 4 + np.eye(3, dtype=np.float32)
    check_gradient(single_node("Inverse", {"x": x}, domain="com.microsoft"), {"x": x})
