"""Modules of torchvision as ONNX files, and how near two arrays are."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from tiny import Array


def export(module: torch.nn.Module, *samples: torch.Tensor, **options: Any) -> onnx.ModelProto:
    """The module as ONNX; from now on its weights need no gradients, and it does not train."""
    module.eval().requires_grad_(False)
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes are fixed here
        torch.onnx.export(module, samples, file, dynamo=False, opset_version=17, **options)
    return onnx.load_model_from_string(file.getvalue())


def gradient(score: torch.Tensor, x: torch.Tensor) -> Array:
    """The derivative of one number with respect to `x`, by torch."""
    (found,) = torch.autograd.grad(score, x, retain_graph=True)
    return np.asarray(found)


def assert_agrees(ours: Array, theirs: Array, limit: float = 1e-4) -> None:
    """Compare arrays relative to the largest value of the second one."""
    assert ours.shape == theirs.shape
    largest = np.abs(theirs).max()
    assert largest > 0
    assert np.abs(ours - theirs).max() < limit * largest


class NonMaximumSuppression(torch.autograd.Function):
    """Greedy suppression; torchvision's own operator is missing next to a CPU build of torch."""

    @staticmethod
    def forward(ctx: Any, boxes: torch.Tensor, scores: torch.Tensor, limit: float) -> torch.Tensor:
        """The rows that are kept, the best first."""
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        sides = torch.minimum(high, boxes[None, :, 2:]) - torch.maximum(low, boxes[None, :, :2])
        both = sides.clamp(min=0).prod(2)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        overlapping = both > limit * (areas[:, None] + areas - both)
        kept: list[int] = []
        left = torch.ones(len(boxes), dtype=torch.bool)
        for row in scores.argsort(descending=True, stable=True).tolist():
            if left[row]:
                kept.append(row)
                left &= ~overlapping[row]
        return torch.tensor(kept, dtype=torch.int64)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, limit: float) -> Any:
        """ONNX answers with (batch, class, row) of each kept box."""
        batch, batch_and_class, row = (
            g.op("Constant", value_t=torch.tensor(at)) for at in ([0], [0, 1], 2)
        )
        found = g.op(
            "NonMaxSuppression",
            g.op("Unsqueeze", boxes, batch),
            g.op("Unsqueeze", scores, batch_and_class),
            g.op("Constant", value_t=torch.tensor([2**31 - 1])),
            g.op("Constant", value_t=torch.tensor([limit])),
        )
        return g.op("Gather", found, row, axis_i=1)


def suppress(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, limit: float
) -> torch.Tensor:
    """`torchvision.ops.batched_nms`: boxes of different classes do not suppress each other."""
    apart = labels.to(boxes)[:, None] * (boxes.max() + 1)
    return NonMaximumSuppression.apply(boxes + apart, scores, limit)


def measure_normalizations(module: torch.nn.Module, *samples: Any) -> None:
    """Set the means and variances of batch normalizations to those of samples, as training does.

    With random weights and those of a new module, the answer hardly depends on the input.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
            part.momentum = None  # the mean over all samples
            part.train()
    with torch.no_grad():
        module(*samples)
    module.eval()
