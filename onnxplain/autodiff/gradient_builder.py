"""What rules write with: nodes as expressions, and what is known about tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.table import Rules
from onnxplain.errors import GradientError
from onnxplain.model.shapes import Dims
from onnxplain.tensors import Array, TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder, Value
from onnxplain.transforms.paired import twin_name

F32 = np.float32
"""Constants in rules are written `F32(2)`: every gradient is float32."""


@dataclass(frozen=True)
class WalkContext:
    """What rules may know of the walk that asks them.

    `needed` are the forward tensors whose gradient somebody asks for: what leads to others need not
    be computed. `carried` are those that hold the score itself, before it was rounded or moved.
    `makers` are the steps of the walk by the tensors that they make.
    """

    rules: Rules
    needed: frozenset[str]
    carried: frozenset[str]
    makers: Mapping[str, NodeView]


class GradientBuilder(Builder):
    """A `Builder` that knows shapes and constants of the forward graph.

    `specs` are the inferred types and shapes by name: a dimension is an int where it is static, a
    str where it is only named, None where nothing is known. `value_of` gives a constant's value,
    None for others. `walk` is what rules may know of the walk that asks them, see `during`.
    """

    walk: WalkContext

    def __init__(
        self,
        opset: int,
        specs: Mapping[str, TensorSpec],
        value_of: Callable[[str], Array | None],
        prefix: str = PREFIX + "grad/",
    ) -> None:
        """Start with nothing added."""
        super().__init__(gs.Graph(opset=opset), prefix)
        self._specs = dict(specs)
        self._value_of = value_of
        self._shapes: dict[str, gs.Tensor] = {}
        self._tensors: dict[str, gs.Tensor] = {}

    def inside(
        self, specs: Mapping[str, TensorSpec], value_of: Callable[[str], Array | None]
    ) -> GradientBuilder:
        """A builder for the body of a node, whose names differ from those outside."""
        return GradientBuilder(self.graph.opset, specs, value_of, self.body_prefix())

    def during(self, walk: WalkContext) -> Self:
        """A builder of the same graph, for the rules of one walk."""
        view = copy.copy(self)
        view.walk = walk
        return view

    def spec(self, tensor: gs.Tensor) -> TensorSpec | None:
        """Element type and shape of a forward tensor, None if nothing is known."""
        return self._specs.get(tensor.name)

    def tensor(self, name: str) -> gs.Tensor:
        """A tensor of the forward graph."""
        return self._tensors.setdefault(name, gs.Variable(name))

    def twin(self, tensor: gs.Tensor, twin: str) -> gs.Tensor:
        """The tensor of the paired copy, see `transforms.paired`; itself if it does not vary."""
        name = twin_name(twin, tensor.name)
        return self.tensor(name) if name in self._specs else tensor

    def in_place_of(self, tensor: gs.Tensor, made: gs.Tensor) -> gs.Tensor:
        """`made`, from now on known to be of the type and shape of a forward tensor."""
        if tensor.name in self._specs:
            self._specs[made.name] = self._specs[tensor.name]
        return made

    def dims(self, tensor: gs.Tensor) -> Dims | None:
        """The dimensions of a forward tensor, None if not even the rank is known."""
        spec = self._specs.get(tensor.name)
        return None if spec is None else spec.shape

    def differentiable(self, tensor: gs.Tensor) -> bool:
        """Whether a gradient may flow to a forward tensor: not to integers, booleans, strings."""
        spec = self._specs.get(tensor.name)
        return spec is None or spec.dtype.kind not in "biuSU"

    def dtype(self, tensor: gs.Tensor) -> np.dtype[Any] | None:
        """The element type of a forward tensor, None if it is not known."""
        spec = self._specs.get(tensor.name)
        return None if spec is None or spec.dtype.kind == "O" else spec.dtype

    def static_dims(self, tensor: gs.Tensor) -> tuple[int, ...] | None:
        """The dimensions, None unless all of them are static."""
        dims = self.dims(tensor)
        if dims is None or not all(isinstance(d, int) for d in dims):
            return None
        return tuple(d for d in dims if isinstance(d, int))

    def rank(self, tensor: gs.Tensor) -> int:
        """Number of axes.

        Raises:
            GradientError: shape inference could not tell.
        """
        dims = self.dims(tensor)
        if dims is None:
            raise GradientError(
                f"The rank of {tensor.name!r} cannot be inferred, and its gradient needs it: "
                "simplify the model (constant folding), or use a method without gradients."
            )
        return len(dims)

    def axis(self, tensor: gs.Tensor, axis: int) -> int:
        """An axis counted from the front."""
        return axis + self.rank(tensor) if axis < 0 else axis

    def value(self, tensor: gs.Tensor | None) -> Array | None:
        """The value of a constant; None for anything else, and for an input left out."""
        return None if tensor is None else self._value_of(tensor.name)

    def ints(self, tensor: gs.Tensor | None) -> list[int] | None:
        """The value of a constant of integers as a list."""
        value = self.value(tensor)
        return None if value is None else [int(v) for v in value.ravel()]

    def shape(self, tensor: gs.Tensor) -> gs.Tensor:
        """The shape as int64: a constant where it is static, else one Shape node per tensor."""
        if tensor.name not in self._shapes:
            dims = self.static_dims(tensor)
            static = None if dims is None else self.constant(np.array(dims, np.int64))
            self._shapes[tensor.name] = self.Shape(tensor) if static is None else static
        return self._shapes[tensor.name]

    def dim(self, tensor: gs.Tensor, axis: int) -> gs.Tensor:
        """One dimension as int64 (1,): a constant where it is static."""
        dims = self.dims(tensor)
        size = None if dims is None else dims[axis]
        if isinstance(size, int):
            return self.constant(np.array([size], np.int64))
        return self.Gather(self.shape(tensor), np.array([axis]), axis=0)

    def sum(self, x: gs.Tensor, axes: Sequence[int], keepdims: bool = True) -> gs.Tensor:
        """ReduceSum over `axes`; `x` itself where there are none."""
        if not axes:
            return x
        return self.ReduceSum(x, np.array(sorted(axes)), keepdims=int(keepdims))

    def like(self, dx: gs.Tensor, x: gs.Tensor) -> gs.Tensor:
        """`dx` with its elements laid out in the shape of `x`."""
        return self.Reshape(dx, self.shape(x))

    def zeros_like(self, x: gs.Tensor) -> gs.Tensor:
        """Zeros of the shape of `x`."""
        return self.Expand(F32(0), self.shape(x))

    def where(self, condition: gs.Tensor, dy: gs.Tensor) -> gs.Tensor:
        """`dy` where a condition of the same shape holds, 0 elsewhere."""
        return self.Where(condition, dy, F32(0))

    def above(self, x: gs.Tensor, limit: gs.Tensor | float = 0.0) -> gs.Tensor:
        """1.0 where `x` is above `limit`, 0.0 elsewhere."""
        return self.indicator(self.Greater(x, limit))

    def below(self, x: gs.Tensor, limit: gs.Tensor | float) -> gs.Tensor:
        """1.0 where `x` is below `limit`, 0.0 elsewhere."""
        return self.indicator(self.Less(x, limit))

    def complement(self, p: gs.Tensor) -> gs.Tensor:
        """1 - p for `p` between 0 and 1."""
        return self.Sub(F32(1), p)

    def square(self, x: gs.Tensor) -> gs.Tensor:
        """`x` times itself."""
        return self.Mul(x, x)

    def inverse(self, x: gs.Tensor) -> gs.Tensor:
        """1 / x, and 0 where `x` is 0: no gradient rather than an infinite one."""
        return self.Where(self.Equal(x, F32(0)), F32(0), self.Reciprocal(x))

    def indicator(self, condition: Value) -> gs.Tensor:
        """1.0 where a condition holds, 0.0 elsewhere."""
        return self.Cast(condition, to=TensorProto.FLOAT)

    def sum_to(self, dx: gs.Tensor, x: gs.Tensor, y: gs.Tensor) -> gs.Tensor:
        """Undo broadcasting: `dx`, of the shape of `y`, summed to the shape of `x`."""
        return self.unbroadcast(dx, self.dims(y), x)

    def unbroadcast(self, dx: gs.Tensor, large: Dims | None, x: gs.Tensor) -> gs.Tensor:
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

    def _sum_to_dynamic(self, dx: gs.Tensor, x: gs.Tensor) -> gs.Tensor:
        """The same where sizes are known only at run time: sum where `x` has 1 and `dx` has not."""
        missing = self.Sub(self.Size(self.Shape(dx)), self.Size(self.Shape(x)))
        ones = self.Expand(np.array([1]), self.Reshape(missing, np.array([1])))
        repeated = self.Not(self.Equal(self.Concat(ones, self.Shape(x), axis=0), self.Shape(dx)))
        axes = self.Reshape(self.NonZero(repeated), np.array([-1]))
        summed = self.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1)
        return self.Reshape(summed, self.Shape(x))
