"""Seg-Grad-CAM and similar methods equal those of pytorch-grad-cam on the same U-Net."""

import io
import warnings

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
from onnxplain import Explainer  # noqa: E402
from onnxplain.targets import Region  # noqa: E402
from tools.peers.gradcam import PGC  # noqa: E402  (imports torch)

from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget  # noqa: E402 # isort: skip # after the shim

pytestmark = pytest.mark.peers


class UNet(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Down once, up once, with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        conv = torch.nn.Conv2d
        self.down = torch.nn.Sequential(conv(3, 8, 3, padding=1), torch.nn.ReLU())
        self.deep = torch.nn.Sequential(conv(8, 16, 3, 2, 1), torch.nn.ReLU())
        self.up = torch.nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = torch.nn.Sequential(conv(16, 8, 3, padding=1), torch.nn.ReLU(), conv(8, 5, 1))

    def forward(self, x):  # type: ignore[no-untyped-def]
        fine = self.down(x)
        return self.out(torch.cat([self.up(self.deep(fine)), fine], 1))


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "xgradcam"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_region_of_a_unet(method: str, rank: int) -> None:
    """Their score is the sum over the region, ours the mean."""
    torch.manual_seed(3)
    module, x = UNet().eval(), torch.randn(1, 3, 24, 32)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False, opset_version=17)
    explainer = Explainer(onnx.load_model_from_string(file.getvalue()), provider="cpu")

    with torch.no_grad():
        top = module(x)[0].argmax(0).numpy()
    index = int(np.argsort(-np.bincount(top.ravel()))[rank])
    region = top == index
    ours = explainer.attribute(x.numpy(), method, index)
    assert ours.targets[0].region is not None
    assert ours.targets[0].region.pixels == region.sum()
    same = explainer.attribute(x.numpy(), method, Region(index, region))
    assert np.array_equal(ours.values, same.values)

    cam = PGC[method](module, [module.deep])
    output = cam.activations_and_grads(x.requires_grad_(True))
    SemanticSegmentationTarget(index, region)(output[0]).backward()
    a, g = (
        np.asarray(found[0].numpy(), np.float32)
        for found in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
    )
    cam.activations_and_grads.release()
    theirs = cam.get_cam_image(None, module.deep, None, a, g, False)[0]
    theirs = theirs if method == "hirescam" else np.maximum(theirs, 0)
    difference = np.abs(ours.values[0] * region.sum() - theirs).max()
    assert np.ptp(theirs) > 0
    assert difference < 1e-5 * np.abs(theirs).max()
