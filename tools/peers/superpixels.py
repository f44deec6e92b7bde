# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""captum's Lime and KernelShap on the same segments, samples and weights.

Version read and run: captum 0.9.0. Its KernelShap gives the empty and the full set a weight of
1,000,000, where the definition has infinity, and draws the other sets at random. With `switches`
injected it takes every set once, weighted by the Shapley kernel.
"""

from collections.abc import Iterator
from itertools import product
from math import comb
from typing import Any

import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnLinearModel
from captum.attr._core.lime import LimeBase
from numpy.typing import NDArray

Array = NDArray[Any]


def peer_lime(
    module: torch.nn.Module, x: Array, absent: Array, labels: Array, index: int, switches: Array
) -> Array:
    """Slopes, (C, H, W), of a ridge regression of 1, with the authors' kernel of width 0.25."""

    def weight(_: Any, __: Any, sample: torch.Tensor, **kwargs: Any) -> float:
        distance = 1 - float(torch.sqrt(sample.float().mean()))
        return float(np.sqrt(np.exp(-(distance**2) / 0.25**2)))

    ridge = SkLearnLinearModel("linear_model.Ridge", alpha=1.0)
    return _fit(module, x, absent, labels, index, switches, weight, ridge)


def peer_kernelshap(
    module: torch.nn.Module, x: Array, absent: Array, labels: Array, index: int
) -> Array:
    """Shapley values, (C, H, W), from all sets of segments."""
    count = int(labels.max()) + 1

    def weight(_: Any, __: Any, sample: torch.Tensor, **kwargs: Any) -> float:
        size = int(sample.sum())
        if size in (0, count):
            return 1e6
        return (count - 1) / (comb(count, size) * size * (count - size))

    every = np.array(list(product([0, 1], repeat=count)))
    plain = SkLearnLinearModel("linear_model.LinearRegression")
    return _fit(module, x, absent, labels, index, every, weight, plain)


def _fit(
    module: torch.nn.Module,
    x: Array,
    absent: Array,
    labels: Array,
    index: int,
    switches: Array,
    weight: Any,
    model: SkLearnLinearModel,
) -> Array:
    given, baseline = torch.from_numpy(x), torch.from_numpy(absent)

    def samples(_: torch.Tensor, **kwargs: Any) -> Iterator[torch.Tensor]:
        yield from (torch.from_numpy(row.astype(np.int64))[None] for row in switches)

    def seen(sample: torch.Tensor, _: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.where(sample[0][torch.from_numpy(labels)].bool(), given, baseline)

    base = LimeBase(module, model, weight, samples, True, seen, None)
    with torch.no_grad():
        slopes = base.attribute(
            given, target=index, n_samples=len(switches), perturbations_per_eval=32
        )
    return np.broadcast_to(slopes.numpy().ravel()[labels], x.shape[1:])
