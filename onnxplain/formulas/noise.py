"""Noise by a formula: numpy and graphs give the same numbers.

Each number depends only on the seed, the index of its sample and that of its element, so that no
batch size and no order of runs changes it.
"""

from __future__ import annotations

from math import pi, prod
from typing import Any

import numpy as np

from onnxplain.formulas.namespace import Namespace

_BITS = 32
_MASK = 2**_BITS - 1

_GOLDEN = 0x9E3779B9
"""2³² divided by the golden ratio: keys of successive samples are far apart."""

_FACTORS = (0x7FEB352D, 0x846CA68B)
_SHIFTS = (16, 15, 16)
"""Of a hash of 32 bits with little bias (Wellons, "Prospecting for Hash Functions", 2018)."""

_SIGNIFICANT = 24
"""Bits that float32 holds exactly."""


def normal(xp: Namespace, seed: int, index: Any, shape: tuple[int, ...]) -> Any:
    """Standard normal noise, float32 (b, *shape), of the samples with the indices `index`, (b,).

    Two uniform numbers make two normal ones (Box and Muller, "A Note on the Generation of Random
    Normal Deviates", 1958), in the first and in the second half of the elements.
    """
    count = prod(shape)
    pairs = -(-count // 2)
    key = _key(xp, seed, index)
    radius = xp.sqrt(-2.0 * xp.log(_uniform(xp, key, 0, pairs)))
    turns = np.array([[0.0], [0.25]], np.float32)  # the sine is the cosine a quarter earlier
    angle = (xp.unflattened(_uniform(xp, key, pairs, pairs), (1, pairs)) - turns) * (2 * pi)
    both = xp.flatten(xp.unflattened(radius, (1, pairs)) * xp.cos(angle))
    rest = [(2 * pairs - count,)] if count % 2 else []
    return xp.parts(both, [shape, *rest])[0]


def uniform(xp: Namespace, seed: int, index: Any, count: int) -> Any:
    """Uniform noise between 0 and 1, never 0 or 1, float32 (b, count); `index` as for `normal`."""
    return _uniform(xp, _key(xp, seed, index), 0, count)


def _key(xp: Namespace, seed: int, index: Any) -> Any:
    """A number of 32 bits for each sample, (b, 1)."""
    of_seed = _hashed(xp, xp.whole([seed & _MASK]))
    key = _hashed(xp, xp.bit_and(of_seed + xp.whole(index) * xp.whole(_GOLDEN), _MASK))
    return xp.unflattened(key, (key.shape[-1], 1))


def _uniform(xp: Namespace, key: Any, start: int, count: int) -> Any:
    """Uniform numbers of the elements from `start`, (b, count).

    The elements are hashed before the key is added: else a sample could hold the numbers of
    another one, moved by the difference of the keys.
    """
    element = _hashed(xp, xp.whole(np.arange(start, start + count)))
    bits = _hashed(xp, xp.bit_and(element + key, _MASK))
    kept = xp.real(xp.shifted(bits, _BITS - _SIGNIFICANT))
    # Half a step keeps it above 0; the largest number would round to 1.
    share = (kept + 0.5) * 2.0**-_SIGNIFICANT
    return -xp.maximum(-share, -(1 - 2.0**-_SIGNIFICANT))


def _hashed(xp: Namespace, a: Any) -> Any:
    """A permutation of the integers of 32 bits, as int64.

    No product leaves int64: a factor of 2³¹ or more is used as the negative number with the same
    lowest 32 bits, and all other bits of the product are dropped.
    """
    for shift, factor in zip(_SHIFTS, (*_FACTORS, None), strict=True):
        a = xp.bit_xor(a, xp.shifted(a, shift))
        if factor is not None:
            near = factor if factor < 2 ** (_BITS - 1) else factor - 2**_BITS
            a = xp.bit_and(a * xp.whole(near), _MASK)
    return a
