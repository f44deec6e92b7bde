"""Both methods of Chefer, Gur and Wolf on the small vision transformer, in float64 numpy.

Relevance follows their code of 2021 (Transformer-Explainability, `ViT_LRP.py`), element by element.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.vit import BLOCKS, FEATURES, ViT, heads

Array = NDArray[Any]
Link = Callable[[Array], Array]
STEP = 1e-4


def generic_attention(
    net: ViT, x: Array, index: int, blocks: int = BLOCKS, *, link: Link | None = None
) -> Array:
    """R − I, averaged over the rows of the tokens that are read."""
    states, slopes = net.states(x), gradients(net, x, index, link)
    matrices = [net.attention(states[block], block) for block in range(BLOCKS)]
    return followed(net, matrices, slopes, blocks)


def transformer_attribution(net: ViT, x: Array, index: int, blocks: int = BLOCKS) -> Array:
    """The same with relevance in place of attention."""
    return followed(net, relevance(net, x, index), gradients(net, x, index), blocks)


def followed(net: ViT, matrices: list[Array], slopes: list[Array], blocks: int) -> Array:
    r = np.eye(net.tokens)
    for matrix, slope in list(zip(matrices, slopes, strict=True))[-blocks:]:
        r = r + np.maximum(slope * matrix, 0).mean(axis=0) @ r
    r -= np.eye(net.tokens)
    return r[0] if net.class_token else r.mean(axis=0)


def gradients(net: ViT, x: Array, index: int, link: Link | None = None) -> list[Array]:
    """Of the score at each block's attention, by central differences."""
    states, found = net.states(x), []
    for block in range(BLOCKS):
        attention = net.attention(states[block], block)
        slopes = np.zeros_like(attention)
        for place in np.ndindex(*attention.shape):
            nudge = np.zeros_like(attention)
            nudge[place] = STEP
            more, less = (
                _score(net, states[block], block, attention + sign * nudge, index, link)
                for sign in (1, -1)
            )
            slopes[place] = (more - less) / (2 * STEP)
        found.append(slopes)
    return found


def _score(
    net: ViT, z: Array, block: int, attention: Array, index: int, link: Link | None
) -> float:
    z = net.after(z, block, attention)
    for later in range(block + 1, BLOCKS):
        z = net.after(z, later, net.attention(z, later))
    answers = net.head(z)
    return float((answers if link is None else link(answers))[index])


def relevance(net: ViT, x: Array, index: int) -> list[Array]:
    """Of each block's attention, (heads, tokens, tokens)."""
    states, found = net.states(x), []
    last = net.norm(states[-1], 0)
    r = np.zeros_like(last)
    one = np.eye(net["head"].shape[1])[index : index + 1]
    if net.class_token:
        r[:1] = positive(last[:1], net["head"], one)
    else:
        mean = last.mean(axis=0, keepdims=True)
        r = last / len(last) * positive(mean, net["head"], one) / mean
    for block in reversed(range(BLOCKS)):
        r, own = _through(net, states[block], block, r)
        found.insert(0, own)
    return found


def _through(net: ViT, z: Array, block: int, r: Array) -> tuple[Array, Array]:
    """Relevance of the tokens before a block, and of its attention, from that of those after it."""
    w = {name: net[f"{name}{block}"] for name in ("wq", "wk", "wv", "wo", "wu", "wd")}
    n, attention = net.norm(z, block), net.attention(z, block)
    q, k, v = (heads(n @ w[name]) for name in ("wq", "wk", "wv"))
    b = attention @ v
    joined = b.transpose(1, 0, 2).reshape(len(z), FEATURES)
    o = joined @ w["wo"]
    middle = z + o
    m = net.norm(middle, block)
    e = np.tanh(m @ w["wu"])
    r_middle, r_mlp = residual(middle, e @ w["wd"], r)
    r_middle = r_middle + positive(m, w["wu"], positive(e, w["wd"], r_mlp))
    r_z, r_o = residual(z, o, r_middle)
    r_b = heads(positive(joined, w["wo"], r_o))
    r_attention, r_v = product(attention, v, r_b)
    r_q, r_kt = product(q, k.transpose(0, 2, 1), r_attention)
    parts = {"wq": r_q, "wk": r_kt.transpose(0, 2, 1), "wv": r_v}
    for name, part in parts.items():
        r_z = r_z + positive(n, w[name], part.transpose(1, 0, 2).reshape(len(z), FEATURES))
    return r_z, r_attention


def positive(x: Array, w: Array, r: Array) -> Array:
    """z⁺: each x_i w_ij above 0 gets its share of r_j; where there is none, r_j is lost."""
    found = np.zeros_like(x)
    for t, j in np.ndindex(len(x), w.shape[1]):
        shares = np.maximum(x[t] * w[:, j], 0)
        if shares.any():
            found[t] += shares / shares.sum() * r[t, j]
    return found


def residual(a: Array, b: Array, r: Array) -> tuple[Array, Array]:
    """Shares of both terms of a sum, of which the totals are then set."""
    shares = [term / (a + b) * r for term in (a, b)]
    sums = [share.sum() for share in shares]
    size = sum(abs(one) for one in sums)
    first, second = (
        share * (abs(one) / size * r.sum()) / one for share, one in zip(shares, sums, strict=True)
    )
    return first, second


def product(a: Array, b: Array, r: Array) -> tuple[Array, Array]:
    """Half of the relevance of a @ b to each, in proportion to the a_ij b_jk."""
    ratio = r / (a @ b) / 2
    return a * (ratio @ b.transpose(0, 2, 1)), b * (a.transpose(0, 2, 1) @ ratio)
