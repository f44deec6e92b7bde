"""Exported files of models that torchvision exports: the same as `attribute`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")
import tools.peers.torchvision_shim  # noqa: E402, F401  (torchvision needs it)

torchvision = pytest.importorskip("torchvision")

from foreign.exported import export  # noqa: E402

import onnxplain  # noqa: E402
from onnxplain import Explainer  # noqa: E402

pytestmark = pytest.mark.peers

MODELS = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5")
METHODS = ("gradcam", "layercam", "eigencam", "gradient", "deeplift", "lrp")


@pytest.fixture(scope="module", params=MODELS)
def explainer(request: Any) -> Explainer:
    torch.manual_seed(0)
    module = getattr(torchvision.models, request.param)(num_classes=20)
    sample = torch.zeros(1, 3, 96, 96)
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    made = export(module, sample, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    return Explainer(made)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_what_attribute_gives(
    explainer: Explainer, method: str, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 96, 96)).astype(np.float32)
    path = onnxplain.export(explainer, tmp_path / "file.onnx", method)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count, codes, targets in ((1, [-1], ["top1"]), (4, [3, -1, 7, 0], [3, "top1", 7, 0])):
        (values,) = session.run(["values"], {"x": x[:count], "target": np.array(codes)})
        expected = explainer.attribute(x[:count], method, targets).values
        for ours, theirs in zip(values, expected, strict=True):
            assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
