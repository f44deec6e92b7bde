"""The rule of Attention, with masks, caches, head layouts and all other options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, check_node, gradients, ints, normal, single_node
from tools.gradcheck.reference import float64_function, onnxruntime_function, slope

B, HEADS, SHARED, QUERIES, KEYS, WIDTH, OUT = 2, 4, 2, 3, 5, 6, 3
NAMES = "q k v mask past_key past_value filled".split()


def by_head(heads: int = SHARED) -> dict[str, Array]:
    return {
        "q": normal(B, HEADS, QUERIES, WIDTH, seed=1),
        "k": normal(B, heads, KEYS, WIDTH, seed=2),
        "v": normal(B, heads, KEYS, OUT, seed=3),
    }


def check(inputs: dict[str, Array], opset: int = 23, **given: Any) -> None:
    last = max(NAMES.index(name) for name in inputs)
    every = {name: inputs.get(name) for name in NAMES[: last + 1]}
    batched = [n for n in ("q", "k", "v", "past_key", "past_value", "filled") if n in inputs]
    check_node("Attention", every, opset=opset, batched=batched, **given)


PAST = {"past_key": normal(B, SHARED, 2, WIDTH, seed=4), "past_value": normal(B, SHARED, 2, OUT)}
BOOLEAN = normal(QUERIES, KEYS, seed=5) > -0.3
BOOLEAN[1] = False  # a query that attends to nothing


@pytest.mark.parametrize("heads", [1, SHARED, HEADS])
def test_heads(heads: int) -> None:
    check(by_head(heads))


@pytest.mark.parametrize("shared", [1, SHARED, HEADS])
def test_joined_heads(shared: int) -> None:
    inputs = {
        "q": normal(B, QUERIES, HEADS * WIDTH, seed=1),
        "k": normal(B, KEYS, shared * WIDTH, seed=2),
        "v": normal(B, KEYS, shared * OUT, seed=3),
    }
    check(inputs, q_num_heads=HEADS, kv_num_heads=shared)
    check(inputs, q_num_heads=HEADS, kv_num_heads=shared, scale=0.3, is_causal=1)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize(
    "shape", [(3, 5), (1, 1, 3, 5), (2, 1, 3, 5), (2, 4, 3, 5), (1, 4, 3, 5)], ids=str
)
def test_mask_that_is_added(shape: tuple[int, ...], opset: int) -> None:
    check({**by_head(), "mask": normal(*shape, seed=4)}, opset)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("causal", [0, 1])
def test_mask_of_booleans(opset: int, causal: int) -> None:
    check({**by_head(), "mask": BOOLEAN}, opset, is_causal=causal)
    check({**by_head(), "mask": np.broadcast_to(BOOLEAN, (B, HEADS, QUERIES, KEYS))}, opset)


def test_soft_cap_scale_and_causality() -> None:
    check(by_head(), softcap=1.5, scale=0.7, is_causal=1)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_past(causal: int, masked: bool) -> None:
    mask = {"mask": normal(QUERIES, KEYS + 2)} if masked else {}
    check({**by_head(), **PAST, **mask}, outputs=3, is_causal=causal)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("filled", [(3, 5), (1, 4)])
def test_caches_that_are_not_full(filled: tuple[int, ...], causal: int) -> None:
    """With fewer keys than queries and causality, the first queries attend to nothing."""
    check({**by_head(), "filled": ints(*filled)}, 24, is_causal=causal)


# With a cap, ONNX Runtime 1.31 gives the capped scores for mode 0.
@pytest.mark.parametrize(
    ("mode", "softcap"), [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (1, 2.0), (2, 2.0), (3, 2.0)]
)
def test_scores_as_an_output(mode: int, softcap: float) -> None:
    # onnx infers 0 keys for this output if their number is not static.
    inputs = {**by_head(), "mask": normal(QUERIES, KEYS)}
    kind: dict[str, Any] = {"qk_matmul_output_mode": mode, "softcap": softcap}
    model = single_node("Attention", inputs, opset=23, outputs=4, **kind)
    check_gradient(model, inputs, outputs=["y0", "y3"])


def test_query_without_keys_has_no_gradient() -> None:
    inputs = {**by_head(), "mask": BOOLEAN}
    seeds = {"y0": normal(B, HEADS, QUERIES, OUT)}
    found = gradients(single_node("Attention", inputs, opset=23), inputs, seeds, ["q"])
    np.testing.assert_array_equal(found["q"][:, :, 1], 0)


@pytest.mark.parametrize(
    "attributes",
    [
        {"left_window_size": 1, "right_window_size": 1},
        {"left_window_size": 0, "is_causal": 1},
        {"right_window_size": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("others", [{}, PAST, {"filled": ints(4, 5)}], ids=["", "past", "filled"])
def test_windows(attributes: dict[str, int], others: dict[str, Array]) -> None:
    """ONNX Runtime 1.31 has no windows: it can compute only the gradient."""
    inputs = {**by_head(), **others}
    check_without_the_operator({**dict.fromkeys(NAMES), **inputs}, 25, **attributes)


def test_mask_for_fewer_keys() -> None:
    """ONNX Runtime 1.31 does not support such a mask."""
    for mask in (normal(QUERIES, KEYS - 1), normal(QUERIES, KEYS - 1) > -1):
        check_without_the_operator({**by_head(), "mask": mask}, 24)


def check_without_the_operator(every: dict[str, Array | None], opset: int, **given: int) -> None:
    inputs = {name: value for name, value in every.items() if value is not None}
    while every[next(reversed(every))] is None:
        del every[next(reversed(every))]
    model = single_node("Attention", every, opset=opset, **given)
    wanted = [name for name, value in inputs.items() if value.dtype == np.float32]
    seed = normal(B, HEADS, QUERIES, OUT, seed=7)
    differentiated = differentiate(load(model), "y0", wanted).proto
    gradients = onnxruntime_function(differentiated)({**inputs, SEED: seed})
    forward = float64_function(model)
    for name, gradient in zip(wanted, gradients, strict=True):
        direction = normal(*inputs[name].shape, seed=8).astype(np.float64)
        expected = slope(forward, inputs, name, direction, [seed], 1e-4)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-3, abs=1e-4), name
