"""The part of onnx-graphsurgeon that onnxplain uses: the package has no types of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from onnx import ModelProto

class Tensor:
    name: str

class Variable(Tensor):
    dtype: DTypeLike | None
    shape: Sequence[int | str | None] | None

    def __init__(
        self,
        name: str,
        dtype: DTypeLike | None = None,
        shape: Sequence[int | str | None] | None = None,
    ) -> None: ...
    @staticmethod
    def empty() -> Tensor: ...

class Constant(Tensor):
    def __init__(self, name: str, values: NDArray[Any]) -> None: ...
    @property
    def values(self) -> NDArray[Any]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

class Node:
    op: str
    name: str
    attrs: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]
    domain: str | None

    def __init__(
        self,
        op: str,
        name: str,
        attrs: Mapping[str, Any],
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        domain: str | None = None,
    ) -> None: ...

class Graph:
    opset: int
    nodes: list[Node]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, nodes: list[Node] | None = None, *, opset: int) -> None: ...
    def tensors(self) -> dict[str, Tensor]: ...

def export_onnx(graph: Graph, do_type_check: bool = True) -> ModelProto: ...
