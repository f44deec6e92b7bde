"""Rules of the losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, normal, single_node, uniform

TARGETS: dict[str, Array] = {
    "one per sample": np.array([2, 0, 3]),
    "a picture": np.array([[[1, 2], [0, 3]], [[2, 2], [1, 1]], [[3, 0], [0, 2]]]),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("ignore_index", [None, 2, -1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", None])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("op", "outputs"),
    [
        ("NegativeLogLikelihoodLoss", 1),
        ("SoftmaxCrossEntropyLoss", 1),
        ("SoftmaxCrossEntropyLoss", 2),
    ],
)
def test_loss(
    op: str,
    outputs: int,
    target: str,
    reduction: str | None,
    weighted: bool,
    ignore_index: int | None,
    dynamic: bool,
) -> None:
    labels = TARGETS[target].copy()
    if ignore_index is not None:
        labels.ravel()[1] = ignore_index
    scores = normal(3, 4, *labels.shape[1:])
    inputs = {"x": scores, "target": labels, "weights": uniform(4) if weighted else None}
    given: dict[str, Any] = {"reduction": reduction, "ignore_index": ignore_index}
    attributes = {name: value for name, value in given.items() if value is not None}
    model = single_node(op, inputs, outputs=outputs, dynamic=dynamic, **attributes)
    check_gradient(model, {k: v for k, v in inputs.items() if v is not None})


def test_targets_of_32_bits() -> None:
    feeds = {"x": normal(3, 4), "target": np.array([2, 0, 3], np.int32)}
    check_gradient(single_node("SoftmaxCrossEntropyLoss", feeds), feeds)
