# mypy: disable-error-code="no-untyped-call"
"""The same gradients by torch's autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onnxplain.tensors import FloatArray

_SAME = 1e-3
"""Allowed difference of two computations of one tensor, relative to its largest value."""


@dataclass(frozen=True)
class Answer:
    """The results of torch: its output, and gradients at the picture and at the layers it has."""

    output: FloatArray
    picture: FloatArray
    layers: dict[str, FloatArray]


class _Results(TorchFunctionMode):
    """Keeps tensors of torch whose values are close to those of an array, and the differences."""

    def __init__(self, arrays: Mapping[str, FloatArray]) -> None:
        super().__init__()
        self._wanted = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._kept: dict[str, list[tuple[float, Tensor]]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad:
            with torch._C.DisableTorchFunction():
                for name, wanted in self._wanted.items():
                    far = _distance(result.detach(), wanted)
                    if far < _SAME:
                        self._kept.setdefault(name, []).append((far, result))
                        result = result.clone()  # the next operator may write into it
        return result

    @property
    def kept(self) -> dict[str, Tensor]:
        """The first tensor with these values, by name.

        If a block adds little to its input, other tensors are close as well.
        """
        return {
            name: next(tensor for far, tensor in found if far <= 2 * min(far for far, _ in found))
            for name, found in self._kept.items()
        }


def _distance(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max())


def gradients(
    net: nn.Module,
    x: FloatArray,
    seed: FloatArray,
    layers: Mapping[str, FloatArray],
    dtype: torch.dtype = torch.float64,
) -> Answer:
    """The output, and the gradients of Σ seed · output at `x` and at the tensors equal to `layers`.

    torch's tensors do not have ONNX's names, so layers are found by their values. Layers that no
    function of torch returns are left out.
    """
    cast = copy.deepcopy(net).to(dtype).eval()
    picture = torch.from_numpy(x).to(dtype).requires_grad_()
    with _Results(layers) as results:
        output = cast(picture)
    kept = results.kept
    score = (output * torch.from_numpy(seed)).sum()
    by_picture, *by_layers = torch.autograd.grad(score, [picture, *kept.values()])
    return Answer(
        output.detach().numpy(),
        by_picture.numpy(),
        {name: d.numpy() for name, d in zip(kept, by_layers, strict=True)},
    )
