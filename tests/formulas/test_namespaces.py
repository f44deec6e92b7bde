"""Both namespaces, numpy's in float64 and that of nodes, give the same right result."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.special
from formulas.nodes import from_nodes, wide
from numpy.testing import assert_allclose, assert_array_equal
from references.resize import upsample_half_pixel
from tiny import Array

from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY

Random = np.random.Generator


def floats(random: Random, *shape: int) -> Array:
    return random.normal(size=shape).astype(np.float32)


def shape(random: Random, rank: int = 4) -> tuple[int, ...]:
    return tuple(int(size) for size in random.integers(1, 6, rank))


def any_axes(random: Random) -> tuple[int, ...]:
    """Some of the last three axes of four, the batch not among them."""
    count = int(random.integers(1, 4))
    return tuple(int(axis) for axis in random.permutation([-1, -2, -3])[:count])


Made = tuple[Callable[..., Any], Callable[..., Any], Sequence[Array]]
"""A call of the namespace, the same in plain numpy, and the arguments of both."""


def reduction(name: str) -> Callable[[Random], Made]:
    def make(random: Random) -> Made:
        axes, keep = any_axes(random), bool(random.integers(2))
        axis = axes[0] if len(axes) == 1 else axes
        return (
            lambda xp, a: getattr(xp, name)(a, axis=axis, keepdims=keep),
            lambda a: getattr(np, name)(a, axis=axis, keepdims=keep),
            [floats(random, *shape(random))],
        )

    return make


def elementwise(
    name: str, plain: Callable[..., Any], *, positive: bool = False
) -> Callable[[Random], Made]:
    def make(random: Random) -> Made:
        a = floats(random, *shape(random)) * 8
        return lambda xp, a: getattr(xp, name)(a), plain, [np.abs(a) if positive else a]

    return make


def softmax(random: Random) -> Made:
    axis = any_axes(random)[0]
    return (
        lambda xp, a: xp.softmax(a, axis=axis),
        lambda a: scipy.special.softmax(a, axis=axis),
        [30 * floats(random, *shape(random))],
    )


def maximum(random: Random) -> Made:
    a, b = floats(random, 2, 3, 4), floats(random, 1, 3, 1)
    if random.integers(2):
        return lambda xp, a: xp.maximum(a, 0.0), lambda a: a * (a > 0), [a]
    return lambda xp, a, b: xp.maximum(a, b), np.maximum, [a, np.repeat(b, 2, axis=0)]


def where(random: Random) -> Made:
    a, b = floats(random, *(2, 3, 4)), floats(random, 2, 3, 1)
    threshold = float(random.normal())
    return (
        lambda xp, a, b: xp.where(a > threshold, a, b) + xp.where(b == 0, 0.0, 1.0),
        lambda a, b: np.where(a > threshold, a, b) + (b != 0),
        [a, b * (random.random(b.shape) < 0.5).astype(np.float32)],
    )


def matmul(random: Random) -> Made:
    n, *rest = shape(random)
    rows, inner, columns = rest
    a, b = floats(random, n, 2, rows, inner), floats(random, n, 2, inner, columns)
    return lambda xp, a, b: xp.matmul(a, b), lambda a, b: np.einsum("...ij,...jk", a, b), [a, b]


def combined(random: Random) -> Made:
    weights, a = random.normal(size=(3, 2, 5)), random.normal(size=(3, 5, 4))
    return (
        lambda xp, weights, a: xp.combined(weights, a),
        lambda weights, a: np.einsum("nik,nkc->nic", weights, a),
        [weights, a],
    )


def weighted(random: Random) -> Made:
    n, channels, *grid = shape(random)
    a = floats(random, n, channels, *grid)
    weights = floats(random, n, channels, *(grid if random.integers(2) else (1, 1)))

    def plain(weights: Array, a: Array) -> Array:
        return np.einsum("nkij,nkij->nij", np.broadcast_to(weights, a.shape), a)

    return lambda xp, weights, a: xp.weighted(weights, a), plain, [weights, a]


def flatten(random: Random) -> Made:
    a = floats(random, *shape(random))
    return lambda xp, a: xp.flatten(a), lambda a: a.reshape(len(a), -1), [a]


def parts(random: Random) -> Made:
    """One of several arrays whose elements are joined in a row."""
    shapes = [shape(random, rank) for rank in (1, 3, 2)]
    pieces = [floats(random, 4, *own) for own in shapes]
    place = int(random.integers(3))
    rows = np.concatenate([piece.reshape(4, -1) for piece in pieces], axis=1)
    return lambda xp, a: xp.parts(a, shapes)[place], lambda _: np.float64(pieces[place]), [rows]


def take(random: Random) -> Made:
    a = floats(random, *shape(random, 2))
    index = random.integers(0, a.shape[1], len(a))
    plain = lambda a, index: np.array([row[i] for row, i in zip(a, index, strict=True)])  # noqa: E731
    if random.integers(2):
        same = int(index[0]) - a.shape[1] * int(random.integers(2))
        return lambda xp, a: xp.take(a, same), lambda a: a.T[same], [a]
    return lambda xp, a, index: xp.take(a, index), plain, [a, index]


RANKS = 3


def ranked(random: Random) -> Made:
    """Rows of few different numbers, so that many are equal; then the first class comes first."""
    a = random.integers(0, 3, (20, 7)).astype(np.float32)
    codes = random.integers(-RANKS, 7, 20)

    def plain(a: Array, codes: Array) -> Array:
        orders = [sorted(range(7), key=lambda i, row=row: (-row[i], i)) for row in a]
        return np.array([o[-1 - c] if c < 0 else c for o, c in zip(orders, codes, strict=True)])

    return lambda xp, a, codes: xp.ranked(a, codes), plain, [a, codes]


def clip(random: Random) -> Made:
    a, low = floats(random, 2, 3, 4), -np.abs(floats(random, 2, 1, 1))
    return lambda xp, a, low: xp.clip(a, low, -low), lambda a, low: np.clip(a, low, -low), [a, low]


def stack(random: Random) -> Made:
    a, b = (floats(random, 2, 3, 4) for _ in "ab")
    return lambda xp, *ab: xp.stack(ab), lambda a, b: np.stack([a, b], axis=1), [a, b]


def percentile(random: Random) -> Made:
    a, share = floats(random, 3, *shape(random, 2)), float(random.choice([0, 30.5, 99, 100]))

    def plain(a: Array) -> Array:
        rows = np.sort(a.reshape(3, -1), axis=1)
        place = share / 100 * (rows.shape[1] - 1)
        return np.array([[[np.interp(place, np.arange(len(row)), row)]] for row in rows])

    return lambda xp, a: xp.percentile(a, share), plain, [a]


def resize(random: Random) -> Made:
    a = floats(random, 2, 3, *shape(random, 2))
    size = tuple(
        int(old + new) for old, new in zip(a.shape[-2:], random.integers(0, 9, 2), strict=True)
    )

    def plain(a: Array) -> Array:
        grids = a.reshape(-1, *a.shape[-2:])
        large = np.stack([upsample_half_pixel(grid, size) for grid in grids])
        return large.reshape(*a.shape[:2], *size)

    return lambda xp, a: xp.resize(a, size), plain, [a]


def along(random: Random) -> Made:
    a, axis = floats(random, *shape(random)), int(random.integers(-3, 0))
    matrix = floats(random, 4, a.shape[axis])

    def plain(a: Array) -> Array:
        return np.moveaxis(np.einsum("ij,...j->...i", matrix, np.moveaxis(a, axis, -1)), -1, axis)

    return lambda xp, a: xp.along(matrix, a, axis), plain, [a]


def constant(random: Random) -> Made:
    a, given = floats(random, 2, 3, 4), floats(random, 3, 1)
    return lambda xp, a: xp.constant(given) * a, lambda a: given * a, [a]


def filled(random: Random) -> Made:
    a, given = floats(random, 2, 3, 4), floats(random, 1, 3, 1)
    return lambda xp, a: xp.filled(given, (1, 3, 4)) * a, lambda a: given * a, [a]


def one_hot(random: Random) -> Made:
    index = random.integers(-1, 4, shape(random, 2))

    def plain(index: Array) -> Array:
        return np.array([[[float(i == j) for j in range(4)] for i in row] for row in index])

    return lambda xp, index: xp.one_hot(index, 4), plain, [index]


def first_largest(random: Random) -> Made:
    a = random.integers(0, 3, (2, 5, 4)).astype(np.float32)  # with equal elements

    def plain(a: Array) -> Array:
        return np.moveaxis(np.eye(5)[a.argmax(axis=1)], -1, 1)

    return lambda xp, a: xp.first_largest(a, axis=-2), plain, [a]


def unflattened(random: Random) -> Made:
    a = floats(random, 2, 3, 12)
    return lambda xp, a: xp.unflattened(a, (3, 4)), lambda a: a.reshape(2, 3, 3, 4), [a]


def merged(random: Random) -> Made:
    a = floats(random, 2, *shape(random, 3))
    return lambda xp, a: xp.merged(a), lambda a: a.reshape(*a.shape[:2], -1), [a]


def transposed(random: Random) -> Made:
    return lambda xp, a: xp.transposed(a), lambda a: a.swapaxes(2, 3), [floats(random, 2, 3, 4, 5)]


def integers(call: Callable[..., Any], plain: Callable[..., float]) -> Callable[[Random], Made]:
    """A function of integers below 2^23, which float32 holds."""

    def make(random: Random) -> Made:
        every = np.vectorize(lambda *ab: plain(*map(int, ab)), otypes=[np.float64])
        count = plain.__code__.co_argcount
        return call, every, list(random.integers(0, 2**23, (count, 3, 4)))

    return make


CASES: dict[str, Callable[[Random], Made]] = {
    **{name: reduction(name) for name in ("sum", "mean", "max", "min")},
    "abs": elementwise("abs", np.abs),
    "sqrt": elementwise("sqrt", np.sqrt, positive=True),
    "exp": elementwise("exp", np.exp),
    "log": elementwise("log", np.log, positive=True),
    "cos": elementwise("cos", np.cos),
    "sin": elementwise("sin", np.sin),
    "wide": elementwise("wide", np.float64),
    "along": along,
    "constant": constant,
    "filled": filled,
    "one_hot": one_hot,
    "first_largest": first_largest,
    "unflattened": unflattened,
    "merged": merged,
    "transposed": transposed,
    "whole": integers(lambda xp, a: xp.whole(a) - xp.whole(3), lambda a: a - 3),
    "bit_and": integers(lambda xp, a: xp.bit_and(a, 0xF0F0F), lambda a: a & 0xF0F0F),
    "bit_xor": integers(lambda xp, a, b: xp.bit_xor(a, b), lambda a, b: a ^ b),
    "shifted": integers(lambda xp, a: xp.shifted(a, 5), lambda a: a >> 5),
    "real": integers(lambda xp, a: xp.real(a) / 2.0, lambda a: a / 2),
    "sigmoid": elementwise("sigmoid", scipy.special.expit),
    "tanh": elementwise("tanh", np.tanh),
    "softmax": softmax,
    "maximum": maximum,
    "where": where,
    "matmul": matmul,
    "combined": combined,
    "weighted": weighted,
    "flatten": flatten,
    "parts": parts,
    "take": take,
    "ranked": ranked,
    "clip": clip,
    "stack": stack,
    "percentile": percentile,
    "resize": resize,
}
ROUNDED = {"resize": 1e-7}
"""The weights of the interpolation are float32 in both."""

APART = {"principal", "leading", "rows", "true_places"}
"""A direction has no sign, and the others are for one picture in numpy, and for many in a graph."""


def test_every_function_is_among_these() -> None:
    assert {name for name in vars(Namespace) if not name.startswith("_")} == {*CASES, *APART}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CASES)
def test_numpy_and_nodes_say_what_is_right(name: str, seed: int) -> None:
    call, plain, given = CASES[name](np.random.default_rng(seed))
    exact = [np.asarray(wide(one)) for one in given]
    expected = plain(*exact)
    found = call(NUMPY, *exact)
    assert found.shape == expected.shape
    close = ROUNDED.get(name, 1e-12)
    assert_allclose(found, expected, rtol=close, atol=close * np.abs(expected).max())
    written = from_nodes(lambda xp, *a: {"y": call(xp, *a)}, *given, ranks=RANKS)["y"]
    assert written.shape == expected.shape
    assert_allclose(written, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("place", [0, 3])
def test_rows_of_the_samples_of_many_pictures(place: int) -> None:
    """Arrays of numpy are the same for all pictures."""
    random = np.random.default_rng(0)
    a, same, index = floats(random, 3, 5, 2), floats(random, 5, 2), random.integers(0, 5, (3, 5))

    def formula(xp: Any, a: Any, index: Any) -> dict[str, Any]:
        part = xp.whole([place])
        own = xp.rows(index, part)
        found = {"same": xp.rows(same, part), "of same": xp.rows(same, own)}
        return found | {"own": xp.rows(a, part), "of own": xp.rows(a, own)}

    found = from_nodes(formula, a, index)
    for i in range(3):
        alone = {"same": same[[place]], "of same": same[index[i, [place]]]}
        alone |= {"own": a[i, [place]], "of own": a[i, index[i, [place]]]}
        for name, expected in alone.items():
            picture = found[name][i] if name != "same" else found[name]
            assert_array_equal(picture, expected)
            if name == "own":
                assert_array_equal(NUMPY.rows(a[i], slice(place, place + 1)), expected)


def test_where_conditions_hold() -> None:
    given = np.array([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], np.float32)

    def formula(xp: Any, a: Any) -> dict[str, Any]:
        places, count = xp.true_places(a > 0)
        return {"places": places, "count": count}

    found = from_nodes(formula, given)
    assert_array_equal(found["places"], [[1, 3, 4, -1, -1], [-1] * 5, [0, -1, -1, -1, -1]])
    assert found["count"] == 3
    for row, places in zip(given, ([1, 3, 4], [], [0]), strict=True):
        alone, count = NUMPY.true_places(row > 0)
        assert_array_equal(alone, places)
        assert count == len(places)


def test_of_equal_elements_the_first_ranks_first() -> None:
    a = np.array([[1, 3, 3, 3], [2, 2, 2, 2]], np.float32)
    for code in (-1, -2, -3):
        codes = np.full(2, code)
        expected = [-code, -code - 1]
        assert_array_equal(NUMPY.ranked(a, codes), expected)
        for ranks in range(-code, RANKS + 1):
            found = from_nodes(lambda xp, *g: {"y": xp.ranked(*g)}, a, codes, ranks=ranks)
            assert_array_equal(found["y"], expected)


def test_more_ranks_than_elements() -> None:
    a, codes = np.array([[0, 1]], np.float32), np.array([-2])
    assert from_nodes(lambda xp, *g: {"y": xp.ranked(*g)}, a, codes, ranks=5)["y"] == [0]


SIZES = [(3, 4, 5), (20, 2, 3), (4, 2, 2), (1, 3, 3), (5, 1, 1)]
"""Fewer channels than cells, more, as many, one, and one cell."""


def volume(
    random: Random, strengths: Sequence[float], size: tuple[int, ...]
) -> tuple[Array, Array]:
    """One (channels, rows, columns) with these singular values, and its strongest map."""
    channels, rows, columns = size
    count = min(len(strengths), channels, rows * columns)
    u, v = (
        np.linalg.qr(random.normal(size=(length, length)))[0][:, :count]
        for length in (channels, rows * columns)
    )
    strong = np.array(strengths[:count])
    return (u * strong @ v.T).reshape(size), (strong[0] * v[:, 0]).reshape(rows, columns)


def both(a: Array) -> list[dict[str, Array]]:
    """The map and the share by numpy in float64, and by nodes."""

    def call(xp: Any, a: Any) -> dict[str, Any]:
        return dict(zip(("map", "share"), xp.principal(a), strict=True))

    return [call(NUMPY, np.asarray(wide(a))), from_nodes(call, a)]


def up_to_sign(maps: Array, like: Array) -> Array:
    signs = np.sign((maps * like).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(maps * signs)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("strengths", "tolerance"),
    [
        ((7.0, 3.0, 2.0, 0.1), 3e-6),
        ((1e-6, 1e-7), 3e-6),
        ((3e5, 2e5), 3e-6),
        ((1.0, 0.995, 0.3), 1e-4),  # squares 1 % apart
    ],
)
def test_the_first_principal_direction(
    size: tuple[int, ...], strengths: tuple[float, ...], tolerance: float
) -> None:
    random = np.random.default_rng(0)
    drawn = [volume(random, strengths, size) for _ in range(3)]
    a, maps = (np.stack(parts).astype(np.float32) for parts in zip(*drawn, strict=True))
    squares = np.array(strengths[: min(len(strengths), size[0], size[1] * size[2])]) ** 2
    for found, close in zip(both(a), (tolerance, tolerance), strict=True):
        assert_allclose(up_to_sign(found["map"], maps), maps, atol=close * np.abs(maps).max())
        assert_allclose(found["share"], np.full(3, squares[0] / squares.sum()), rtol=close)


@pytest.mark.parametrize("size", SIZES)
def test_of_equal_directions_any_may_be_taken(size: tuple[int, ...]) -> None:
    a, _ = volume(np.random.default_rng(1), (2.0, 2.0, 1.0), size)
    count = min(size[0], size[1] * size[2], 3)
    for found in both(a[None].astype(np.float32)):
        assert_allclose((found["map"] ** 2).sum(), 4, rtol=1e-5)
        assert_allclose(found["share"], [4 / sum([4, 4, 1][:count])], rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_volume_of_zeros_beside_another(size: tuple[int, ...]) -> None:
    a, own = volume(np.random.default_rng(2), (2.0, 1.0), size)
    for found in both(np.stack([np.zeros(size), a]).astype(np.float32)):
        assert_array_equal(found["map"][0], np.zeros(size[1:]))
        assert found["share"][0] == 0
        assert_allclose(up_to_sign(found["map"][1], own), own, atol=1e-5)


def symmetric(random: Random, eigenvalues: Sequence[float]) -> tuple[Array, Array]:
    """A matrix with these eigenvalues, and the eigenvector of the first."""
    count = len(eigenvalues)
    vectors = np.linalg.qr(random.normal(size=(count, count)))[0]
    return vectors * np.array(eigenvalues) @ vectors.T, vectors[:, 0]


def leading_of_both(a: Array) -> list[dict[str, Array]]:
    """The largest eigenvalue and its vector by numpy in float64, and by nodes."""

    def call(xp: Any, a: Any) -> dict[str, Any]:
        return dict(zip(("value", "vector"), xp.leading(a), strict=True))

    return [call(NUMPY, np.asarray(wide(a))), from_nodes(call, a)]


@pytest.mark.parametrize(
    ("eigenvalues", "tolerance"),
    [
        ((7.0, 3.0, 2.0, 0.1, 0.0), 1e-5),
        ((2.0, 1.0, -1.9, -1.99), 1e-5),
        ((1.0, 0.5, -6.0), 1e-5),  # the largest size belongs to a negative one
        ((-1.0, -2.0, -3.0), 1e-5),
        ((3e20, 1e20), 1e-5),
        ((3e-20, 1e-20, -2e-20), 1e-5),
        ((1.0, 0.99, 0.3, -0.4), 1e-4),
        ((5.0,), 1e-6),
    ],
)
def test_the_largest_eigenvalue(eigenvalues: tuple[float, ...], tolerance: float) -> None:
    random = np.random.default_rng(0)
    drawn = [symmetric(random, eigenvalues) for _ in range(3)]
    a, vectors = (np.stack(parts) for parts in zip(*drawn, strict=True))
    for found in leading_of_both(a.astype(np.float32)):
        assert_allclose(found["value"], np.full((3, 1), eigenvalues[0]), rtol=tolerance)
        signs = np.sign((found["vector"] * vectors).sum(axis=1, keepdims=True))
        assert_allclose(found["vector"] * signs, vectors, atol=tolerance)


def test_nearly_equal_eigenvalues_are_mixed() -> None:
    """The vector lies in the plane of both eigenvectors, and the value between the two."""
    a, _ = symmetric(np.random.default_rng(3), (1.0, 0.9999, 0.1, -0.5))
    plane = np.linalg.eigh(a)[1][:, -2:]
    for found in leading_of_both(a[None].astype(np.float32)):
        assert_allclose(np.linalg.norm(found["vector"][0] @ plane), 1, atol=1e-5)
        assert 0.9998 < found["value"][0, 0] < 1.0001


def test_a_matrix_of_zeros_beside_another() -> None:
    own, vector = symmetric(np.random.default_rng(4), (2.0, -1.0))
    for found in leading_of_both(np.stack([np.zeros((2, 2)), own]).astype(np.float32)):
        assert_array_equal(found["vector"][0], [0, 0])
        assert found["value"][0] == 0
        assert_allclose(np.abs(found["vector"][1]), np.abs(vector), atol=1e-5)
