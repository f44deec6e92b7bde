"""Tensors that go from round to round of a Loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ValueInfoProto, helper

from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.regions import Regions


@dataclass(frozen=True, eq=False)
class _State:
    """A tensor that goes from round to round.

    `outer` is its name after the Loop, `initial` the tensor that it is before the first round,
    `entering` its name in the body, and `leaving` the tensor that it becomes.
    """

    outer: str
    initial: gs.Tensor
    entering: str
    leaving: gs.Tensor
    kind: int


class States:
    """All states of a Loop, whose body is the region `body` of `g`."""

    def __init__(self, g: Regions, body: gs.Graph) -> None:
        """Start without states."""
        self._g, self._body = g, body
        self._states: list[_State] = []

    def carried(self, outer: str) -> gs.Tensor:
        """A state as it enters the body, by its name after the Loop."""
        return self._g.tensor(f"{PREFIX}carried/{outer}")

    def carry(
        self,
        outer: str,
        leaving: gs.Tensor,
        dtype: np.dtype[Any] | type,
        initial: gs.Tensor | None = None,
        entering: str = "",
    ) -> None:
        """Make `leaving` a state, which is `outer` after the Loop.

        It starts as `initial`, or as a number that is not read. `entering` is its name in the body,
        if it is not that of `carried`.
        """
        with self._g.inside(self._body):
            own = self._g.Identity(leaving)  # no input of the body may be an output, too
        start = self.nothing(dtype) if initial is None else initial
        name = entering or str(self.carried(outer).name)
        kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        self._states.append(_State(outer, start, name, own, kind))

    def kept(
        self, first: gs.Tensor, new: Mapping[str, gs.Tensor], dtypes: Mapping[str, Any]
    ) -> dict[str, gs.Tensor]:
        """The tensors `new` of the round in which `first` was true last, by name after the Loop."""
        before = [self.carried(name) for name in new]
        found = self._g.either(first, lambda: list(new.values()), lambda: before)
        now = dict(zip(new, found, strict=True))
        for name, tensor in now.items():
            self.carry(name, tensor, dtypes[name])
        return now

    def nothing(self, dtype: np.dtype[Any] | type, shape: Sequence[int] = ()) -> gs.Tensor:
        """Zeros that are not read, made before the Loop."""
        with self._g.inside(self._g.outermost):
            return self._g.Cast(np.zeros(tuple(shape), np.float32), to=np.dtype(dtype).type)

    @property
    def initial(self) -> list[str]:
        """The names of the tensors that the states start as."""
        return [str(state.initial.name) for state in self._states]

    @property
    def outer(self) -> list[str]:
        """The names of the states after the Loop."""
        return [state.outer for state in self._states]

    @property
    def inputs(self) -> list[ValueInfoProto]:
        """The states as inputs of the body; their sizes may differ from round to round."""
        return [
            helper.make_tensor_value_info(state.entering, state.kind, None)
            for state in self._states
        ]

    @property
    def outputs(self) -> list[ValueInfoProto]:
        """The states as outputs of the body."""
        return [
            helper.make_tensor_value_info(state.leaving.name, state.kind, None)
            for state in self._states
        ]
