"""Activation maximization: gradients against differences, the expected result, and the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.cli.app import execute
from onnxplain.errors import LayerError, OptionError
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.fourier_image import Adam, FourierImage, RandomTransform
from tools.cases.models import CASES, MODELS

FAST = {"steps": 100, "rate": 1.0, "jitter": 0, "zoom": 0}


def colors(layout: str = "NCHW") -> Explainer:
    """Three scores: one color minus the two others each; so are the channels of the layer."""
    moved = "m = Transpose <perm = [0, 3, 1, 2]> (x)" if layout == "NHWC" else "m = Identity (x)"
    body = f"{moved} c = Conv (m, w) p = GlobalAveragePool (c) f = Flatten (p) y = Identity (f)"
    less = (2 * np.eye(3, dtype=np.float32) - 1).reshape(3, 3, 1, 1)
    shape = "3,16,20" if layout == "NCHW" else "16,20,3"
    model = tiny(body, f"float[N,{shape}] x", "float[N,3] y", w=less)
    settings = Preprocess(size=(16, 20), layout=layout, mean=(10, 20, 30), std=(50, 60, 70))
    return Explainer(model, preprocess=settings, provider="cpu")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_reddest_picture_is_red(layout: str) -> None:
    found = colors(layout).explain(
        np.full((16, 20, 3), 127.5), "activation_maximization", 0, **FAST
    )
    assert found.sheet is not None
    red, green, blue = found.sheet.reshape(-1, 3).mean(axis=0)
    assert red > 4 * max(green, blue)
    assert found.diagnostics["at_end"] > found.diagnostics["at_start"] + 3


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_channel_of_a_layer_whatever_the_target(channel: int) -> None:
    explainer = colors()
    options = {"layer": "c", "channel": channel, **FAST}
    gray = np.full((16, 20, 3), 127.5)
    found = explainer.explain(gray, "activation_maximization", (channel + 1) % 3, **options)
    assert found.target.name == f"channel_{channel}"
    assert np.isnan(found.score)  # the score of a class would be misleading
    low, high = (colors().preprocess.color(*3 * [v])[:, None, None] for v in (0, 255))
    shares = ((found.values - low) / (high - low)).mean(axis=(1, 2))
    assert shares[channel] > 0.3 + max(np.delete(shares, channel))
    means = found.values.mean(axis=(1, 2))
    assert_allclose(found.diagnostics["at_end"], 2 * means[channel] - means.sum(), rtol=1e-4)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_gradients_by_the_coefficients_are_differences(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    low, high = np.zeros((3, *size)), np.full((3, *size), 2.0)
    canvas = FourierImage(random.uniform(0.2, 1.8, low.shape), low, high)
    view = RandomTransform.drawn(size, 2, 0.3, random)
    pull = random.normal(size=low.shape)
    found = canvas.gradient(view.back(pull))
    for place in [(0, 0, 0), (1, 2, 3), (2, 1, 1), (0, 3, found.shape[2] - 1)]:
        for step, part in ((1e-5, found[place].real), (1e-5j, found[place].imag)):
            ends = []
            for sign in (1, -1):
                canvas.coefficients[place] += sign * step
                ends.append((pull * view.see(canvas.picture())).sum())
                canvas.coefficients[place] -= sign * step
            assert_allclose((ends[0] - ends[1]) / 2e-5, part, atol=1e-6)


def test_a_canvas_starts_as_the_picture_that_it_is_given() -> None:
    random = np.random.default_rng(0)
    start = random.uniform(0.1, 0.9, (3, 6, 8))
    assert_allclose(FourierImage(start, 0 * start, 1 + 0 * start).picture(), start, atol=1e-9)


def test_a_view_that_does_not_move_changes_nothing() -> None:
    picture = noise(3, 6, 8)
    view = RandomTransform.drawn((6, 8), 0, 0.0, np.random.default_rng(0))
    assert_allclose(view.see(picture), picture)


def test_every_step_of_adam_on_a_constant_slope_has_the_size_that_is_asked_for() -> None:
    adam = Adam(0.05)
    for _ in range(3):
        step = adam.step(np.array([3 + 4j, -1 + 0.1j]))
        assert_allclose(step, [0.05 + 0.05j, -0.05 + 0.05j], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"layer": "c"}, OptionError, "name it with channel"),
        ({"layer": "c", "channel": 3}, LayerError, "has no channel 3: it has 3, 0 to 2"),
        ({"steps": 0}, OptionError, "steps >= 1"),
        ({"zoom": 1}, OptionError, "zoom < 1"),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        colors().explain(np.zeros((16, 20, 3)), "activation_maximization", 0, **options)


def test_what_is_no_picture_is_refused_with_what_fits() -> None:
    model = tiny("y = MatMul (x, w)", "float[N,4] x", "float[N,2] y", w=noise(4, 2))
    with pytest.raises(OptionError, match="use gradient"):
        Explainer(model, provider="cpu").attribute(noise(1, 4), "activation_maximization", 0)


def test_a_class_of_a_shipped_model_is_painted_until_it_is_sure() -> None:
    case = CASES["efficientnet"]()
    size = case.explainer.preprocess.size
    assert size is not None
    made = case.explainer.explain(
        np.full((*size, 3), 127.5), "activation_maximization", 963, steps=25
    )
    assert made.sheet is not None
    assert case.explainer.explain(made.sheet, "cam", "top1").target.index == 963


def test_the_command_needs_no_picture_for_it_and_for_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(MODELS / "squeezenet1_1.onnx")
    line = ["run", model, "--method", "activation_maximization", "--layer", "fire2/squeeze1x1/relu"]
    rest = ["--channel", "12", "--steps", "2", "--out", str(tmp_path)]
    assert execute([*line, *rest]) == 0
    stem = "squeezenet1_1.activation_maximization.channel_12"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}{ending}" for ending in (".npy", ".heatmap.npy", ".png", ".json")
    }
    assert execute(["run", model, "--method", "cam", "--out", str(tmp_path)]) == 2
    assert "No picture was given" in capsys.readouterr().err
