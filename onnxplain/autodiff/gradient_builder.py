"""The builder for rules: writes nodes as expressions, and knows types and shapes of tensors."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.autodiff.table import Rules
from onnxplain.errors import GradientError
from onnxplain.model.constants import constant_value
from onnxplain.model.model import Model
from onnxplain.model.shapes import Dims, infer_specs
from onnxplain.tensors import Array, TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder, Value
from onnxplain.transforms.paired import paired_name

F32 = np.float32
"""Constants in rules are written `F32(2)`: every gradient is float32."""

_ON_SIZES: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Div": lambda a, b: np.trunc(a / b).astype(np.int64),
    "Max": np.maximum,
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "ReduceProd": lambda x, keepdims=1: np.prod(x, keepdims=bool(keepdims)),
    "Squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else tuple(axes)),
    "Sub": np.subtract,
}
"""Operators on sizes that are computed immediately where all inputs are constant."""


@dataclass(frozen=True)
class WalkContext:
    """The walk that calls the rules.

    `needed` are the forward tensors whose gradient is read; rules need not compute others.
    `carried` are tensors that hold the score itself, up to rounding and order. `makers` are the
    nodes of the walk, by the names of their outputs.
    """

    rules: Rules
    needed: frozenset[str]
    carried: frozenset[str]
    makers: Mapping[str, NodeView]


class GradientBuilder(Builder):
    """A `Builder` that knows shapes and constants of the forward graph.

    Arithmetic on int64 constants, such as static sizes, gives constants.

    `specs` are the inferred types and shapes by name: a dimension is an int where it is static, a
    str where it only has a name, None where it is unknown. `value_of` returns the value of a
    constant, None for other tensors. `walk` is the walk that calls the rules, see `during`.
    """

    walk: WalkContext

    def __init__(
        self,
        opset: int,
        specs: Mapping[str, TensorSpec],
        value_of: Callable[[str], Array | None],
        prefix: str = PREFIX + "grad/",
    ) -> None:
        """Start without nodes."""
        super().__init__(gs.Graph(opset=opset), prefix)
        self._specs = dict(specs)
        self._value_of = value_of
        self._shapes: dict[str, Tensor] = {}
        self._tensors: dict[str, Tensor] = {}

    @classmethod
    def of_model(cls, model: Model, prefix: str = PREFIX + "grad/") -> Self:
        """A builder for nodes that are appended to a model."""
        value_of = functools.partial(constant_value, model)
        return cls(model.opset, infer_specs(model.proto), value_of, prefix)

    def during(self, walk: WalkContext) -> Self:
        """A builder for the same graph, for the rules of one walk."""
        view = copy.copy(self)
        view.walk = walk
        return view

    def many(self, op: str, count: int, *inputs: Any, **attributes: Any) -> list[Tensor]:
        """Add one node and return its `count` outputs; constant results add no node."""
        sizes = [_size(value) for value in inputs] if op in _ON_SIZES else [None]
        if any(size is None for size in sizes):
            return super().many(op, count, *inputs, **attributes)
        return [self.constant(_ON_SIZES[op](*sizes, **attributes))]

    def spec(self, tensor: Tensor) -> TensorSpec | None:
        """Element type and shape of a forward tensor, None if nothing is known."""
        return self._specs.get(tensor.name)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the forward graph."""
        return self._tensors.setdefault(name, gs.Variable(name))

    def paired(self, tensor: Tensor, twin: str) -> Tensor:
        """The tensor for the sample `twin`, see `transforms.paired`; `tensor` if not copied."""
        name = paired_name(twin, tensor.name)
        return self.tensor(name) if name in self._specs else tensor

    def in_place_of(self, tensor: Tensor, made: Tensor) -> Tensor:
        """`made`, with the known type and shape of the forward tensor `tensor` from now on."""
        if tensor.name in self._specs:
            self._specs[made.name] = self._specs[tensor.name]
        return made

    def dims(self, tensor: Tensor) -> Dims | None:
        """The dimensions of a forward tensor, None if not even the rank is known."""
        spec = self._specs.get(tensor.name)
        return None if spec is None else spec.shape

    def differentiable(self, tensor: Tensor) -> bool:
        """Whether a forward tensor can have a gradient: integers, booleans and strings cannot."""
        spec = self._specs.get(tensor.name)
        return spec is None or spec.dtype.kind not in "biuSU"

    def dtype(self, tensor: Tensor) -> np.dtype[Any] | None:
        """The element type of a forward tensor, None if it is not known."""
        spec = self._specs.get(tensor.name)
        return None if spec is None or spec.dtype.kind == "O" else spec.dtype

    def static_dims(self, tensor: Tensor) -> tuple[int, ...] | None:
        """The dimensions, None unless all of them are static."""
        dims = self.dims(tensor)
        static = tuple(d for d in dims or () if isinstance(d, int))
        return static if dims is not None and len(static) == len(dims) else None

    def rank(self, tensor: Tensor) -> int:
        """Number of axes.

        Raises:
            GradientError: it cannot be inferred.
        """
        dims = self.dims(tensor)
        if dims is None:
            raise GradientError(
                f"The rank of {tensor.name!r} cannot be inferred, and its gradient needs it: "
                "simplify the model (constant folding), or use a method without gradients."
            )
        return len(dims)

    def axis(self, tensor: Tensor, axis: int) -> int:
        """The non-negative form of an axis."""
        return axis + self.rank(tensor) if axis < 0 else axis

    def value(self, tensor: Tensor | None) -> Array | None:
        """The value of a constant; None for other tensors, and for an omitted input."""
        if isinstance(tensor, gs.Constant):
            return tensor.values
        return None if tensor is None else self._value_of(tensor.name)

    def resolved(self, tensor: Tensor) -> Tensor | Array:
        """The value of a constant; another tensor is returned as it is."""
        value = self.value(tensor)
        return tensor if value is None else value

    def ints(self, tensor: Tensor | None) -> list[int] | None:
        """The value of a constant of integers as a list; None for other tensors."""
        value = self.value(tensor)
        return None if value is None else [int(v) for v in value.ravel()]

    def shape(self, tensor: Tensor) -> Tensor:
        """The shape as int64: a constant where it is static, else one Shape node per tensor."""
        if tensor.name not in self._shapes:
            dims = self.static_dims(tensor)
            static = None if dims is None else self.constant(np.array(dims, np.int64))
            self._shapes[tensor.name] = self.Shape(tensor) if static is None else static
        return self._shapes[tensor.name]

    def dim(self, tensor: Tensor, axis: int) -> Tensor:
        """One dimension as int64 (1,): a constant where it is static."""
        size = self.static_dim(tensor, axis)
        if size is None:
            return self.Gather(self.shape(tensor), [axis], axis=0)
        return self.constant(np.array([size], np.int64))

    def static_dim(self, tensor: Tensor, axis: int) -> int | None:
        """One dimension, None where it is known only at run time."""
        dims = self.dims(tensor)
        size = None if dims is None else dims[axis]
        return size if isinstance(size, int) else None

    def vector(self, *sizes: Value | int) -> Tensor:
        """Vectors and single numbers joined to one int64 vector."""
        parts = (np.array([one]) if isinstance(one, int) else one for one in sizes)
        return self.Concat(*parts, axis=0)

    def arange(self, stop: Tensor) -> Tensor:
        """0, 1, ..., stop - 1 as int64."""
        return self.Range(np.int64(0), self.Squeeze(stop), np.int64(1))

    def sum(self, x: Tensor, axes: Sequence[int], keepdims: bool = True) -> Tensor:
        """ReduceSum over `axes`; `x` itself where there are none."""
        if not axes:
            return x
        return self.ReduceSum(x, np.array(sorted(axes)), keepdims=int(keepdims))

    def total(self, *parts: Tensor | None) -> Tensor:
        """The sum of the parts that are not None; at least one must not be."""
        given = [part for part in parts if part is not None]
        return self.Sum(*given) if len(given) > 1 else given[0]

    def like(self, dx: Tensor, x: Tensor) -> Tensor:
        """`dx` reshaped to the shape of `x`."""
        return self.sized(dx, self.shape(x))

    def sized(self, dx: Tensor, shape: Tensor) -> Tensor:
        """`dx` reshaped to `shape`, in which 0 means no elements, as after an empty selection.

        For Reshape alone, 0 means the size of the same axis before.
        """
        known = self.value(shape)
        may_be_empty = known is None or not known.all()
        return self.Reshape(dx, shape, **({"allowzero": 1} if may_be_empty else {}))

    def zeros_like(self, x: Tensor) -> Tensor:
        """Zeros of the shape of `x`."""
        return self.Expand(F32(0), self.shape(x))

    def where(self, condition: Tensor, dy: Tensor) -> Tensor:
        """`dy` where a condition of the same shape holds, 0 elsewhere."""
        return self.Where(condition, dy, F32(0))

    def above(self, x: Tensor, limit: Tensor | float = 0.0) -> Tensor:
        """1.0 where `x` is above `limit`, 0.0 elsewhere."""
        return self.as_float(self.Greater(x, limit))

    def below(self, x: Tensor, limit: Tensor | float) -> Tensor:
        """1.0 where `x` is below `limit`, 0.0 elsewhere."""
        return self.as_float(self.Less(x, limit))

    def complement(self, p: Tensor) -> Tensor:
        """1 - p for `p` between 0 and 1."""
        return self.Sub(F32(1), p)

    def square(self, x: Tensor) -> Tensor:
        """`x` times itself."""
        return self.Mul(x, x)

    def inverse(self, x: Tensor) -> Tensor:
        """1 / x, and 0 where `x` is 0, so that the gradient is 0 and not infinite."""
        return self.Where(self.Equal(x, F32(0)), F32(0), self.Reciprocal(x))

    def as_float(self, x: Value) -> Tensor:
        """`x` cast to float32; True becomes 1.0, False 0.0."""
        size = _size(x)
        if size is None:
            return self.Cast(x, to=TensorProto.FLOAT)
        return self.constant(size.astype(F32))

    def sum_to(self, dx: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Undo broadcasting: `dx`, of the shape of `y`, summed to the shape of `x`."""
        return self.unbroadcast(dx, self.dims(y), x)

    def unbroadcast(self, dx: Tensor, large: Dims | None, x: Tensor) -> Tensor:
        """`dx`, of dimensions `large` to which `x` was broadcast, summed to the shape of `x`."""
        small = self.dims(x)
        if small is None or large is None:
            return self._sum_to_dynamic(dx, x)
        extra = len(large) - len(small)
        pairs = list(zip(small, large[extra:], strict=True))
        if any(a is None or (isinstance(a, str) and a != b) for a, b in pairs):
            return self._sum_to_dynamic(dx, x)
        repeated = [extra + i for i, (a, b) in enumerate(pairs) if a == 1 and b != 1]
        summed = self.sum(dx, [*range(extra), *repeated])
        return self.like(summed, x) if extra else summed

    def _sum_to_dynamic(self, dx: Tensor, x: Tensor) -> Tensor:
        """The same for dimensions that are known only at run time."""
        missing = self.Sub(self.Size(self.Shape(dx)), self.Size(self.Shape(x)))
        ones = self.Expand([1], self.Reshape(missing, [1]))
        repeated = self.Not(self.Equal(self.Concat(ones, self.Shape(x), axis=0), self.Shape(dx)))
        axes = self.Reshape(self.NonZero(repeated), [-1])
        summed = self.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1)
        return self.sized(summed, self.Shape(x))


def _size(value: Any) -> Array | None:
    """A constant of int64, None for anything else."""
    if isinstance(value, gs.Tensor) and not isinstance(value, gs.Constant):
        return None
    array = np.asarray(value.values if isinstance(value, gs.Constant) else value)
    return array if array.dtype == np.int64 else None
