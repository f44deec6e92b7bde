"""The same maps on a GPU: run with `pytest -m gpu` where onnxruntime-gpu is installed."""

from pathlib import Path

import numpy as np
import pytest

import onnxplain
from onnxplain.images.picture import read_picture

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


PHOTOS = {"pictures/coffee.png": 967, "pictures/chelsea.png": 285, "pictures/camera.png": 100}
SCENES = {"scenes/six.png": 6, "scenes/two.png": 2, "scenes/nine_three.png": 3}
BATCHES = {"efficientnet_lite0": PHOTOS, "squeezenet1_1": PHOTOS, "digit_vit": SCENES}
OPTIONS = {"gradient": {}, "gradcam": {"relu": False}, "integrated_gradients": {"steps": 8}}


@pytest.mark.parametrize("model", BATCHES)
@pytest.mark.parametrize("method", OPTIONS)
def test_gradients_of_a_batch_on_cuda_agree_with_the_cpu(model, method):
    found = {}
    for provider in ("cuda", "cpu"):
        explainer = onnxplain.Explainer(MODELS / f"{model}.onnx", provider=provider)
        pictures = [read_picture(MODELS / name) for name in BATCHES[model]]
        x = np.concatenate([explainer.preprocess.apply(picture)[0] for picture in pictures])
        found[provider] = explainer.attribute(
            x, method, list(BATCHES[model].values()), **OPTIONS[method]
        )
        assert explainer.provider.lower().startswith(provider)
    # With weights rounded to TF32, results on a CPU differ by 0.01 for gradcam and 0.03 for the
    # smooth transformer, by 0.25 if rectifiers switch. For another picture or class: about 1.
    kinks = model != "digit_vit" and method != "gradcam"
    for cuda, cpu in zip(found["cuda"].values, found["cpu"].values, strict=True):
        assert np.linalg.norm(cuda - cpu) < (0.5 if kinks else 0.1) * np.linalg.norm(cpu)
    np.testing.assert_allclose(found["cuda"].scores, found["cpu"].scores, rtol=2e-2, atol=2e-2)
    assert found["cuda"].targets == found["cpu"].targets
