"""The array namespace that writes a formula as nodes of a graph of opset 18 or newer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.formulas.eigenvectors import leading, principal
from onnxplain.formulas.namespace import Axes, interpolation_sizes
from onnxplain.interpolation import interpolation
from onnxplain.transforms.builder import Builder

Dims = tuple[int | None, ...]


def _operator(op: str, *, reverse: bool = False) -> Callable[[GraphArray, Any], GraphArray]:
    """A binary operator of arrays: it writes a node `op`, with swapped operands if `reverse`."""

    def applied(array: GraphArray, other: Any) -> GraphArray:
        pair = [array.tensor, _tensor(other)]
        tensor = getattr(array.g, op)(*(pair[::-1] if reverse else pair))
        return GraphArray(array.g, tensor, _common(array, other))

    return applied


@dataclass(frozen=True, eq=False)
class GraphArray:  # noqa: PLW1641 - equality is a node, so that there is no hash
    """A tensor of the graph that `g` adds nodes to. `dims` are its sizes, None if unknown."""

    g: Builder
    tensor: gs.Tensor
    dims: Dims

    __array_ufunc__ = None
    """None makes numpy use the operators of this class in expressions with numpy arrays."""

    @property
    def shape(self) -> Dims:
        """The sizes, None if unknown; the name is the same as for numpy arrays."""
        return self.dims

    __add__ = _operator("Add")
    __radd__ = __add__
    __mul__ = _operator("Mul")
    __rmul__ = __mul__
    __sub__ = _operator("Sub")
    __rsub__ = _operator("Sub", reverse=True)
    __truediv__ = _operator("Div")
    __rtruediv__ = _operator("Div", reverse=True)
    __gt__ = _operator("Greater")
    __ge__ = _operator("GreaterOrEqual")
    __lt__ = _operator("Less")
    __le__ = _operator("LessOrEqual")
    __eq__ = _operator("Equal")  # type: ignore[assignment]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.dims)

    def __ne__(self, other: object) -> GraphArray:  # type: ignore[override]
        return _operator("Equal")(self, other).made("Not")

    def __pow__(self, power: int) -> GraphArray:
        """A power with a whole exponent of at least 1, computed by products."""
        assert power >= 1, "powers are products"
        product = self
        for _ in range(1, power):
            product = product * self
        return product

    def __neg__(self) -> GraphArray:
        return self.made("Neg")

    def __bool__(self) -> bool:
        """Refuse conversion to bool, because values are known only when the graph runs.

        Raises:
            TypeError: always.
        """
        raise TypeError("A formula cannot branch on values of an array: use xp.where.")

    def made(
        self, op: str, *others: Any, dims: Dims | None = None, **attributes: Any
    ) -> GraphArray:
        """The result of an operator; `dims` are its sizes, by default those of this array."""
        tensor = getattr(self.g, op)(self.tensor, *others, **attributes)
        return GraphArray(self.g, tensor, self.dims if dims is None else dims)


def _reduced(op: str, a: GraphArray, axis: Axes, keepdims: bool = False) -> GraphArray:
    axes = (axis,) if isinstance(axis, int) else axis
    gone = {one % len(a.dims) for one in axes}
    kept = tuple(1 if i in gone else size for i, size in enumerate(a.dims))
    dims = kept if keepdims else tuple(size for i, size in enumerate(kept) if i not in gone)
    if all(a.dims[i] == 1 for i in gone):  # nothing to compute
        return a if keepdims else a.made("Squeeze", np.array(axes), dims=dims)
    return a.made(op, np.array(axes), dims=dims, keepdims=int(keepdims))


def _elementwise(op: str, a: GraphArray) -> GraphArray:
    return a.made(op)


class GraphNamespace:
    """See `Namespace`."""

    sum = staticmethod(functools.partial(_reduced, "ReduceSum"))
    mean = staticmethod(functools.partial(_reduced, "ReduceMean"))
    max = staticmethod(functools.partial(_reduced, "ReduceMax"))
    min = staticmethod(functools.partial(_reduced, "ReduceMin"))
    abs = staticmethod(functools.partial(_elementwise, "Abs"))
    sqrt = staticmethod(functools.partial(_elementwise, "Sqrt"))
    exp = staticmethod(functools.partial(_elementwise, "Exp"))
    log = staticmethod(functools.partial(_elementwise, "Log"))
    cos = staticmethod(functools.partial(_elementwise, "Cos"))
    sin = staticmethod(functools.partial(_elementwise, "Sin"))
    sigmoid = staticmethod(functools.partial(_elementwise, "Sigmoid"))
    tanh = staticmethod(functools.partial(_elementwise, "Tanh"))

    def __init__(self, g: Builder, ranks: int = 1) -> None:
        """Write nodes with `g`; `ranked` supports the codes from −1 to −`ranks`."""
        self.builder = g
        self._ranks = ranks

    def array(self, tensor: gs.Tensor, dims: Sequence[int | str | None]) -> GraphArray:
        """A tensor of the graph as an array; sizes in `dims` that are not int are unknown."""
        return GraphArray(
            self.builder, tensor, tuple(d if isinstance(d, int) else None for d in dims)
        )

    def softmax(self, a: GraphArray, axis: int) -> GraphArray:
        """See `Namespace`."""
        return a.made("Softmax", axis=axis)

    def maximum(self, a: Any, b: Any) -> GraphArray:
        """See `Namespace`."""
        array: GraphArray = a if isinstance(a, GraphArray) else b
        other = b if array is a else a
        if isinstance(other, int | float) and other == 0:
            return array.made("Relu")
        return array.made("Max", _tensor(other), dims=_common(array, other))

    def clip(self, a: GraphArray, low: Any, high: Any) -> GraphArray:
        """See `Namespace`."""
        dims = broadcast(_common(a, low), _common(a, high))
        return a.made("Max", _tensor(low)).made("Min", _tensor(high), dims=dims)

    def where(self, condition: GraphArray, a: Any, b: Any) -> GraphArray:
        """See `Namespace`."""
        arrays = [one for one in (condition, a, b) if isinstance(one, GraphArray)]
        dims = functools.reduce(broadcast, [one.dims for one in arrays])
        return condition.made("Where", _tensor(a), _tensor(b), dims=dims)

    def matmul(self, a: GraphArray, b: GraphArray) -> GraphArray:
        """See `Namespace`."""
        dims = (*broadcast(a.dims[:-2], b.dims[:-2]), a.dims[-2], b.dims[-1])
        return a.made("MatMul", b.tensor, dims=dims)

    def weighted(self, weights: GraphArray, a: GraphArray) -> GraphArray:
        """See `Namespace`; a matrix product, because it reads the activation only once."""
        if weights.dims[-2:] != (1, 1):
            return self.sum(weights * a, axis=-3)
        g = self.builder
        row = g.Reshape(weights.tensor, np.array([0, 1, -1]))
        cells = g.MatMul(row, g.Reshape(a.tensor, np.array([0, 0, -1])))
        grid = g.Concat(np.array([0]), g.Shape(a.tensor, start=2), axis=0)
        return GraphArray(g, g.Reshape(cells, grid), (a.dims[0], *a.dims[2:]))

    def combined(self, weights: GraphArray, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        return self.matmul(weights, a)

    def flatten(self, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        inner = a.dims[1:]
        known = [size for size in inner if size is not None]
        elements = int(np.prod(known)) if len(known) == len(inner) else None
        return a.made("Flatten", axis=1, dims=(a.dims[0], elements))

    def parts(self, a: GraphArray, shapes: Sequence[tuple[int, ...]]) -> list[GraphArray]:
        """See `Namespace`."""
        g, sizes = self.builder, np.array([prod(shape) for shape in shapes])
        rows = g.many("Split", len(shapes), a.tensor, sizes, axis=1)
        return [
            GraphArray(g, g.Reshape(row, np.array([-1, *shape])), (a.dims[0], *shape))
            for row, shape in zip(rows, shapes, strict=True)
        ]

    def take(self, a: GraphArray, index: GraphArray | int) -> GraphArray:
        """See `Namespace`."""
        if not isinstance(index, GraphArray):
            dims = (a.dims[0], *a.dims[2:])
            return a.made("Gather", np.array(index, np.int64), dims=dims, axis=1)
        column = self.builder.Unsqueeze(index.tensor, np.array([1]))
        found = self.builder.GatherElements(a.tensor, column, axis=1)
        return GraphArray(self.builder, self.builder.Squeeze(found, np.array([1])), a.dims[:1])

    def ranked(self, a: GraphArray, codes: GraphArray) -> GraphArray:
        """See `Namespace`."""
        g = self.builder
        ranks = self._ranks if a.dims[-1] is None else min(self._ranks, a.dims[-1])
        if ranks == 1:
            places = g.ArgMax(a.tensor, axis=1, keepdims=0)
        else:
            _, order = g.many("TopK", 2, a.tensor, np.array([ranks]), axis=1)
            rank = g.Max(g.Sub(np.array(-1), codes.tensor), np.array(0))
            column = g.GatherElements(order, g.Unsqueeze(rank, np.array([1])), axis=1)
            places = g.Squeeze(column, np.array([1]))
        chosen = g.Where(g.Less(codes.tensor, np.array(0)), places, codes.tensor)
        return GraphArray(g, chosen, codes.dims)

    def stack(self, arrays: Sequence[GraphArray]) -> GraphArray:
        """See `Namespace`."""
        g, (first, *_) = self.builder, arrays
        parts = [g.Unsqueeze(one.tensor, np.array([1])) for one in arrays]
        dims = (first.dims[0], len(arrays), *first.dims[1:])
        return GraphArray(g, g.Concat(*parts, axis=1), dims)

    def percentile(self, a: GraphArray, share: float) -> GraphArray:
        """See `Namespace`; the sizes of a sample must be known."""
        g, flat = self.builder, self.flatten(a)
        count = flat.dims[-1]
        assert count is not None, "the number of elements is not known"
        below, rest = divmod(share / 100 * (count - 1), 1)
        above = count - int(below)
        largest, _ = g.many("TopK", 2, flat.tensor, np.array([above]), axis=1)
        pair = [above - 1, max(above - 2, 0)]  # the elements on both sides, the smaller first
        weights = np.array([[1 - rest], [rest]], np.float32)
        between = g.MatMul(g.Gather(largest, np.array(pair), axis=1), weights)
        ones = [1] * (len(a.dims) - 1)
        return GraphArray(g, g.Reshape(between, np.array([-1, *ones])), (a.dims[0], *ones))

    def resize(self, a: GraphArray, size: tuple[int, int]) -> GraphArray:
        """See `Namespace`; two matrix products, because all runtimes support them."""
        down, across = (
            interpolation(new, old)
            for new, old in zip(size, interpolation_sizes(a.dims), strict=True)
        )
        tensor = self.builder.MatMul(down, self.builder.MatMul(a.tensor, across.T))
        return GraphArray(self.builder, tensor, (*a.dims[:-2], *size))

    def along(self, matrix: Any, a: GraphArray, axis: int) -> GraphArray:
        """See `Namespace`."""
        g, last = a.g, a.ndim + axis
        own = matrix if isinstance(matrix, GraphArray) else self.constant(matrix)
        dims = tuple(own.dims[0] if i == last else size for i, size in enumerate(a.dims))
        if axis == -2:
            return GraphArray(g, g.MatMul(own.tensor, a.tensor), dims)
        turned = g.Transpose(own.tensor, perm=[1, 0])
        if axis == -1:
            return GraphArray(g, g.MatMul(a.tensor, turned), dims)
        order = [*(i for i in range(a.ndim) if i != last), last]
        product = g.MatMul(g.Transpose(a.tensor, perm=order), turned)
        return GraphArray(g, g.Transpose(product, perm=np.argsort(order).tolist()), dims)

    def constant(self, a: Any) -> GraphArray:
        """See `Namespace`."""
        value = _constant(a) if np.asarray(a).dtype.kind == "f" else np.asarray(a)
        # Of an Identity, so that subgraphs read it from outside and do not store it again.
        return self.array(self.builder.Identity(value), value.shape)

    def filled(self, a: Any, shape: tuple[int, ...]) -> GraphArray:
        """See `Namespace`; operators broadcast, so that nothing is copied."""
        return a if isinstance(a, GraphArray) else self.constant(np.asarray(a, np.float32))

    def rows(self, a: Any, index: GraphArray) -> GraphArray:
        """See `Namespace`; an array of many pictures has an unknown first size."""
        array, g = a if isinstance(a, GraphArray) else self.constant(a), self.builder
        if array.dims[0] is not None:
            taken = g.Gather(array.tensor, index.tensor, axis=0)
            return GraphArray(g, taken, (*index.dims, *array.dims[1:]))
        dims = (None, index.dims[-1], *array.dims[2:])
        if index.ndim == 1:
            return GraphArray(g, g.Gather(array.tensor, index.tensor, axis=1), dims)
        own = g.Unsqueeze(index.tensor, np.array([2]))
        return GraphArray(g, g.GatherND(array.tensor, own, batch_dims=1), dims)

    def true_places(self, condition: GraphArray) -> tuple[GraphArray, GraphArray]:
        """See `Namespace`."""
        g, (*outer, places) = self.builder, condition.dims
        assert isinstance(places, int), "the number of places is not known"
        holds = g.Cast(condition.tensor, to=TensorProto.INT64)
        # The keys are places + 1 where the condition holds; they fall, so that the order is kept.
        keys = g.Mul(holds, np.arange(places, 0, -1))
        sorted_keys, order = g.many("TopK", 2, keys, np.array([places]), axis=-1)
        padded = g.Where(g.Greater(sorted_keys, np.array(0)), order, np.array(-1))
        counts = g.ReduceSum(holds, np.array([-1]), keepdims=0)
        count = g.ReduceMax(counts, np.array([0]), keepdims=0)
        return GraphArray(g, padded, (*outer, places)), GraphArray(g, count, ())

    def one_hot(self, index: GraphArray, count: int) -> GraphArray:
        """See `Namespace`."""
        g = self.builder
        same = g.Equal(g.Unsqueeze(index.tensor, np.array([-1])), np.arange(count))
        return GraphArray(g, g.Cast(same, to=TensorProto.FLOAT), (*index.dims, count))

    def first_largest(self, a: GraphArray, axis: int) -> GraphArray:
        """See `Namespace`; the size of the axis must be known."""
        count = a.dims[axis]
        assert count is not None, "the number of elements is not known"
        place = a.made("ArgMax", axis=a.ndim + axis, keepdims=1)
        every = np.arange(count).reshape(-1, *[1] * (-1 - axis))
        return place.made("Equal", every, dims=a.dims).made("Cast", to=TensorProto.FLOAT)

    def unflattened(self, a: GraphArray, shape: tuple[int | None, ...]) -> GraphArray:
        """See `Namespace`; one of the sizes may be unknown."""
        sizes = np.array([*[0] * (a.ndim - 1), *(-1 if n is None else n for n in shape)])
        return a.made("Reshape", sizes, dims=(*a.dims[:-1], *shape))

    def merged(self, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        outer = a.dims[:-2]
        size = prod(interpolation_sizes(a.dims))
        return a.made("Reshape", np.array([*(0 for _ in outer), size]), dims=(*outer, size))

    def transposed(self, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        *outer, rows, columns = a.dims
        order = [*range(len(outer)), len(outer) + 1, len(outer)]
        return a.made("Transpose", perm=order, dims=(*outer, columns, rows))

    def whole(self, a: Any) -> GraphArray:
        """See `Namespace`."""
        if isinstance(a, GraphArray):
            return a
        value = np.asarray(a, np.int64)
        if value.ndim and (np.diff(value) == 1).all():
            # Not stored: there may be one for each element of the input.
            ends = (np.array(end) for end in (value[0], value[-1] + 1, 1))
            return self.array(self.builder.Range(*ends), value.shape)
        return self.array(self.builder.constant(value), value.shape)

    def bit_and(self, a: GraphArray, b: int) -> GraphArray:
        """See `Namespace`."""
        return a.made("BitwiseAnd", np.array(b))

    def bit_xor(self, a: GraphArray, b: GraphArray) -> GraphArray:
        """See `Namespace`."""
        return a.made("BitwiseXor", b.tensor, dims=broadcast(a.dims, b.dims))

    def shifted(self, a: GraphArray, bits: int) -> GraphArray:
        """See `Namespace`."""
        return a.made("Div", np.array(2**bits))

    def real(self, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        return a.made("Cast", to=TensorProto.FLOAT)

    def wide(self, a: GraphArray) -> GraphArray:
        """See `Namespace`."""
        return a

    def principal(self, a: GraphArray) -> tuple[GraphArray, GraphArray]:
        """See `Namespace`."""
        batch = a.dims[:-3]
        maps, share = principal(self.builder, a.tensor, a.dims[-3:])
        return self.array(maps, (*batch, *a.dims[-2:])), self.array(share, batch)

    def leading(self, a: GraphArray) -> tuple[GraphArray, GraphArray]:
        """See `Namespace`."""
        value, vector = leading(self.builder, a.tensor)
        return self.array(value, (*a.dims[:-2], 1)), self.array(vector, a.dims[:-1])


def broadcast(a: Dims, b: Dims) -> Dims:
    """The sizes of two arrays after broadcasting; None where an unknown size decides."""
    length = max(len(a), len(b))
    pairs = zip((1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b, strict=True)
    return tuple(x if y == 1 else y if x == 1 or x is None else x for x, y in pairs)


def _common(a: GraphArray, b: Any) -> Dims:
    return broadcast(a.dims, b.dims if isinstance(b, GraphArray) else np.shape(b))


def _constant(value: Any) -> Any:
    """Numbers and arrays of numbers as float32, the dtype that the nodes compute in."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind in "fiu" else array


def _tensor(value: Any) -> Any:
    return value.tensor if isinstance(value, GraphArray) else _constant(value)
