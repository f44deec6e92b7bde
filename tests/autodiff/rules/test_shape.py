"""Rules of layout, slicing and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, check_node, ints, normal, single_node

END = np.iinfo(np.int64).max
START = np.iinfo(np.int64).min

LAYOUT: list[tuple[str, tuple[int, ...], Array | None, dict[str, Any]]] = [
    ("Reshape", (2, 3, 4), ints(0, -1), {}),
    ("Reshape", (2, 3, 4), ints(-1), {}),
    ("Reshape", (2, 3, 4), ints(4, 1, 6), {"allowzero": 1}),
    ("Flatten", (2, 3, 4), None, {}),
    ("Flatten", (2, 3, 4), None, {"axis": 0}),
    ("Flatten", (2, 3, 4), None, {"axis": -1}),
    ("Squeeze", (2, 1, 3, 1), ints(1, -1), {}),
    ("Squeeze", (2, 1, 3, 1), ints(3), {}),
    ("Unsqueeze", (2, 3), ints(-1, 0, 2), {}),
    ("Transpose", (2, 3, 4), None, {}),
    ("Transpose", (2, 3, 4), None, {"perm": [1, 2, 0]}),
    ("Expand", (2, 1, 4), ints(2, 3, 4), {}),
    ("Expand", (2, 1, 4), ints(2, 1, 2, 3, 1), {}),
    ("Expand", (3, 1), ints(1, 1, 4), {}),
    ("Tile", (2, 3), ints(1, 3), {}),
    ("Tile", (2, 3), ints(2, 2), {}),
    ("Tile", (3,), ints(4), {}),
    ("Trilu", (2, 4, 3), None, {}),
    ("Trilu", (2, 4, 3), np.array(-1), {"upper": 0}),
    ("Trilu", (4, 5), np.array(2), {"upper": 1}),
    ("ReverseSequence", (2, 4, 3), ints(3, 1), {"batch_axis": 0, "time_axis": 1}),
    ("ReverseSequence", (4, 2), ints(2, 4), {}),
    ("DepthToSpace", (2, 12, 2, 3), None, {"blocksize": 2}),
    ("DepthToSpace", (2, 12, 2, 3), None, {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", (1, 18, 2, 1), None, {"blocksize": 3, "mode": "CRD"}),
    ("SpaceToDepth", (2, 3, 4, 6), None, {"blocksize": 2}),
]


@pytest.mark.parametrize(("op", "shape", "second", "attributes"), LAYOUT, ids=str)
@pytest.mark.parametrize("constants", [["second"], []], ids=["constant", "fed"])
def test_layout(
    op: str,
    shape: tuple[int, ...],
    second: Array | None,
    attributes: dict[str, Any],
    constants: list[str],
) -> None:
    inputs = {"x": normal(*shape), "second": second}
    if second is None:
        del inputs["second"]
    check_node(op, inputs, constants=constants, batched=["x"], **attributes)


def test_squeeze_of_whatever_has_size_one() -> None:
    feeds = {"x": normal(1, 3, 1, 2)}
    check_gradient(single_node("Squeeze", feeds), feeds)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for extra, shape in enumerate(shapes):
        shape[axis] += extra
    inputs = {f"x{i}": normal(*shape, seed=i) for i, shape in enumerate(shapes)}
    check_node("Concat", inputs, axis=axis, batched=inputs if axis else ())


@pytest.mark.parametrize(
    ("sizes", "outputs", "attributes"),
    [
        (None, 3, {"num_outputs": 3}),
        (None, 2, {"axis": 1, "num_outputs": 2}),
        (ints(1, 3, 1), 3, {"axis": 1}),
        (ints(0, 5), 2, {"axis": -2}),
    ],
    ids=["thirds", "3 + 2", "1 + 3 + 1", "0 + 5"],
)
def test_split(sizes: Array | None, outputs: int, attributes: dict[str, Any]) -> None:
    """Each single output is a score, so that the other outputs have no gradient."""
    inputs = {"x": normal(6, 5, 2), **({} if sizes is None else {"sizes": sizes})}
    batched = ["x"] if "axis" in attributes else ()
    check_node("Split", inputs, constants=["sizes"], outputs=outputs, batched=batched, **attributes)


SLICES: dict[str, tuple[tuple[int, ...], list[list[int] | None]]] = {
    # starts, ends, axes, steps
    "front": ((4, 7), [[0], [3], [1], None]),
    "middle": ((4, 7), [[1, 2], [3, 6], None, None]),
    "negative start": ((4, 7), [[-3], [END], [-1], [1]]),
    "negative end": ((4, 7), [[2], [-1], [1], [1]]),
    "beyond the end": ((4, 7), [[-20, 3], [20, 20], [0, 1], [1, 1]]),
    "every second": ((4, 7, 6), [[0], [END], [1], [2]]),
    "every second of both": ((2, 6, 8), [[1, 0], [END, END], [2, 1], [2, 2]]),
    "every third from the fifth": ((2, 11), [[4], [END], [1], [3]]),
    "every third, not to the end": ((2, 11), [[1], [6], [1], [3]]),
    "every fifth": ((2, 11), [[2], [11], [1], [5]]),
    "backwards": ((4, 7), [[-1], [START], [1], [-1]]),
    "backwards by two": ((4, 7), [[5], [0], [1], [-2]]),
    "backwards by three from beyond": ((4, 8), [[20], [-20], [1], [-3]]),
    "both ways": ((5, 7), [[-1, 1], [START, 6], [0, 1], [-2, 2]]),
    "nothing": ((4, 7), [[3], [3], [1], [1]]),
    "nothing by three": ((4, 7), [[5], [5], [1], [3]]),
    "nothing backwards": ((4, 7), [[2], [5], [1], [-2]]),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("fed", [(), ("starts",), ("ends",), ("axes", "steps")], ids=str)
def test_slice(name: str, fed: tuple[str, ...]) -> None:
    shape, bounds = SLICES[name]
    given = dict(zip(("starts", "ends", "axes", "steps"), bounds, strict=True))
    arrays = {k: None if v is None else ints(*v) for k, v in given.items()}
    while arrays[next(reversed(arrays))] is None:
        del arrays[next(reversed(arrays))]
    constants = [k for k in arrays if k not in fed]
    check_node("Slice", {"x": normal(*shape), **arrays}, constants=constants, batched=["x"])


@pytest.mark.parametrize(
    ("op", "second", "attributes"),
    [("Slice", [ints(1), ints(8), ints(1), ints(2)], {}), ("Gather", [ints(3, 4)], {"axis": 1})],
)
def test_what_padding_can_put_back_is_not_scattered(
    op: str, second: list[Array], attributes: dict[str, int]
) -> None:
    constants = {f"given{i}": value for i, value in enumerate(second)}
    model = single_node(op, {"x": normal(2, 8), **constants}, constants=constants, **attributes)
    added = differentiate(load(model), "y0", ["x"]).proto.graph.node
    assert not {node.op_type for node in added} & {"ScatterElements", "ScatterND"}


PADS: dict[str, tuple[list[int], list[int] | None]] = {
    "all axes": ([0, 1, 2, 0, 2, 1], None),
    "two axes": ([1, 2, 2, 1], [-1, 1]),
    "one axis, before": ([2, 0], [2]),
    "one axis, after": ([0, 2], [1]),
    "cut": ([-1, 1, 1, -2], [2, 1]),
}


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("name", PADS)
@pytest.mark.parametrize("fed", [(), ("pads",), ("axes",)], ids=str)
def test_pad(name: str, mode: str, fed: tuple[str, ...]) -> None:
    pads, axes = PADS[name]
    inputs = {
        "x": normal(2, 4, 5),
        "pads": ints(*pads),
        "value": None if mode != "constant" else normal(seed=1),
        "axes": None if axes is None else ints(*axes),
    }
    constants = {"pads", "axes"} - set(fed)
    check_node("Pad", inputs, constants=constants, batched=["x"], mode=mode)


def test_wrap_may_go_round_more_than_once() -> None:
    inputs = {"x": normal(2, 3), "pads": ints(5, 7), "value": None, "axes": ints(1)}
    check_node("Pad", inputs, constants=["pads", "axes"], batched=["x"], mode="wrap")
