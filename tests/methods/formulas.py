"""Models of a few operators, whose scores and gradients are formulas."""

from typing import Any

import numpy as np
from tiny import tiny

from onnxplain import Explainer

Array = np.ndarray[Any, np.dtype[Any]]

LINEAR = "f = Flatten(x)  y = MatMul(f, W)"
"""<w, x>"""
QUADRATIC = "q = Mul(x, x)  f = Flatten(q)  y = MatMul(f, W)"
"""<w, x²>"""
CUBIC = "q = Mul(x, x)  c = Mul(x, q)  f = Flatten(c)  y = MatMul(f, W)"
"""<w, x³>"""


def explainer(nodes: str, weights: Array, batch_size: int | None = None) -> Explainer:
    """A model of a score made with `weights`, which have the shape of one sample."""
    shape = ",".join(map(str, weights.shape))
    column = weights.astype(np.float32).reshape(-1, 1)
    proto = tiny(nodes, f"float[N,{shape}] x", "float[N,1] y", W=column)
    return Explainer(proto, batch_size=batch_size)


def of_two(nodes: str, **constants: Array) -> Explainer:
    """A model of a score of two numbers, (N, 2)."""
    return Explainer(tiny(nodes, "float[N,2] x", "float[N,1] y", **constants))
