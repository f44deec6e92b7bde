"""One small network at every opset that ONNX Runtime loads: the same maps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnxruntime
import pytest
from references.nets import net_r
from tiny import noise

from onnxplain import Explainer
from onnxplain.errors import ModelError

X = noise(1, 3, 20, 26)
METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 7, "stride": 5, "fill": "zeros"},
    "rise": {"samples": 20, "baseline": "zeros"},
    "scorecam": {"baseline": "zeros"},
    "ablationcam": {},
    "reciprocam": {},
    "cam": {},
    "eigencam": {},
}
NEWEST = {"1.31": 26}
"""The newest opset of a version of ONNX Runtime, where that is known."""


@functools.cache
def maps(opset: int) -> dict[str, np.ndarray]:
    explainer = Explainer(net_r(opset), provider="cpu")
    return {
        name: explainer.attribute(X, name, target=2, **options).values
        for name, options in METHODS.items()
    }


@pytest.mark.parametrize("opset", range(7, 27))
def test_maps_do_not_depend_on_the_opset(opset: int) -> None:
    try:
        found = maps(opset)
    except ModelError as error:
        version = ".".join(onnxruntime.__version__.split(".")[:2])
        assert opset > NEWEST.get(version, 20), error
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} loads no opset {opset}")
    for name, values in maps(13).items():
        assert values.any()
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_an_opset_that_onnx_runtime_lacks(opset: int) -> None:
    model = net_r(13)
    model.opset_import[0].version = opset
    with pytest.raises(ModelError, match=r"refuses the model: .*"):
        Explainer(model, provider="cpu").attribute(X, "occlusion", window=7, fill="zeros")
