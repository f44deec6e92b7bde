"""A detector with a closed form, and a picture on which it finds three boxes.

It has fixed boxes, one for each cell of three grids. Its scores are sigmoids of the mean red of a
cell of 8 pixels and of the mean green of a cell of 16 pixels.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, numpy_helper
from tiny import Array, tiny

SIDE = 64
STRIDES = (8, 16, 32)
CELLS = [(SIDE // stride) ** 2 for stride in STRIDES]
GAIN, SHIFT = 12.0, -6.0


def boxes() -> Array:
    """Center, width and height of each cell's box, (4, boxes)."""
    found = []
    for stride, count in zip(STRIDES, CELLS, strict=True):
        row, column = np.mgrid[: SIDE // stride, : SIDE // stride].reshape(2, -1)
        side = np.full(count, stride)
        found.append(np.stack([(column + 0.5) * stride, (row + 0.5) * stride, side, side]))
    return np.concatenate(found, axis=1).astype(np.float32)


BOXES = boxes()


def detector(metadata: bool = False, corners: bool = False) -> ModelProto:
    """(N, 4 + 2, boxes), as Ultralytics exports it, or with `corners` as LibreYOLO does."""
    half = BOXES[2:] / 2
    fixed = np.concatenate([BOXES[:2] - half, BOXES[:2] + half]) if corners else BOXES
    kernels = {}
    for stride in STRIDES:
        kernel = np.zeros((2, 3, stride, stride), np.float32)
        kernel[0, 0] = GAIN / stride**2 if stride == 8 else 0
        kernel[1, 1] = GAIN / stride**2 if stride == 16 else 0
        kernels[f"k{stride}"] = kernel
    heads = "".join(
        f"c{s} = Conv<strides=[{s},{s}]>(x, k{s}, shift) f{s} = Reshape(c{s}, flat) "
        for s in STRIDES
    )
    made = tiny(
        f"""{heads} z = Concat<axis=2>(f8, f16, f32) p = Sigmoid(z)
        zero = Mul(z, nothing) pair = Concat<axis=1>(zero, zero) b = Add(pair, fixed)
        y = Concat<axis=1>(b, p)""",
        f"float[N,3,{SIDE},{SIDE}] x",
        f"float[N,6,{sum(CELLS)}] y",
        shift=np.full(2, SHIFT, np.float32),
        nothing=np.float32(0),
        fixed=fixed[None],
        **kernels,
    )
    made.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, -1]), "flat"))
    if metadata:
        entries = {"task": "detect", "names": "{0: 'red', 1: 'green'}", "stride": "32"}
        for key, value in entries.items():
            made.metadata_props.add(key=key, value=value)
    return made


def picture() -> Array:
    """Red where two cells of the finest grid are, green where one of the middle grid is."""
    found = np.zeros((SIDE, SIDE, 3), np.uint8)
    found[8:16, 16:24, 0] = 255
    found[48:56, 40:48, 0] = 230
    found[16:32, 32:48, 1] = 255
    return found
