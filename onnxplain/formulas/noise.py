"""Noise by a formula: numpy and graphs give the same numbers.

Each number depends only on the seed, the index of its sample and that of its element, so that no
batch size and no order of runs changes it.
"""

from __future__ import annotations

from collections.abc import Callable
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


Drawn = Callable[[Any], Any]
"""From the indices of samples, int64 (b,), to their noise, float32 (b, ...)."""


def normal(xp: Namespace, seed: int, shape: tuple[int, ...]) -> Drawn:
    """Standard normal noise, (b, *shape).

    Two uniform numbers make two normal ones (Box and Muller, "A Note on the Generation of Random
    Normal Deviates", 1958), in the first and in the second half of the elements.
    """
    count = prod(shape)
    pairs = -(-count // 2)
    radii, angles = (_uniform(xp, seed, start, pairs) for start in (0, pairs))
    turns = np.array([[0.0], [0.25]], np.float32)  # the sine is the cosine a quarter earlier
    rest = [(1,)] * (count % 2)

    def drawn(index: Any) -> Any:
        radius = xp.sqrt(-2.0 * xp.log(xp.unflattened(radii(index), (1, pairs))))
        angle = (xp.unflattened(angles(index), (1, pairs)) - turns) * (2 * pi)
        return xp.parts(xp.flatten(radius * xp.cos(angle)), [shape, *rest])[0]

    return drawn


def uniform(xp: Namespace, seed: int, shape: tuple[int, ...]) -> Drawn:
    """Uniform noise between 0 and 1, never 0 or 1, (b, *shape)."""
    flat = _uniform(xp, seed, 0, prod(shape))
    return lambda index: xp.unflattened(flat(index), shape)


def _uniform(xp: Namespace, seed: int, start: int, count: int) -> Drawn:
    """Uniform numbers of the elements from `start`, (b, count).

    The elements are hashed before the key of the sample is added: else a sample could hold the
    numbers of another one, moved by the difference of their keys.
    """
    of_seed = _hashed(xp, xp.whole([seed & _MASK]))
    elements = _hashed(xp, xp.whole(np.arange(start, start + count)))

    def drawn(index: Any) -> Any:
        key = _hashed(xp, xp.bit_and(of_seed + xp.whole(index) * xp.whole(_GOLDEN), _MASK))
        moved = elements + xp.unflattened(key, (key.shape[-1], 1))
        bits = _hashed(xp, xp.bit_and(moved, _MASK))
        share = (xp.real(xp.shifted(bits, _BITS - _SIGNIFICANT)) + 0.5) * 2.0**-_SIGNIFICANT
        # Half a step keeps it above 0; the largest number would round to 1.
        return -xp.maximum(-share, -(1 - 2.0**-_SIGNIFICANT))

    return drawn


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
