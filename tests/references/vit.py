"""A small vision transformer as ONNX, and in float64 numpy, where its attention can be changed.

Six patches on a grid of 2 x 3, eight features, two heads, two pre-norm blocks, four classes. With
a class token the score is read from it, else from the mean of the patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from scipy.special import softmax
from tiny import noise, tiny

Array = NDArray[Any]

BLOCKS, HEADS, FEATURES, GRID, CLASSES = 2, 2, 8, (2, 3), 4
PICTURE = noise(1, 3, 8, 12, seed=9)

_STEM = """
  cells = Conv <strides = [4, 4]> (x, patch) flat = Reshape (cells, columns)
  t = Transpose <perm = [0, 2, 1]> (flat) tokens = {joined} z0 = Add (tokens, place)
"""
_BLOCK = """
  n{i} = LayerNormalization (z{i}, g{i}, h{i})
  q{i} = MatMul (n{i}, wq{i}) k{i} = MatMul (n{i}, wk{i}) v{i} = MatMul (n{i}, wv{i})
  {attended}
  o{i} = MatMul (a{i}, wo{i}) r{i} = Add (z{i}, o{i})
  m{i} = LayerNormalization (r{i}, g{i}, h{i}) u{i} = MatMul (m{i}, wu{i}) e{i} = Tanh (u{i})
  d{i} = MatMul (e{i}, wd{i}) z{next} = Add (r{i}, d{i})
"""
_PLAIN = """
  qs{i} = Reshape (q{i}, apart) qh{i} = Transpose <perm = [0, 2, 1, 3]> (qs{i})
  ks{i} = Reshape (k{i}, apart) kh{i} = Transpose <perm = [0, 2, 3, 1]> (ks{i})
  vs{i} = Reshape (v{i}, apart) vh{i} = Transpose <perm = [0, 2, 1, 3]> (vs{i})
  p{i} = MatMul (qh{i}, kh{i}) s{i} = Mul (p{i}, scale) w{i} = Softmax <axis = -1> (s{i})
  b{i} = MatMul (w{i}, vh{i}) c{i} = Transpose <perm = [0, 2, 1, 3]> (b{i})
  a{i} = Reshape (c{i}, whole)
"""
_PACKED = "a{i} = com.microsoft.Attention <num_heads = 2> (n{i}, wqkv{i}, nothing)"
_FUSED = "a{i} = com.microsoft.MultiHeadAttention <num_heads = 2> (q{i}, k{i}, v{i})"


@dataclass(frozen=True)
class ViT:
    """Both forms of the transformer, on the same weights."""

    class_token: bool = True
    weights: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        shapes = {"patch": (FEATURES, 3, 4, 4), "head": (FEATURES, CLASSES)}
        shapes["place"] = (1, self.tokens, FEATURES)
        shapes["first"] = (1, 1, FEATURES)
        for i in range(BLOCKS):
            shapes |= {f"{name}{i}": (FEATURES, FEATURES) for name in ("wq", "wk", "wv", "wo")}
            shapes |= {f"wu{i}": (FEATURES, 16), f"wd{i}": (16, FEATURES)}
            shapes |= {f"{name}{i}": (FEATURES,) for name in "gh"}
        drawn = {name: 0.6 * noise(*s, seed=n) for n, (name, s) in enumerate(shapes.items())}
        object.__setattr__(self, "weights", drawn)

    @property
    def tokens(self) -> int:
        return GRID[0] * GRID[1] + self.class_token

    def onnx(self, *, fused: bool = False, packed: bool = False) -> ModelProto:
        """The model, its attention in plain operators or in one of ONNX Runtime's own.

        The `packed` one also projects the tokens.
        """
        joined = "Concat <axis = 1> (first, t)" if self.class_token else "Identity (t)"
        attended = _PACKED if packed else _FUSED if fused else _PLAIN
        blocks = "".join(
            _BLOCK.format(i=i, next=i + 1, attended=attended.format(i=i)) for i in range(BLOCKS)
        )
        mean = "ReduceMean <axes = [1], keepdims = 0> (last)"
        picked = "Gather <axis = 1> (last, zero)" if self.class_token else mean
        end = (
            f"last = LayerNormalization (z{BLOCKS}, g0, h0) mean = {picked} y = MatMul (mean, head)"
        )
        constants = {
            "columns": np.array([0, FEATURES, -1]),
            "apart": np.array([0, 0, HEADS, -1]),
            "whole": np.array([0, 0, FEATURES]),
            "zero": np.array(0),
        }
        if packed:
            constants["nothing"] = np.zeros(3 * FEATURES, np.float32)
            for i in range(BLOCKS):
                parts = [self.weights[f"{name}{i}"] for name in ("wq", "wk", "wv")]
                constants[f"wqkv{i}"] = np.concatenate(parts, axis=1)
        return tiny(
            _STEM.format(joined=joined) + blocks + end,
            "float[1,3,8,12] x",
            f"float[1,{CLASSES}] y",
            domains=["com.microsoft"],
            scale=np.float32(0.5),
            **constants,
            **self.weights,
        )

    def start(self, x: Array) -> Array:
        """The tokens before the first block."""
        rows, columns = GRID
        patches = x[0].astype(np.float64).reshape(3, rows, 4, columns, 4)
        cells = np.einsum("crykx,fcyx->rkf", patches, self["patch"])
        tokens = cells.reshape(rows * columns, FEATURES)
        if self.class_token:
            tokens = np.concatenate([self["first"][0], tokens])
        return tokens + self["place"][0]

    def attention(self, z: Array, block: int) -> Array:
        """(heads, tokens, tokens)."""
        n = self.norm(z, block)
        q, k = (heads(n @ self[f"{name}{block}"]) for name in ("wq", "wk"))
        return softmax(q @ k.transpose(0, 2, 1) / 2, axis=-1)

    def after(self, z: Array, block: int, attention: Array) -> Array:
        """The tokens after a block with the given attention."""
        v = heads(self.norm(z, block) @ self[f"wv{block}"])
        joined = (attention @ v).transpose(1, 0, 2).reshape(len(z), FEATURES)
        r = z + joined @ self[f"wo{block}"]
        return r + np.tanh(self.norm(r, block) @ self[f"wu{block}"]) @ self[f"wd{block}"]

    def head(self, z: Array) -> Array:
        """Scores of the classes from the tokens after the last block."""
        last = self.norm(z, 0)
        return (last[0] if self.class_token else last.mean(axis=0)) @ self["head"]

    def states(self, x: Array) -> list[Array]:
        """The tokens before and after each block."""
        states = [self.start(x)]
        for block in range(BLOCKS):
            states.append(self.after(states[-1], block, self.attention(states[-1], block)))
        return states

    def norm(self, z: Array, block: int) -> Array:
        """The tokens, normalized as in a block."""
        centered = z - z.mean(axis=1, keepdims=True)
        spread = np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
        return centered / spread * self[f"g{block}"] + self[f"h{block}"]

    def __getitem__(self, name: str) -> Array:
        return self.weights[name].astype(np.float64)


def rollout(matrices: Sequence[Array]) -> Array:
    """Abnar and Zuidema, from attention averaged over heads, (tokens, tokens)."""
    flow = np.eye(matrices[0].shape[-1])
    for heads in matrices:
        flow = (0.5 * heads.mean(axis=0) + 0.5 * np.eye(len(flow))) @ flow
    return flow


def legrad(net: ViT, x: Array, index: int, blocks: int = BLOCKS, *, link: Any = None) -> Array:
    """Bousselham et al., one number for each token, with gradients by central differences."""
    states, step, rows = net.states(x), 1e-4, []
    for block in range(BLOCKS - blocks, BLOCKS):
        z, a = states[block], net.attention(states[block], block)

        def score(attention: Array, z: Array = z, block: int = block) -> float:
            after = net.after(z, block, attention)
            answers = net.head(np.broadcast_to(after.mean(axis=0), after.shape))
            return float((answers if link is None else link(answers))[index])

        slopes = np.zeros_like(a)
        for place in np.ndindex(*a.shape):
            nudge = np.zeros_like(a)
            nudge[place] = step
            slopes[place] = (score(a + nudge) - score(a - nudge)) / (2 * step)
        rows.append(np.maximum(slopes, 0).mean(axis=(0, 1)))
    return np.mean(rows, axis=0)


def heads(x: Array) -> Array:
    """(heads, tokens, features of a head)."""
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)
