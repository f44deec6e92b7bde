# mypy: disable-error-code="no-untyped-call"
"""The same gradients by torch's autograd in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onnxplain.tensors import FloatArray

_SAME = 1e-3
"""How far apart, relative to the largest value, two computations of one tensor may be."""


class _Results(TorchFunctionMode):
    """Keeps what any function of torch returns, if it has the shape of one array."""

    def __init__(self, like: FloatArray) -> None:
        super().__init__()
        self._like = torch.from_numpy(like).double()
        self._scale = float(self._like.abs().max())
        self.kept: list[tuple[float, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.shape == self._like.shape and result.requires_grad:
            with torch._C.DisableTorchFunction():
                far = float((result.detach() - self._like).abs().max())
            self.kept.append((far / self._scale, result))
        return result

    @property
    def first(self) -> Tensor | None:
        """The first tensor that holds the values of the array."""
        return next((tensor for far, tensor in self.kept if far < _SAME), None)


def gradients(
    net: nn.Module, x: FloatArray, seed: FloatArray, layer: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """The output, and the gradient of Σ seed · output by `x` and by the tensor equal to `layer`.

    ONNX's names say nothing about torch's tensors, so the layer is known by its values; None where
    no function of torch returns them.
    """
    double = copy.deepcopy(net).double().eval()
    for module in double.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - nn.Module declares no such attribute
    picture = torch.from_numpy(x).double().requires_grad_()
    with _Results(layer) as results:
        output = double(picture)
    wanted = [picture] if results.first is None else [picture, results.first]
    found = torch.autograd.grad((output * torch.from_numpy(seed)).sum(), wanted)
    arrays = [np.asarray(tensor.numpy()) for tensor in found]
    return output.detach().numpy(), arrays[0], arrays[1] if len(arrays) > 1 else None
