"""The values that a model takes, read from what its graph does first."""

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.analysis.first_steps import first_steps
from onnxplain.errors import PreprocessError
from onnxplain.model.load import load

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])
NET = " c = Conv(n, w) p = GlobalAveragePool(c) y = Flatten(p)"


def planes(values):
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def pixels(values):
    return np.asarray(values, np.float32)


def model(body, inputs="float[N,3,8,8] x", **constants):
    weights = {"w": noise(2, 3, 3, 3)}
    floats = {name: np.asarray(value) for name, value in constants.items()}
    kept = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in floats.items()}
    return tiny(body + NET, inputs, **weights, **kept)


def preprocess(proto, **flags):
    return Explainer(proto, provider="cpu", preprocess=flags or None).preprocess


PIXELS = (1.0, (0.0,), (1.0,))
UNIT = (1 / 255, (0.0,), (1.0,))
SIGNED = (1 / 255, (0.5,), (0.5,))
IMAGENET = (1 / 255, tuple(MEAN), tuple(STD))

CLEAR = {
    "x / 255": ("n = Div(x, k)", {"k": 255.0}, PIXELS, "RGB"),
    "x / 256": ("n = Div(x, k)", {"k": 256.0}, PIXELS, "RGB"),
    "k * x": ("n = Mul(k, x)", {"k": 1 / 255}, PIXELS, "RGB"),
    "x / 255, then ImageNet": (
        "a = Div(x, k) b = Sub(a, m) n = Div(b, s)",
        {"k": 255.0, "m": planes(MEAN), "s": planes(STD)}, PIXELS, "RGB",
    ),
    "(x - 127.5) / 127.5": ("a = Sub(x, k) n = Div(a, k)", {"k": 127.5}, PIXELS, "RGB"),
    "(x - 127) / 128": ("a = Sub(x, m) n = Div(a, k)", {"m": 127.0, "k": 128.0}, PIXELS, "RGB"),
    "1 - x / 127.5, negated": (
        "a = Div(x, k) b = Sub(o, a) n = Mul(b, i)",
        {"k": 127.5, "o": 1.0, "i": -1.0}, PIXELS, "RGB",
    ),
    "Caffe's means": ("n = Sub(x, m)", {"m": planes(CAFFE)}, PIXELS, "BGR"),
    "x * 2 - 1": ("a = Mul(x, k) n = Sub(a, o)", {"k": 2.0, "o": 1.0}, UNIT, "RGB"),
    "ImageNet of 0..1": (
        "b = Sub(x, m) n = Div(b, s)", {"m": planes(MEAN), "s": planes(STD)}, UNIT, "RGB",
    ),
    "x - 0.5": ("n = Sub(x, k)", {"k": 0.5}, UNIT, "RGB"),
    "x * 255": ("n = Mul(x, k)", {"k": 255.0}, UNIT, "RGB"),
    "(x + 1) / 2": ("a = Add(x, o) n = Div(a, k)", {"o": 1.0, "k": 2.0}, SIGNED, "RGB"),
    "Inception's transform_input": (
        "n0 = Mul(x, s) n = Add(n0, m)",
        {"s": planes(STD / 0.5), "m": planes((MEAN - 0.5) / 0.5)}, IMAGENET, "RGB",
    ),
    "a batch normalization": (
        "n = BatchNormalization(x, g, b, m, v)",
        {"g": np.ones(3), "b": np.zeros(3), "m": 255 * MEAN, "v": (255 * STD) ** 2}, PIXELS, "RGB",
    ),
    "a depthwise convolution": (
        "n = Conv<group=3>(x, s, b)",
        {"s": (1 / STD).reshape(3, 1, 1, 1), "b": -MEAN / STD}, UNIT, "RGB",
    ),
    "a convolution with a diagonal": (
        "n = Conv(x, s, b)",
        {"s": np.diag(1 / STD).reshape(3, 3, 1, 1), "b": -MEAN / STD}, UNIT, "RGB",
    ),
    "channels turned, then Caffe's means": (
        "t = Gather<axis=1>(x, i) n = Sub(t, m)",
        {"i": np.array([2, 1, 0]), "m": planes(CAFFE)}, PIXELS, "RGB",
    ),
    "channels turned by a Slice": (
        "t = Slice(x, i, j, h, i) n = Sub(t, m)",
        {"i": np.array([-1]), "j": np.array([-(2**31)]), "h": np.array([1]), "m": planes(CAFFE)},
        PIXELS, "RGB",
    ),
    "channels turned by a Slice with steps and axes in another order": (
        "t = Slice(x, i, j, h, k) n = Sub(t, m)",
        {
            "i": np.array([0, -1]),
            "j": np.array([8, -(2**31)]),
            "h": np.array([0, 1]),
            "k": np.array([1, -1]),
            "m": planes(CAFFE),
        },
        PIXELS, "RGB",
    ),
    "a Slice of the first axes": (
        "t = Slice(x, i, j) n = Sub(t, m)",
        {"i": np.array([0]), "j": np.array([9]), "m": planes(CAFFE)}, PIXELS, "BGR",
    ),
    "channels one by one": (
        """r = Gather<axis=1>(x, i0) r1 = Unsqueeze(r, one) r2 = Mul(r1, r_s) r3 = Add(r2, r_m)
           g = Gather<axis=1>(x, i1) g1 = Unsqueeze(g, one) g2 = Mul(g1, g_s) g3 = Add(g2, g_m)
           b = Gather<axis=1>(x, i2) b1 = Unsqueeze(b, one) b2 = Mul(b1, b_s) b3 = Add(b2, b_m)
           n = Concat<axis=1>(r3, g3, b3)""",
        {"i0": np.array(0), "i1": np.array(1), "i2": np.array(2), "one": np.array([1])}
        | {f"{c}_s": 1 / s for c, s in zip("rgb", STD, strict=True)}
        | {f"{c}_m": -m / s for c, m, s in zip("rgb", MEAN, STD, strict=True)},
        UNIT, "RGB",
    ),
    "the only sample, taken out of the batch": (
        "a = Gather<axis=0>(x, i) b = Sub(a, m) d = Div(b, s) n = Unsqueeze(d, first)",
        {"i": np.array(0), "first": np.array([0])}
        | {"m": MEAN.reshape(3, 1, 1), "s": STD.reshape(3, 1, 1)},
        UNIT, "RGB",
    ),
    "a Split": (
        """r, g, b = Split<axis=1>(x) r1 = Sub(r, r_m) g1 = Sub(g, g_m) b1 = Sub(b, b_m)
           n = Concat<axis=1>(b1, g1, r1)""",
        dict(zip(("r_m", "g_m", "b_m"), CAFFE[::-1], strict=True)), PIXELS, "RGB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLEAR)
def test_values_that_the_graph_prepares(case):
    body, constants, expected, order = CLEAR[case]
    found = preprocess(model(body, **constants))
    np.testing.assert_allclose(found.scale, expected[0])
    assert (found.mean, found.std) == expected[1:]
    assert found.channels == order
    assert "read from the graph: " in found.origin
    assert "ImageNet's mean" not in found.origin or expected is IMAGENET


@pytest.mark.parametrize("case", CLEAR)
def test_the_changes_are_those_that_the_graph_computes(case):
    body, constants, _, _ = CLEAR[case]
    proto = model(body, **constants)
    steps = first_steps(load(proto), "x", 1, 3)
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 8, 8)).astype(np.float32)
    proto.graph.output[0].name = "n"
    proto.graph.output[0].type.tensor_type.shape.Clear()
    del proto.graph.node[-3:]
    (found,) = run(proto, {"x": x})
    expected = x * planes(steps.factor) + planes(steps.offset)
    turned = found[:, ::-1]
    size = np.abs(expected).max()
    assert min(np.abs(found - expected).max(), np.abs(turned - expected).max()) < 1e-5 * size


NHWC = {
    "before the Transpose": ("a = Sub(x, m) n = Transpose<perm=[0,3,1,2]>(a)", pixels(CAFFE)),
    "after the Transpose": ("a = Transpose<perm=[0,3,1,2]>(x) n = Sub(a, m)", planes(CAFFE)),
}


@pytest.mark.parametrize("case", NHWC)
def test_channels_last(case):
    body, means = NHWC[case]
    found = preprocess(model(body, "float[N,8,8,3] x", m=means))
    assert (found.layout, found.channels, found.scale) == ("NHWC", "BGR", 1)


UNCLEAR = {
    "nothing": ("n = Identity(x)", {}),
    "a factor that fits nothing": ("n = Mul(x, k)", {"k": 2.0}),
    "a shift that fits nothing": ("n = Add(x, k)", {"k": 40.0}),
    "numbers for each position": ("n = Sub(x, k)", {"k": np.full((1, 3, 8, 8), 120.0)}),
    "channels that are mixed": ("n = Conv(x, k)", {"k": np.full((3, 3, 1, 1), 1 / 255)}),
    "another reader of the same pixels": (
        "a = Div(x, k) b = Tanh(x) n = Add(a, b)",
        {"k": 255.0},
    ),
    "two branches that differ": ("a = Div(x, k) b = Relu(a) d = Relu(x) n = Add(b, d)", {"k": 9.0}),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_the_guess_stays_where_the_graph_does_not_tell(case):
    body, constants = UNCLEAR[case]
    found = preprocess(model(body, **constants))
    assert (found.scale, found.mean, found.std) == IMAGENET
    assert found.origin.startswith("guess: ")
    assert "read from the graph" not in found.origin


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("n = Gather<axis=1>(x, i)", {"i": np.float32([0, 1])}),
        ("n = Gather<axis=1>(x, i)", {"i": np.array([0, 7])}),
        ("n = BatchNormalization(x, f, f, f, f)", {"f": np.ones(2, np.float32)}),
        ("n = Mul(x, k)", {"k": planes([1, 2])}),
        ("n = Transpose<perm=[0,2]>(x)", {}),
    ],
    ids=["float indices", "an index too large", "two channels", "two factors", "two axes"],
)
def test_constants_that_do_not_fit_the_channels_are_not_read(body, constants):
    """ONNX Runtime refuses such a model, and says why."""
    found = first_steps(load(model(body, **constants)), "x", 1, 3)
    np.testing.assert_array_equal(found.factor, 1)


def test_flags_come_before_the_graph():
    proto = model("n = Div(x, k)", k=255.0)
    assert preprocess(proto, scale=0.5).scale == 0.5
    with pytest.raises(PreprocessError, match="Give a scale with mean"):
        preprocess(proto, mean=0.5)


def test_a_gray_picture():
    body = "n = Div(x, k) c = Conv(n, w) p = GlobalAveragePool(c) y = Flatten(p)"
    constants = {"k": np.float32(255), "w": noise(2, 1, 3, 3)}
    found = preprocess(tiny(body, "float[N,1,8,8] x", **constants))
    assert (found.channels, found.scale) == ("GRAY", 1)


SIDES = "s = Shape<end=2>(x) z = Concat<axis=0>(s, sides) "


def test_a_graph_that_resizes_takes_pictures_as_they_are():
    proto = model(
        SIDES + 'n = Resize<mode="linear">(x, , , z)', "float[N,3,H,W] x", sides=np.array([8, 8])
    )
    found = preprocess(proto)
    assert (found.size, found.fit) == (None, "stretch")
    assert "read from the graph: pictures of any size, which the graph resizes" in found.origin
    assert preprocess(proto, size=16).size == (16, 16)
    picture = np.random.default_rng(0).integers(0, 256, (11, 17, 3)).astype(np.uint8)
    values = Explainer(proto, provider="cpu").explain(picture, "gradient", 0).values
    assert values.shape[-2:] == (11, 17)


def test_uint8_pixels_of_any_size_are_given_as_they_are():
    body = SIDES + 'f = Cast<to=1>(x) g = Div(f, k) n = Resize<mode="linear">(g, , , z)'
    found = preprocess(model(body, "uint8[N,3,H,W] x", sides=np.array([8, 8]), k=255.0))
    assert (found.size, found.scale, found.mean, found.std) == (None, *PIXELS)
