"""The same maps on a GPU: run with `pytest -m gpu` where onnxruntime-gpu is installed."""

from pathlib import Path

import numpy as np
import pytest

import onnxplain

pytestmark = pytest.mark.gpu

MODELS = Path(__file__).parents[1] / "models"
PICTURE = MODELS / "pictures" / "coffee.png"


@pytest.mark.parametrize("model", ["efficientnet_lite0", "squeezenet1_1"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("scorecam", {}),
        ("ablationcam", {}),
        ("reciprocam", {}),
        ("cam", {}),
        ("occlusion", {"window": 64, "stride": 32}),
        ("rise", {"samples": 64}),
    ],
)
def test_cuda_agrees_with_the_cpu(model, method, options):
    values = {}
    for provider in ("cuda", "cpu"):
        explainer = onnxplain.Explainer(MODELS / f"{model}.onnx", provider=provider)
        explanation = explainer.explain(PICTURE, method, target=967, **options)
        values[explanation.provenance.provider] = explanation.values
    cuda, cpu = values["CUDAExecutionProvider"], values["CPUExecutionProvider"]
    # Convolutions run in TF32 by default there, which keeps about three digits.
    np.testing.assert_allclose(cuda, cpu, atol=2e-2 * np.abs(cpu).max())
    assert np.corrcoef(cuda.ravel(), cpu.ravel())[0, 1] > 0.999
