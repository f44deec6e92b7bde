"""Sizes that must be multiples of a number: of U-Nets and feature pyramids that take any size."""

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.analysis.size_multiple import size_multiple
from onnxplain.errors import ModelError, PreprocessError
from onnxplain.model.load import load

ANY = "float[N,3,H,W] x"
HALF = "Conv<strides=[2,2], pads=[1,1,1,1]>"
DOUBLE = "ConvTranspose<strides=[2,2]>"


def u_net(depth):
    """Halved `depth` times, then doubled and concatenated with the grid of the same size."""
    down = [f"d{i + 1} = {HALF}(d{i}, half)" for i in range(depth)]
    up = [
        f"t{i} = {DOUBLE}(u{i + 1}, double) c{i} = Concat<axis=1>(t{i}, d{i}) "
        f"u{i} = Conv(c{i}, mix)"
        for i in reversed(range(depth))
    ]
    ends = ["d0 = Conv(x, first)", *down, f"u{depth} = Relu(d{depth})", *up]
    body = " ".join([*ends, "p = GlobalAveragePool(u0) y = Flatten(p)"])
    return tiny(
        body,
        ANY,
        first=noise(2, 3, 1, 1),
        half=noise(2, 2, 3, 3),
        double=noise(2, 2, 2, 2),
        mix=noise(2, 4, 1, 1),
    )


def pyramid():
    """Five halvings; the last grid is enlarged and added to the two before it."""
    down = [f"d{i + 1} = {HALF}(d{i}, half)" for i in range(5)]
    body = f"""d0 = Conv(x, first) {" ".join(down)}
        e4 = Resize<mode="nearest">(d5, , twice) f4 = Add(e4, d4)
        e3 = Resize<mode="nearest">(f4, , twice) f3 = Add(e3, d3)
        p = GlobalAveragePool(f3) y = Flatten(p)"""
    twice = np.array([1, 1, 2, 2], np.float32)
    return tiny(body, ANY, first=noise(2, 3, 1, 1), half=noise(2, 2, 3, 3), twice=twice)


PLAIN = tiny(
    f"d = {HALF}(x, half) p = GlobalAveragePool(d) y = Flatten(p)", ANY, half=noise(2, 3, 3, 3)
)
MODELS = {
    "no joined grids": (PLAIN, 1),
    "U-Net of depth 1": (u_net(1), 2),
    "U-Net of depth 3": (u_net(3), 8),
    "U-Net of depth 5": (u_net(5), 32),
    "feature pyramid": (pyramid(), 32),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_multiple_is_the_smallest_with_which_onnx_runtime_runs(name):
    proto, expected = MODELS[name]
    model = load(proto)
    assert size_multiple(model, model.inputs[0], 2, 3) == expected
    for sides in ((3, 5), (4, 1)):
        run(proto, {"x": noise(1, 3, *(expected * side for side in sides))})
    if expected > 1:
        with pytest.raises(Exception, match=r"Concat|Add"):
            run(proto, {"x": noise(1, 3, expected * 5 // 2, expected * 3 // 2)})


def test_a_declared_size_needs_no_multiple():
    model = load(tiny("y = Flatten(x)", "float[1,3,8,8] x"))
    assert size_multiple(model, model.inputs[0], 2, 3) == 1


PICTURE = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)


@pytest.mark.parametrize("method", ["gradient", "occlusion", "gradcam"])
def test_a_picture_of_any_size_is_explained(method):
    explainer = Explainer(u_net(3), provider="cpu", preprocess={"size": "picture"})
    assert "sides rounded to multiples of 8, which the graph needs" in explainer.preprocess.origin
    assert explainer.preprocess.apply(PICTURE)[0].shape == (1, 3, 40, 56)
    assert explainer.explain(PICTURE, method, 0).heatmap.shape == (37, 53)


def test_the_multiple_can_be_given():
    given = {"size": "picture", "multiple": 16}
    preprocess = Explainer(u_net(3), provider="cpu", preprocess=given).preprocess
    assert preprocess.apply(PICTURE)[0].shape == (1, 3, 32, 48)
    with pytest.raises(PreprocessError, match="multiple has no effect with a size that"):
        _ = Explainer(u_net(3), provider="cpu", preprocess={"size": 64, "multiple": 8}).preprocess


@pytest.mark.parametrize("method", ["gradient", "occlusion", "gradcam"])
@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (20, "20 rows and 20 columns.* a multiple of 8, such as --size 16, or --size picture"),
        ([16, 30], "16 rows and 30 columns.* a multiple of 8, such as --size 16x24"),
        (3, "such as --size 8,"),
    ],
)
def test_a_size_that_is_no_multiple_is_refused_with_one_that_is(method, size, sentence):
    explainer = Explainer(u_net(3), provider="cpu", preprocess={"size": size})
    with pytest.raises(ModelError, match=sentence):
        explainer.explain(PICTURE, method, 0)


def test_a_run_that_fails_for_another_reason_says_which():
    """The concatenated constant has one row, and the samples have many."""
    nodes = (
        "s = Constant<value_ints=[-1,3]>() p = Reshape(x, s) m = Concat<axis=1>(p, k) y = Relu(m)"
    )
    proto = tiny(nodes, ANY, "float[N,M] y", k=noise(1, 2))
    explainer = Explainer(proto, provider="cpu", preprocess={"size": 8})
    with pytest.raises(ModelError, match=r"The model fails while running: .*Concat"):
        explainer.explain(PICTURE, "occlusion", 0)
