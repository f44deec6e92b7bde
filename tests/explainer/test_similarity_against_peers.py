"""A similarity is explained as torch and pytorch-grad-cam explain it, on a network without head."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")
import tools.peers.torchvision_shim  # noqa: E402, F401  (torchvision needs it)
from onnxplain import Explainer  # noqa: E402
from onnxplain.errors import TargetError  # noqa: E402
from onnxplain.targets import Similarity  # noqa: E402

pgc = pytest.importorskip("pytorch_grad_cam")
from torchvision import models as zoo  # noqa: E402

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def backbone() -> Any:
    """A ResNet without its last layer, with random weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = zoo.resnet18(weights=None)
    module.fc = torch.nn.Identity()
    return module.eval()


@pytest.fixture(scope="module")
def explainer(backbone: Any) -> Explainer:
    """Its export, which has no names that say what it is."""
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.zeros(1, 3, 64, 64)
        torch.onnx.export(backbone, (x,), file, dynamo=False, output_names=["output"])
    return Explainer(onnx.load_model_from_string(file.getvalue()))


@pytest.fixture(scope="module")
def samples(backbone: Any) -> tuple[Any, Any]:
    """A sample, and the embedding of another one."""
    x, other = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        return x, backbone(other)[0]


def test_the_gradient(backbone: Any, explainer: Explainer, samples: tuple[Any, Any]) -> None:
    x, other = samples
    x = x.clone().requires_grad_()
    cosine = torch.nn.functional.cosine_similarity(backbone(x)[0], other, dim=0)
    (expected,) = torch.autograd.grad(cosine, x)
    found = explainer.attribute(x.detach().numpy(), "gradient", Similarity(other.numpy()))
    assert_allclose(found.scores, [cosine.item()], rtol=1e-5)
    assert_allclose(found.values, expected.numpy(), atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(("method", "peer"), [("gradcam", pgc.GradCAM), ("hirescam", pgc.HiResCAM)])
def test_maps_of_a_layer(
    backbone: Any, explainer: Explainer, samples: tuple[Any, Any], method: str, peer: Any
) -> None:
    """The maps of pytorch-grad-cam before it clips and rescales them."""
    x, other = samples
    cam = peer(backbone, [backbone.layer4[-1]])
    (output,) = cam.activations_and_grads(x.clone().requires_grad_())
    torch.nn.functional.cosine_similarity(output, other, dim=0).backward()
    a, g = (
        kept[0].numpy()
        for kept in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
    )
    cam.activations_and_grads.release()
    expected = cam.get_cam_image(None, None, None, a, g, False)
    options = {"relu": False} if method == "gradcam" else {}
    found = explainer.attribute(x.numpy(), method, Similarity(other.numpy()), **options)
    assert found.values.shape == expected.shape == (1, 2, 2)
    assert_allclose(found.values, expected, atol=1e-4 * np.abs(expected).max())


def test_the_backbone_is_an_embedding(explainer: Explainer) -> None:
    assert explainer.embedding == "it is the pool of a residual sum"
    with pytest.raises(TargetError, match="is an embedding"):
        explainer.attribute(np.zeros((1, 3, 64, 64), np.float32), "gradient")
