"""Models: a small graph, its inputs and outputs, and what lies beside its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx.external_data_helper import set_external_data

from onnxplain.tensors import Array
from tools.fuzz.blocks import BLOCKS, Block, Draw
from tools.fuzz.bodies import BODIES, LOCAL_DOMAIN
from tools.fuzz.case import Case
from tools.fuzz.damage import damaged
from tools.fuzz.files import npy, png
from tools.fuzz.net import Flow, Net

_OPSETS = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
_CLASSES = 4
_PARTS: Mapping[str, Block] = {**BLOCKS, **BODIES}


@dataclass(frozen=True)
class Form:
    """A form of the input.

    Attributes:
        dtype: of the input.
        shape: sizes of one sample, for so many rows and columns.
        planes: makes planes of channels from the input.
        picture: whether a picture is given; else a .npy file is.
    """

    dtype: Any
    shape: Callable[[int, int], tuple[int, ...]]
    planes: Callable[[Net, str, tuple[int, ...]], Flow]
    picture: bool = True


def _as_planes(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    channels, rows, columns = shape
    return Flow(x, (channels, rows, columns))


def _cast(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    scaled = net.add("Mul", net.add("Cast", x, to=1), net.number(1 / 64))
    return _as_planes(net, scaled, shape)


def _channels_last(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    rows, columns, channels = shape
    return Flow(net.add("Transpose", x, perm=[0, 3, 1, 2]), (channels, rows, columns))


def _cast_channels_last(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    return _channels_last(net, _cast(net, x, shape).name, shape)


def _row(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    return Flow(net.add("Reshape", x, net.ints(-1, 1, 2, shape[0] // 2)), (1, 2, shape[0] // 2))


def _signal(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    channels, length = shape
    return Flow(net.unsqueeze(x, 2), (channels, 1, length))


def _volume(net: Net, x: str, shape: tuple[int, ...]) -> Flow:
    channels, depth, rows, columns = shape
    flat = net.add("Reshape", x, net.ints(0, channels * depth, rows, columns))
    return Flow(flat, (channels * depth, rows, columns))


FORMS: Mapping[str, Form] = {
    "pictures": Form(np.float32, lambda r, c: (3, r, c), _as_planes),
    "gray pictures": Form(np.float32, lambda r, c: (1, r, c), _as_planes),
    "pictures, channels last": Form(np.float32, lambda r, c: (r, c, 3), _channels_last),
    "pictures of uint8": Form(np.uint8, lambda r, c: (3, r, c), _cast),
    "pictures of uint8, channels last": Form(np.uint8, lambda r, c: (r, c, 3), _cast_channels_last),
    "pictures of float16": Form(np.float16, lambda r, c: (3, r, c), _cast),
    "scenes": Form(np.float32, lambda r, c: (5, r, c), _as_planes, picture=False),
    "rows": Form(np.float32, lambda r, c: (2 * r,), _row, picture=False),
    "signals": Form(np.float32, lambda r, c: (2, 4 * c), _signal, picture=False),
    "volumes": Form(np.float32, lambda r, c: (1, 2, r, c), _volume, picture=False),
    "integers": Form(np.int64, lambda r, c: (3, r, c), _cast, picture=False),
}
"""By name; pictures are more usual."""

_USUAL = ["pictures"] * 6 + list(FORMS)


def _pooled(net: Net, x: Flow) -> tuple[str, int]:
    pooled = net.add("GlobalAveragePool", x.name)
    return net.add("Flatten", pooled), x.sizes[0]


def _linear(net: Net, x: Flow) -> str:
    flat, features = _pooled(net, x)
    weights = net.normal(features, _CLASSES)
    return net.add("Gemm", flat, weights, net.normal(_CLASSES))


def _dense(net: Net, x: Flow) -> str:
    features = int(np.prod(x.sizes))
    flat = net.add("Flatten", x.name)
    return net.add("MatMul", flat, net.normal(features, _CLASSES, gain=features**-0.5))


def _classes_map(net: Net, x: Flow) -> str:
    kernel = net.normal(_CLASSES, x.sizes[0], 1, 1)
    return net.add("Conv", x.name, kernel)


HEADS: Mapping[str, Callable[[Net, Flow], str]] = {
    "logits": _linear,
    "dense": _dense,
    "softmax": lambda net, x: net.add("Softmax", _linear(net, x), axis=1),
    "sigmoid": lambda net, x: net.add("Sigmoid", _dense(net, x)),
    "log softmax": lambda net, x: net.add("LogSoftmax", _linear(net, x), axis=1),
    "one number": lambda net, x: net.reduce("ReduceMean", x.name, [1, 2, 3], keepdims=0),
    "one class": lambda net, x: net.slice(_linear(net, x), 1, 1, 2),
    "a map of classes": _classes_map,
    "a picture": lambda net, x: net.reduce("ReduceMean", x.name, [1]),
    "the largest class": lambda net, x: net.add("ArgMax", _dense(net, x), axis=1, keepdims=0),
    "an embedding": lambda net, x: net.add("LpNormalization", _dense(net, x), axis=1, p=2),
    "rows of numbers": lambda net, x: net.add("Reshape", _dense(net, x), net.ints(-1, 2, 2)),
}
"""By name."""

_USUAL_HEADS = ["logits", "logits", "dense", "dense", "softmax", *HEADS]

_SHORT: Mapping[str, Mapping[str, int]] = {
    "rise drise hsic": {"samples": 20, "grid": 3},
    "sobol": {"samples": 2, "grid": 3},
    "smoothgrad smoothgrad_squared vargrad smooth_gradcam++": {"samples": 3},
    "integrated_gradients blur_ig guided_ig xrai": {"steps": 4},
    "lime glime kernelshap": {"samples": 20, "segments": 4},
    "activation_maximization": {"steps": 2},
    "auto occlusion gradient input_x_gradient gradcam hirescam layercam gradcam++ xgradcam "
    "shapleycam "
    "scorecam ablationcam reciprocam eigencam kpcacam fem eigengradcam cam feature_maps "
    "guided_backprop deconvnet odam guided_gradcam fullgrad deeplift lrp regression_activation_map "
    "attention_rollout legrad generic_attention transformer_attribution grad_eclip": {},
}

METHODS: Mapping[str, Mapping[str, int]] = {
    method: options for methods, options in _SHORT.items() for method in methods.split()
}
"""Options of each method that make it short."""

_USUAL_METHODS = [*["auto", "occlusion", "gradient", "rise", "hirescam"] * 4, *METHODS]


@dataclass(frozen=True)
class Made:
    """A model, and what is needed to explain it."""

    proto: ModelProto
    form: Form
    shape: tuple[int, ...]
    size: tuple[int, int]
    words: str
    exact: bool
    repeats: bool
    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    other: Mapping[str, Any] = field(default_factory=dict)


@st.composite
def _graphs(draw: Draw) -> Made:
    """A valid model, and nothing beside it."""
    net = Net(draw(st.sampled_from(_OPSETS)), np.random.default_rng(draw(st.integers(0, 2**16))))
    named = draw(st.sampled_from(_USUAL))
    form = FORMS[named]
    rows, columns = draw(st.integers(4, 10)), draw(st.integers(4, 10))
    shape = form.shape(rows, columns)
    x = form.planes(net, "x", shape)
    names = [name for name, block in _PARTS.items() if block.since <= net.opset]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=6))
    for name in chosen:
        x = _PARTS[name].build(net, x, draw)
    other: dict[str, Any] = {}
    inputs = [_declared(draw, form, shape)]
    if draw(st.integers(0, 7)) == 0:
        scale = draw(st.sampled_from([(), (1,)]))
        x = Flow(net.add("Mul", x.name, "s"), x.sizes)
        inputs.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, scale))
        other["s"] = [0.5] if scale else 0.5
    head = draw(st.sampled_from(_USUAL_HEADS))
    y = HEADS[head](net, x)
    outputs = [_output(net, y, head)]
    if draw(st.integers(0, 5)) == 0:
        outputs.insert(draw(st.integers(0, 1)), _output(net, net.add("Identity", x.name), ""))
    graph = helper.make_graph(net.nodes, "fuzz", inputs, outputs, net.weights)
    opsets = [helper.make_opsetid("", net.opset)]
    if any(node.domain == "com.microsoft" for node in net.nodes):
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    if net.functions:
        opsets.append(helper.make_opsetid(LOCAL_DOMAIN, 1))
    ir_version = 8 if net.opset < 20 else 10
    proto = helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=net.functions
    )
    words = f"opset {net.opset}, {named} {shape}: {', '.join(chosen)}; {head}"
    exact, repeats = all(_PARTS[name].exact for name in chosen), "random" not in chosen
    arguments = ("--input", "s=0.5") if other else ()
    return Made(
        proto, form, shape, (rows, columns), words, exact, repeats, arguments=arguments, other=other
    )


def _declared(draw: Draw, form: Form, shape: tuple[int, ...]) -> ValueInfoProto:
    """The input, of which more or fewer sizes are declared."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(form.dtype))
    batch = draw(st.sampled_from(["N", "N", None, 1, 2]))
    sizes: list[int | str | None] = [batch, *shape]
    if draw(st.integers(0, 5)) == 0:
        sizes[-2 if len(sizes) > 2 else -1] = draw(st.sampled_from(["open", None]))
    return helper.make_tensor_value_info("x", kind, sizes)


def _output(net: Net, name: str, head: str) -> ValueInfoProto:
    kind = TensorProto.INT64 if head == "the largest class" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, None)


def _plain(draw: Draw, made: Made) -> Made:
    return made


def _with_metadata(draw: Draw, made: Made) -> Made:
    """Metadata that onnxplain reads."""
    entries = draw(
        st.sampled_from(
            [
                {"names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}", "stride": "32", "task": "classify"},
                {"names": str(["a", "b", "c", "d"]), "task": "classify"},
                {"names": "{0: 'a'", "stride": "1"},
                {"names": "[" * 5000, "stride": "1"},
                {"names": "{'a': 1}", "stride": "x", "imgsz": "[0, -3]"},
                {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"},
                {"Image.BitmapPixelFormat": "\x1b[31mred"},
                {"character": "a\nb\nc\n"},
                {"character": ""},
                {"": ""},
            ]
        )
    )
    proto = ModelProto()
    proto.CopyFrom(made.proto)
    helper.set_model_props(proto, entries)
    return replace(made, proto=proto, words=f"{made.words}; metadata {str(entries)[:60]}")


def _with_sidecar(draw: Draw, made: Made) -> Made:
    """A sidecar with labels and preprocessing."""
    content: dict[str, Any] = {"labels": ["fox", "snake", "owl", "bee"]}
    if made.form.picture and draw(st.booleans()):
        content["preprocess"] = {"scale": 0.01, "fit": "stretch"}
    files = {"model.onnx": b"", "model.onnxplain.json": json.dumps(content).encode()}
    return replace(made, files={**made.files, **files}, words=f"{made.words}; a sidecar")


def _with_external_data(draw: Draw, made: Made) -> Made:
    """Weights in a file beside the model, or where the model must not read."""
    proto, data, links = ModelProto(), b"", dict(made.links)
    proto.CopyFrom(made.proto)
    location = draw(st.sampled_from([*["weights.bin"] * 3, *OUTSIDE]))
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) >= 4:
            raw = tensor.raw_data
            set_external_data(tensor, location, len(data), len(raw))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            data += raw
    if location in LINKS:
        links[location] = LINKS[location]
    files = {**made.files, "weights.bin": data}
    words = f"{made.words}; weights in {location}"
    return replace(made, proto=proto, files=files, links=links, words=words)


OUTSIDE = (
    "../beside/secret.bin",
    "secret.bin",
    "/etc/passwd",
    "/dev/zero",
    "link.bin",
    "missing.bin",
    "",
    "a\0b",
    "x" * 5000,
    ".",
    "loop",
)
"""Places of files that a model must not read, or cannot."""

LINKS = {"link.bin": "../beside/secret.bin", "loop": "loop"}
"""Targets of those of them that are symbolic links."""

_DRESSES: list[Callable[[Draw, Made], Made]] = [
    *[_plain] * 5,
    _with_metadata,
    _with_sidecar,
    _with_external_data,
]


@st.composite
def models(draw: Draw) -> Case:
    """A valid model, or one that is damaged."""
    made = draw(st.sampled_from(_DRESSES))(draw, draw(_graphs()))
    way = draw(st.sampled_from(["valid", "fields", "bytes"]))
    content, words = damaged(draw, made.proto, way)
    method = draw(st.sampled_from(_USUAL_METHODS))
    return _case(draw, made, content, words, method, valid=way == "valid")


def _case(draw: Draw, made: Made, content: bytes, words: str, method: str, *, valid: bool) -> Case:
    sample, value = _sample(draw, made)
    flags = [*made.arguments]
    for option, number in METHODS[method].items():
        flags += [f"--{option}", str(number)]
    if made.form.picture and draw(st.booleans()):
        flags += ["--size", "x".join(map(str, made.size))]
    given = [f"../given/{name}" for name in ("model.onnx", sample)]
    run = ["run", *given, "-m", method, "-o", "../out", "--json", *flags]
    run += ["-f", draw(st.sampled_from(["npy,json", "npy,heatmap,png,json", "tiff,png16,yml"]))]
    commands = [run]
    if draw(st.integers(0, 5)) == 0:
        commands.append(["inspect", given[0], "--json", *made.arguments])
    if draw(st.integers(0, 11)) == 0:
        exported = ["export", given[0], "-m", method, "-o", "../out/exported.onnx", *flags]
        commands.append(exported)
    facts: dict[str, Any] = {}
    if valid:
        facts = {
            "method": method,
            "exact": made.exact,
            "compared": made.repeats and draw(st.booleans()),
            "other": made.other,
            "shape": made.shape,
            "dtype": np.dtype(made.form.dtype).name,
        }
    files = {**made.files, "model.onnx": content, sample: value}
    what = f"{made.words}; {method}; {words}"
    return Case("model", what, files, commands, made.links, valid=valid, facts=facts)


def _sample(draw: Draw, made: Made) -> tuple[str, bytes]:
    """A picture, or an array where the input takes no pictures."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if made.form.picture:
        rows, columns = draw(st.integers(4, 12)), draw(st.integers(4, 12))
        return "picture.png", png(rng.integers(0, 256, (rows, columns, 3), np.uint8))
    return "sample.npy", npy(sample_array(made.shape, np.dtype(made.form.dtype), rng))


def sample_array(shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """One sample, (1, ...)."""
    if dtype.kind in "iu":
        return rng.integers(0, 256, (1, *shape)).astype(dtype)
    return rng.normal(size=(1, *shape)).astype(dtype)
