"""The references agree with the torch libraries on the same weights.

If a library deviates from the definition, its deviation is removed, or added to the reference,
or measured; see `tools.peers.maps`. For the two shipped models a few channels and windows are
compared, for net R everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy.special import softmax

from tools.cases import nets
from tools.cases.onnx_calls import element, load, part, probability

from .layer import ablationcam, ablationcam_weights, cam, eigencam, orient
from .perturbation import occlusion, scorecam, scorecam_increases
from .resize import upsample_align_corners

torch = pytest.importorskip("torch")
from tools.peers import maps, modules  # noqa: E402  (they import torch)

pytestmark = pytest.mark.peers

Array = NDArray[Any]
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Case:
    """One model, a layer of it and a picture, for both libraries."""

    model: Any
    input: str
    output: str
    layer: str
    x: Array
    baseline: Array
    ends_in_logits: bool
    channels: int

    @property
    def index(self) -> int:
        return int(part(self.model, self.input, self.output)(self.x)[0].argmax())

    @property
    def activation(self) -> Array:
        return np.asarray(part(self.model, self.input, self.layer)(self.x)[0])

    def torch(self) -> tuple[Any, Any]:
        module = modules.torch_module(self.model)
        return module, modules.layer(module, self.model, self.layer)

    def probabilities(self) -> tuple[Callable[[Array], float], Any]:
        call = part(self.model, self.input, self.output)
        if self.ends_in_logits:
            return probability(call, self.index), maps.probability(self.index)
        return element(call, self.index), maps.element(self.index)


def picture(size: int) -> Array:
    image = pytest.importorskip("PIL.Image").open(MODELS / "pictures" / "chelsea.png")
    pixels = np.asarray(image.convert("RGB").resize((size, size)), np.float32)
    return pixels.transpose(2, 0, 1)[None]


def net_r(layer: str) -> Case:
    x, baseline = np.random.default_rng(1).normal(size=(2, 1, 3, 20, 26)).astype(np.float32)
    return Case(load(nets.net_r()), "x", "y", layer, x, baseline, True, 8)


def efficientnet() -> Case:
    x = (picture(224) - 127) / 128
    baseline = np.full_like(x, -127 / 128)
    model = load(MODELS / "efficientnet_lite0.onnx")
    return Case(model, "input", "logits", "head/relu6", x, baseline, True, 8)


def squeezenet() -> Case:
    mean = np.array([104.006, 116.669, 122.679], np.float32)[None, :, None, None]
    x = picture(227)[:, ::-1] - mean
    model = load(MODELS / "squeezenet1_1.onnx")
    baseline = np.broadcast_to(-mean, x.shape).copy()
    return Case(model, "data", "prob", "fire9/concat", x, baseline, False, 16)


CASES = {
    "net_r": lambda: net_r("relu2"),
    "net_r signed": lambda: net_r("conv2"),
    "efficientnet": efficientnet,
    "squeezenet": squeezenet,
}


@cache
def made(name: str) -> Case:
    if name in {"efficientnet", "squeezenet"} and not MODELS.is_dir():
        pytest.skip("the shipped models are not here")
    return CASES[name]()


every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_the_module_computes_what_the_model_computes(case: str) -> None:
    c = made(case)
    module, layer = c.torch()
    activation = c.activation
    tolerance = 1e-5 * np.abs(activation).max()
    assert_allclose(maps.activation(module, layer, c.x), activation, atol=tolerance)
    expected = part(c.model, c.input, c.output)(c.x)
    assert_allclose(module(torch.from_numpy(c.x)).numpy(), expected, atol=1e-5)


# --- Score-CAM ----------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("peer", [maps.peer_scorecam, maps.peer_scorecam_torchcam])
def test_scorecam(case: str, peer: Callable[..., Any]) -> None:
    c = made(case)
    score, target = c.probabilities()
    activation = c.activation[: c.channels]
    found = peer(*c.torch(), c.x, c.baseline, target, first=c.channels)
    increases = scorecam_increases(activation, c.x, c.baseline, score)
    # Weights are close to each other, so it is the log of their ratios, C_k - C_0, that must fit.
    assert np.ptp(increases) > 1e-4
    logs = np.log(found.weights.astype(np.float64))
    assert_allclose(logs - logs[0], increases - increases[0], atol=2e-6)
    expected = scorecam(activation, c.x, c.baseline, score)
    assert_allclose(found.values, expected, atol=1e-5 * np.abs(activation).max())


def test_scorecam_of_pytorch_grad_cam_as_shipped_aligns_corners() -> None:
    c = made("net_r")
    score, target = c.probabilities()
    found = maps.peer_scorecam(*c.torch(), c.x, c.baseline, target, as_shipped=True)
    aligned = scorecam_increases(c.activation, c.x, c.baseline, score, upsample_align_corners)
    assert_allclose(found.weights, softmax(aligned), atol=1e-6)
    ours = softmax(scorecam_increases(c.activation, c.x, c.baseline, score))
    assert np.abs(found.weights - ours).max() > 5e-4


def test_scorecam_of_torchcam_as_shipped_scales_before_upsampling() -> None:
    c = made("net_r")
    score, target = c.probabilities()
    found = maps.peer_scorecam_torchcam(*c.torch(), c.x, c.baseline, target, as_shipped=True)
    ours = softmax(scorecam_increases(c.activation, c.x, c.baseline, score))
    assert 1e-4 < np.abs(found.weights - ours).max() < 0.1


# --- Ablation-CAM -------------------------------------------------------------------------------


@every_case
def test_ablationcam(case: str) -> None:
    c = made(case)
    head = element(part(c.model, c.layer, c.output), c.index)
    activation = c.activation
    found = maps.peer_ablationcam(*c.torch(), c.x, maps.element(c.index), first=c.channels)
    # The reference zeroes every channel that it is given; the head also gets the other channels.
    kept = activation[: c.channels]
    rest = activation[None, c.channels :]

    def head_of_first(value: Array) -> float:
        return head(np.concatenate([value, rest], axis=1))

    weights = ablationcam_weights(kept, head_of_first)
    assert np.ptp(weights) > 1e-3
    assert_allclose(found.weights, weights, atol=2e-5)
    scale = np.abs(kept).max()
    assert_allclose(found.values, ablationcam(kept, head_of_first), atol=1e-4 * scale)


def test_ablationcam_as_shipped_zeroes_only_where_the_minimum_is_zero() -> None:
    c = made("net_r")
    target = maps.element(c.index)
    as_defined = maps.peer_ablationcam(*c.torch(), c.x, target)
    as_shipped = maps.peer_ablationcam(*c.torch(), c.x, target, as_shipped=True)
    assert_allclose(as_shipped.weights, as_defined.weights)

    # Scored by the signed activation itself, so that nothing after the layer hides the -1e7.
    signed = made("net_r signed")
    module = modules.torch_module(signed.model, "conv2")
    layer = modules.layer(module, signed.model, "conv2")
    shipped = maps.peer_ablationcam(module, layer, signed.x, torch.mean, as_shipped=True)
    assert np.abs(shipped.weights).max() > 1e5


# --- Eigen-CAM, CAM -----------------------------------------------------------------------------


@every_case
def test_eigencam_centered(case: str) -> None:
    c = made(case)
    found = orient(maps.peer_eigencam(*c.torch(), c.x).astype(np.float64))
    expected = eigencam(c.activation, center=True)
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("case", "linear", "rows"),
    [("net_r", "y", "rows"), ("efficientnet", "logits", "classifier.weight")],
)
def test_cam_is_signed(case: str, linear: str, rows: str) -> None:
    c = made(case)
    module, layer = c.torch()
    least = int(part(c.model, c.input, c.output)(c.x)[0].argmin())
    found = maps.peer_cam(module, layer, modules.layer(module, c.model, linear), c.x, least)
    assert_allclose(found, cam(c.activation, initializer(c.model, rows)[least]), atol=1e-4)
    assert found.min() < 0


def initializer(model: Any, name: str) -> Array:
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    return np.asarray(numpy_helper.to_array(tensor))


# --- occlusion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "window", "stride"),
    [
        ("net_r", (3, 6, 6), (3, 4, 4)),  # 20 = 6 + 3 * 4 + 2: the last window is clipped
        ("net_r", (3, 5, 7), (3, 5, 7)),  # no overlap
        ("net_r", (1, 9, 9), (1, 5, 4)),  # channel by channel
        ("net_r", (2, 20, 8), (2, 20, 6)),  # two channels, then the third; full height
        ("efficientnet", (3, 80, 70), (3, 60, 60)),
        ("squeezenet", (3, 80, 70), (3, 60, 60)),
    ],
)
def test_occlusion(case: str, window: tuple[int, ...], stride: tuple[int, ...]) -> None:
    c = made(case)
    module, _ = c.torch()
    score = element(part(c.model, c.input, c.output), c.index)
    found = maps.peer_occlusion(
        module, c.x, maps.element(c.index), window=window, stride=stride, fill=c.baseline
    )
    expected = occlusion(c.x, score, window, stride, c.baseline)
    assert np.ptp(expected) > 1e-2
    assert_allclose(found, expected, atol=2e-5)
