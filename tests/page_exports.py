"""Small files in the form of an export, whose scores and maps a picture shows by itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from tiny import tiny

TINY = """
    p = Cast<to=1>(picture)  u = Div(p, LEVELS)
    means = ReduceMean<keepdims=0>(u, PLANE)  two = Gather(means, TWO)
    all = Concat<axis=0>(two, REST)  scores = Unsqueeze(all, ZERO)
    top = ArgMax<axis=1,keepdims=0>(scores)  auto = Less(target, ZERO)
    explained = Where(auto, top, target)  status = Gather(STATUS, explained)
    channel = Mod(explained, THREE)  one = Gather<axis=2>(u, channel)
    values = Transpose<perm=[2,0,1]>(one)  heatmap = Identity(values)
"""
OUTPUTS = """float[1,5] scores, float[1,H,W] values, float[1,H,W] heatmap, int64[1] status,
    int64[1] explained"""
CONSTANTS = {
    "LEVELS": np.float32(255),
    "PLANE": np.array([0, 1]),
    "TWO": np.array([0, 1]),
    "REST": np.array([0.03, 0.02, 0.01], np.float32),
    "ZERO": np.array([0]),
    "STATUS": np.array([0, 0, 1, 2, 3]),
    "THREE": np.array([3]),
}
PREPROCESS = {
    "size": [20, 30],
    "layout": "NCHW",
    "channels": "BGR",
    "fit": "stretch",
    "scale": 1 / 255,
    "mean": [0.1, 0.2, 0.3],
    "std": [1.0, 2.0, 4.0],
}


def tiny_export() -> onnx.ModelProto:
    """A file whose scores are means of channels, and whose maps are channels.

    The classes 0 and 1 have a map; the map of 2 has status 1, that of 3 has 2, and that of 4 has 3.
    """
    inputs = "uint8[H,W,3] picture, int64[1] target"
    labels = ["red", "green", "flat", "infinite", "missing"]
    model = tiny(TINY, inputs, OUTPUTS, opset=18, **CONSTANTS)
    return described(model, labels=json.dumps(labels))


def detector_export() -> onnx.ModelProto:
    """The same, but with boxes in place of scores."""
    inputs = "uint8[H,W,3] picture, int64[1] target"
    outputs = OUTPUTS.replace("float[1,5] scores", "float[1,1,5] boxes")
    body = TINY + "boxes = Unsqueeze(scores, ZERO)"
    return described(tiny(body, inputs, outputs, opset=18, **CONSTANTS))


def endless_export() -> onnx.ModelProto:
    """The same, but a loop comes first that takes days."""
    loop = """
        q = Cast<to=1>(picture)  start = ReduceMax<keepdims=0>(q)
        end = Loop<body = b (int64 i, bool c, float x) => (bool d, float y) {
            d = Identity(c)  y = Cos(x) }>(TRIPS, , start)
        p = Add(q, end)
    """
    body = loop + TINY.replace("p = Cast<to=1>(picture)", "")
    inputs, trips = "uint8[H,W,3] picture, int64[1] target", np.int64(2**40)
    return described(tiny(body, inputs, OUTPUTS, opset=18, TRIPS=trips, **CONSTANTS))


def described(model: onnx.ModelProto, **facts: str) -> onnx.ModelProto:
    """The model with the metadata that an export writes."""
    added = ("target", "values", "heatmap", "status", "explained")
    names = json.dumps({name: name for name in added})
    facts = {"version": "0.1.0", "method": "channels", "names": names, **facts}
    onnx.helper.set_model_props(model, {f"onnxplain.{key}": facts[key] for key in facts})
    return model


def prepared_export(preprocess: dict[str, Any]) -> onnx.ModelProto:
    """The same, but for a prepared tensor whose blue, green and red the metadata tells to write."""
    body = (
        """
        back = Mul(x, STD)  v = Add(back, MEAN)  levels = Mul(v, LEVELS)
        chw = Squeeze(levels, ZERO)  bgr = Transpose<perm=[1,2,0]>(chw)
        picture = Gather<axis=2>(bgr, REVERSED)
    """
        + TINY
    )
    model = tiny(
        body,
        "float[1,3,20,30] x, int64[1] target",
        OUTPUTS.replace("H,W", "20,30"),
        opset=18,
        STD=np.float32(PREPROCESS["std"]).reshape(1, 3, 1, 1),
        MEAN=np.float32(PREPROCESS["mean"]).reshape(1, 3, 1, 1),
        REVERSED=np.array([2, 1, 0]),
        **CONSTANTS,
    )
    return described(model, preprocess=json.dumps(preprocess))
