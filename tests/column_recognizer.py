"""A text recognizer with a closed form, and pictures of texts that it reads.

A step is the mean color of a cell of 8 rows and 4 columns. The logit of "a", "b" and "c" is GAIN
times the red, green or blue of the cell minus the mean of the two others, and that of the blank is
GAIN / 2.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto
from tiny import Array, tiny

from onnxplain.images.preprocess import Preprocess

ROWS, COLUMNS = 8, 4
GAIN = 12.0
BLANK_LOGIT = GAIN / 2
COLORS = {"a": (255, 0, 0), "b": (0, 255, 0), "c": (0, 0, 255), "-": (0, 0, 0)}
AS_IT_IS = Preprocess(size=(ROWS, None), scale=1 / 255)

NTC, TNC = "float[N,T,4] y", "float[T,N,4] y"
ENDS = {
    "NTC": ("y = Identity(z)", NTC),
    "NTC softmax": ("y = Softmax <axis = -1> (z)", NTC),
    "TNC": ("y = Transpose <perm = [1, 0, 2]> (z)", TNC),
    "TNC softmax": ("s = Softmax <axis = -1> (z) y = Transpose <perm = [1, 0, 2]> (s)", TNC),
    "TNC log": (
        "t = Transpose <perm = [1, 0, 2]> (z) r = Reshape (t, rows) "
        "q = LogSoftmax <axis = 1> (r) size = Shape (t) y = Reshape (q, size)",
        TNC,
    ),
    "NCT": ("y = Transpose <perm = [0, 2, 1]> (z)", "float[N,4,T] y"),
}
"""The end of the model by the order of its axes and its activation: nodes that read (N, T, 4)."""


def weights(gain: float = GAIN, blank: int = 0) -> tuple[Array, Array]:
    """From the mean color of a cell to the logits: (3, 4), and the bias (4,)."""
    colors = gain * (1.5 * np.eye(3) - 0.5)
    bias = np.zeros(4)
    bias[blank] = gain / 2
    return np.insert(colors, blank, 0, axis=1).astype(np.float32), bias.astype(np.float32)


def recognizer(
    end: str = "TNC", *, batch: int | str = "N", width: int | str = "W", blank: int = 0
) -> ModelProto:
    """The model, which ends as in `ENDS`; the width is open by default."""
    nodes, output = ENDS[end]
    matrix, bias = weights(blank=blank)
    open_axes = {"N": str(batch), "T": "T" if width == "W" else str(int(width) // COLUMNS)}
    for letter, size in open_axes.items():
        output = output.replace(f"{letter},", f"{size},").replace(f",{letter}]", f",{size}]")
    body = (
        "cells = AveragePool <kernel_shape = [8, 4], strides = [8, 4]> (x) "
        "grid = Squeeze (cells, rows_axis) moved = Transpose <perm = [0, 2, 1]> (grid) "
        f"product = MatMul (moved, matrix) z = Add (product, bias) {nodes}"
    )
    return tiny(
        body,
        f"float[{batch},3,{ROWS},{width}] x",
        output,
        matrix=matrix,
        bias=bias,
        rows_axis=np.array([2]),
        rows=np.array([-1, 4]),
    )


def picture(path: str) -> Array:
    """A picture of cells, uint8 (8, 4 · cells, 3): a letter for its color, "-" for black."""
    cells = np.array([COLORS[letter] for letter in path], np.uint8)
    return np.broadcast_to(np.repeat(cells, COLUMNS, axis=0), (ROWS, COLUMNS * len(path), 3)).copy()


def logits(x: Array, blank: int = 0) -> Array:
    """The logits of samples (N, 3, 8, columns), float64 (N, T, 4)."""
    matrix, bias = weights(blank=blank)
    cells = x.astype(np.float64).reshape(len(x), 3, ROWS, -1, COLUMNS).mean(axis=(2, 4))
    return np.moveaxis(cells, 1, 2) @ matrix + bias
