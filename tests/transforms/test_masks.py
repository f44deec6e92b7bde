"""Each kind of mask against numpy, on every layout, element type and opset."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from scipy.ndimage import map_coordinates
from tiny import Array, noise

from onnxplain.interpolation import interpolation
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.transforms.builder import Builder
from onnxplain.transforms.masks import (
    BASELINE,
    MASK,
    Along,
    Before,
    Drawn,
    Erase,
    Keep,
    Mask,
    Segmented,
    Shifted,
    Upsampled,
    X,
    box_feeds,
    masked,
)

ROWS, COLUMNS = 9, 7
GRID = np.random.default_rng(0).random((5, 3, 4), np.float32)
SHIFTS = np.array([0, 1, 2, 1, 0]), np.array([1, 0, 1, 0, 1])
BOXES = {
    "rows": (np.array([0, 2, 8, 0, 3]), np.array([9, 5, 9, 1, 3])),
    "columns": (np.array([0, 1, 6, 0, 0]), np.array([7, 3, 7, 1, 7])),
}


def identity(dtype: int, shape: tuple[int, ...], opset: int) -> ModelProto:
    """A model that returns its input, so that a masked one returns the masked sample."""
    dims = ["N", *shape[1:]]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "identity",
            [helper.make_tensor_value_info("x", dtype, dims)],
            [helper.make_tensor_value_info("y", dtype, dims)],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=7,
    )


def bilinear(maps: Array, size: tuple[int, int], at: tuple[Array, Array]) -> Array:
    """Each map enlarged to `size`, edges clamped, at given pixels (rows, columns) of the result."""
    places = np.meshgrid(*at, indexing="ij")
    scaled = [
        np.clip((place + 0.5) * cells / length - 0.5, 0, cells - 1)
        for place, cells, length in zip(places, maps.shape[1:], size, strict=True)
    ]
    return np.stack([map_coordinates(m, scaled, order=1) for m in maps.astype(np.float64)])


def inside(boxes: Mapping[str, tuple[Array, Array]]) -> Array:
    result = np.zeros((5, ROWS, COLUMNS))
    for i in range(5):
        (top, bottom), (left, right) = (
            (starts[i], stops[i]) for starts, stops in (boxes["rows"], boxes["columns"])
        )
        result[i, top:bottom, left:right] = 1
    return result


def cases(axes: tuple[int, int], rank: int) -> dict[str, tuple[Mask, dict[str, Array], Array]]:
    """Masks over the axes of rows and columns, their inputs, and their expected values."""
    feeds = box_feeds(rank, {axes[0]: BOXES["rows"], axes[1]: BOXES["columns"]})
    enlarged = bilinear(GRID, (ROWS, COLUMNS), (np.arange(ROWS), np.arange(COLUMNS)))
    low, high = enlarged.min((1, 2), keepdims=True), enlarged.max((1, 2), keepdims=True)
    shifts = {
        f"shift_{axis}": shift.astype(np.float32).reshape(-1, 1, 1)
        for axis, shift in zip(axes, SHIFTS, strict=True)
    }
    larger = (ROWS + 3, COLUMNS + 2)
    moved = [
        bilinear(GRID[i : i + 1], larger, (down + np.arange(ROWS), right + np.arange(COLUMNS)))[0]
        for i, (down, right) in enumerate(zip(*SHIFTS, strict=True))
    ]
    labels = np.random.default_rng(3).integers(0, 4, (ROWS, COLUMNS))
    segments = np.random.default_rng(4).random((5, 4), np.float32)
    return {
        "keep": (Keep(axes), feeds, inside(BOXES)),
        "erase": (Erase(axes), feeds, 1 - inside(BOXES)),
        "upsampled": (Upsampled(axes, (3, 4)), {"grid": GRID}, (enlarged - low) / (high - low)),
        "shifted": (Shifted(axes, (3, 4), larger), {"grid": GRID, **shifts}, np.stack(moved)),
        "segmented": (
            Segmented(axes, 4, labels.tobytes()),
            {"segments": segments},
            segments[:, labels],
        ),
        "drawn": (Drawn(axes), {"drawn": enlarged.astype(np.float32)}, enlarged),
        "before": (
            Before(axes),
            {
                "steps": labels[None].astype(np.float32),
                "before": np.arange(5, dtype=np.float32).reshape(-1, *[1] * (rank - 1)),
            },
            np.stack([labels < i for i in range(5)]).astype(np.float64),
        ),
    }


LAYOUTS = {
    "NCHW": ((1, 3, ROWS, COLUMNS), (2, 3)),
    "NHWC": ((1, ROWS, COLUMNS, 3), (1, 2)),
    "one channel": ((1, 1, ROWS, COLUMNS), (2, 3)),
    "no channels": ((1, ROWS, COLUMNS), (1, 2)),
}
TYPES = {
    "float": (TensorProto.FLOAT, np.float32, 1e-5),
    "float16": (TensorProto.FLOAT16, np.float16, 2e-3),
    "double": (TensorProto.DOUBLE, np.float64, 1e-5),
    "uint8": (TensorProto.UINT8, np.uint8, 1),
    "int8": (TensorProto.INT8, np.int8, 1),
}


def apply(
    mask: Mask, feeds: Mapping[str, Array], x: Array, baseline: Array, proto: ModelProto
) -> tuple[Array, Array]:
    """The masked samples and the masks."""
    model = load(proto)
    changed = masked(model, model.inputs[0], x.shape, mask, ["y", MASK])
    arrays = {X: x.astype(np.float32), BASELINE: baseline.astype(np.float32)}
    arrays |= {"onnxplain/" + name: value for name, value in feeds.items()}
    samples, masks = Session(changed, Backend()).run(arrays, ["y", MASK])
    return samples, masks


@pytest.mark.parametrize("kind", cases((2, 3), 4))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_masks_blend_sample_and_baseline(kind: str, layout: str, type_: str) -> None:
    shape, axes = LAYOUTS[layout]
    onnx_type, dtype, tolerance = TYPES[type_]
    scale = 1 if np.dtype(dtype).kind == "f" else 30
    x, baseline = (
        (scale * np.abs(noise(*shape, seed=seed))).astype(dtype).astype(np.float64)
        for seed in (1, 2)
    )
    mask, feeds, expected = cases(axes, len(shape))[kind]
    samples, masks = apply(mask, feeds, x, baseline, identity(onnx_type, shape, 13))
    spread = np.expand_dims(expected, [i for i in range(1, len(shape)) if i not in axes])
    np.testing.assert_allclose(masks, np.broadcast_to(spread, masks.shape), atol=1e-5)
    assert samples.dtype == dtype
    np.testing.assert_allclose(
        samples.astype(np.float64), spread * x + (1 - spread) * baseline, atol=tolerance
    )


@pytest.mark.parametrize("axis", [1, 2])
def test_one_number_for_each_place_along_an_axis(axis: int) -> None:
    x, baseline = noise(1, 4, 3), noise(1, 4, 3, seed=1)
    along = np.random.default_rng(2).random((5, x.shape[axis]), np.float32)
    weights = along[:, :, None] if axis == 1 else along[:, None]
    model = identity(TensorProto.FLOAT, x.shape, 7)
    samples, _ = apply(Along(axis), {"along": along}, x, baseline, model)
    np.testing.assert_allclose(samples, weights * x + (1 - weights) * baseline, atol=1e-6)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 16, 18, 20, 22, 24, 26])
def test_masks_are_the_same_at_every_opset(opset: int) -> None:
    shape = (1, 3, ROWS, COLUMNS)
    x, baseline = noise(*shape, seed=1), noise(*shape, seed=2)
    for mask, feeds, expected in cases((2, 3), 4).values():
        samples, _ = apply(mask, feeds, x, baseline, identity(TensorProto.FLOAT, shape, opset))
        spread = expected[:, None]
        np.testing.assert_allclose(samples, spread * x + (1 - spread) * baseline, atol=1e-5)


class Half:
    """A mask of 0.5 everywhere."""

    def build(self, g: Builder, shape: tuple[int, ...]) -> object:
        return g.Mul(g.input("one", ("batch", 1)), np.float32(0.5))


def test_integers_are_rounded_not_cut_off() -> None:
    """Half of 3 and 6 is 4.5, half of 1 and 2 is 1.5: both go up, and so does -4.5."""
    x, feeds = np.array([[3, 1, -3]]), {"one": np.ones((1, 1), np.float32)}
    samples, _ = apply(Half(), feeds, x, 2 * x, identity(TensorProto.INT8, (1, 3), 13))
    np.testing.assert_array_equal(samples, [[5, 2, -4]])


def test_where_a_mask_is_0_or_1_the_sample_is_exact() -> None:
    """Even if the sample and the baseline differ very much in size."""
    shape = (1, 1, ROWS, COLUMNS)
    x, baseline = noise(*shape), np.full(shape, 1e8, np.float32)
    mask, feeds, expected = cases((2, 3), 4)["keep"]
    samples, _ = apply(mask, feeds, x, baseline, identity(TensorProto.FLOAT, shape, 13))
    np.testing.assert_array_equal(samples[:, 0], np.where(expected == 1, x[0], baseline[0]))


@pytest.mark.parametrize(("length", "cells"), [(9, 3), (7, 4), (5, 5), (3, 7), (1, 4), (4, 1)])
def test_interpolation_is_opencvs(length: int, cells: int) -> None:
    values = noise(cells, 1)
    expected = cv2.resize(values, (1, length), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(interpolation(length, cells) @ values, expected, atol=1e-5)
