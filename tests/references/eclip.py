"""Grad-ECLIP on the small vision transformer, in float64 numpy, from its paper's formula."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.vit import BLOCKS, FEATURES, ViT, heads

Array = NDArray[Any]
STEP = 1e-4


def grad_eclip(net: ViT, x: Array, score: Callable[[Array], float], blocks: int = 1) -> Array:
    """One number for each patch, with gradients by central differences.

    `score` is a number read from the answers.
    """
    states = net.states(x)
    total = np.zeros(net.tokens - 1)
    for block in range(BLOCKS - blocks, BLOCKS):
        z = states[block]
        n = net.norm(z, block)
        q, k, v = (n @ net[f"{name}{block}"] for name in ("wq", "wk", "wv"))
        joined = (net.attention(z, block) @ heads(v)).transpose(1, 0, 2).reshape(len(z), FEATURES)
        w = np.zeros(FEATURES)
        for c in range(FEATURES):
            nudge = np.zeros_like(joined)
            nudge[0, c] = STEP
            more, less = (_score(net, z, block, joined + s * nudge, score) for s in (1, -1))
            w[c] = (more - less) / (2 * STEP)
        cosines = np.array([q[0] @ k[i] / _length(q[0]) / _length(k[i]) for i in range(1, len(z))])
        loose = (cosines - cosines.min()) / (cosines.max() - cosines.min())
        total += np.maximum((w * loose[:, None] * v[1:]).sum(axis=1), 0)
    return total


def _score(net: ViT, z: Array, block: int, joined: Array, score: Callable[[Array], float]) -> float:
    """The score, if the heads of a block give `joined`, (tokens, features)."""
    middle = z + joined @ net[f"wo{block}"]
    z = middle + np.tanh(net.norm(middle, block) @ net[f"wu{block}"]) @ net[f"wd{block}"]
    for later in range(block + 1, BLOCKS):
        z = net.after(z, later, net.attention(z, later))
    return float(score(net.head(z)))


def _length(x: Array) -> float:
    return float(np.sqrt((x**2).sum()))
