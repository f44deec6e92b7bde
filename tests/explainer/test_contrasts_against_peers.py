"""One class rather than another, with a weight, equals FinerCAM of pytorch-grad-cam."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
from onnxplain import Explainer  # noqa: E402
from onnxplain.targets import Class, Contrast, Target  # noqa: E402
from tools.peers.gradcam import PGC  # noqa: E402  (imports torch)

from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget  # noqa: E402 # isort: skip # after the shim

pytestmark = pytest.mark.peers


@dataclass(frozen=True)
class Finer(Target):
    """Σ_j p_j (S_c − α S_j) / Σ_j p_j over similar classes j, with p the softmax of the scores."""

    similar: Sequence[int]
    alpha: float
    name: str = "finer"

    def formula(self, xp: Any, answer: Any, **parameters: Any) -> Any:
        """See the class; c is 2."""
        one_hot = np.eye(4, dtype=np.float32)
        likely = xp.softmax(answer, axis=-1) * one_hot[list(self.similar)].sum(axis=0)
        own = xp.sum(answer * one_hot[2], axis=-1, keepdims=True)
        return xp.sum(likely * (own - self.alpha * answer), axis=-1) / xp.sum(likely, axis=-1)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_finer_cam_with_one_similar_class(method: str, weight: float) -> None:
    check(method, Contrast(Class(2), Class(1), weight), [1], weight)


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_finer_cam_with_several_similar_classes(weight: float) -> None:
    check("gradcam", Finer((0, 1, 3), weight), [0, 1, 3], weight)


def check(method: str, target: Target, similar: Sequence[int], weight: float) -> None:
    """The map equals that of the library for class 2 and the similar classes."""
    torch.manual_seed(2)
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Tanh())
    head = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.Tanh(), torch.nn.Flatten())
    module = torch.nn.Sequential(conv, head, torch.nn.Linear(8 * 6 * 6, 4)).eval()
    x, file = torch.randn(1, 3, 16, 16), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False, opset_version=17)
    explainer = Explainer(onnx.load_model_from_string(file.getvalue()), provider="cpu")
    layer = explainer.layers(x.numpy())[0].tensor
    ours = explainer.attribute(x.numpy(), method, target, layer=layer)

    cam = PGC[method](module, [conv[0]])
    output = cam.activations_and_grads(x.requires_grad_(True))
    theirs = FinerWeightedTarget(2, similar, weight)(output[0])
    assert ours.scores[0] == pytest.approx(theirs.item(), rel=1e-4)
    theirs.backward()
    a, g = (
        np.asarray(found[0].numpy(), np.float32)
        for found in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
    )
    cam.activations_and_grads.release()
    image = cam.get_cam_image(None, conv[0], None, a, g, False)[0]
    image = image if method == "hirescam" else np.maximum(image, 0)
    assert np.ptp(image) > 0
    assert np.abs(ours.values[0] - image).max() < 1e-5 * np.abs(image).max()
