"""Converts operators of opsets before 18 to opset 18.

`onnx.version_converter` is not used: its result is wrong for a linear Upsample, it does not convert
subgraphs, it loses metadata, and it fails on operators of other domains.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.model.operators import REDUCTIONS, STANDARD_DOMAINS

LOWEST = 18
"""The first opset that rules of differentiation are written for."""

_OLDEST = 7
_RULES = Rewrites()
"""For operators whose form in one of opsets 7 to 17 is invalid or has another meaning in 18."""


def raise_opset(model: Model) -> Model:
    """The model at opset 18 if it is at an older one, else as it is.

    Raises:
        GradientError: the opset is older than 7, or an operator's old form has no new equivalent.
    """
    if model.opset >= LOWEST:
        return model
    if 0 < model.opset < _OLDEST:
        raise GradientError(
            f"The model has opset {model.opset}, and gradients need 7 or newer: convert it with "
            "onnx.version_converter first, or use a method without gradients."
        )
    proto = ModelProto()
    proto.CopyFrom(rewritten(model, _RULES).proto)
    # A model may import no default opset, if it has only operators of other domains.
    standard = [entry for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS]
    for entry in standard or [proto.opset_import.add()]:
        entry.version = LOWEST
    return replace(model, proto=proto)


@_RULES.of("Clip", before=11)
def _clip(g: Rewriter, s: NodeView) -> Tensor:
    bounds = (s.attr(name) for name in ("min", "max"))
    return g.Clip(s.x, *(None if bound is None else np.float32(bound) for bound in bounds))


@_RULES.of("Pad", before=11)
def _pad(g: Rewriter, s: NodeView) -> Tensor:
    pads, value = np.array(s.attr("pads"), np.int64), np.float32(s.attr("value", 0.0))
    return g.Pad(s.x, pads, value, mode=s.attr("mode", "constant"))


@_RULES.of("Slice", before=10)
def _slice(g: Rewriter, s: NodeView) -> Tensor:
    starts, ends = s.attr("starts"), s.attr("ends")
    axes = s.attr("axes", range(len(starts)))
    return g.Slice(s.x, *(np.array(each, np.int64) for each in (starts, ends, axes)))


@_RULES.of("TopK", before=10)
def _top_k(g: Rewriter, s: NodeView) -> list[Tensor]:
    return g.many("TopK", 2, s.x, [s.attr("k")], axis=s.attr("axis", -1))


@_RULES.of("Squeeze", "Unsqueeze", "ReduceSum", before=13)
@_RULES.of(*(REDUCTIONS - {"ReduceSum"}))
def _axes_as_input(g: Rewriter, s: NodeView) -> Tensor:
    axes = np.array(s.attrs["axes"], np.int64) if "axes" in s.attrs else None
    return g.many(s.op, 1, s.x, axes, **s.attrs_without("axes"))[0]


@_RULES.of("Split")
def _split(g: Rewriter, s: NodeView) -> list[Tensor]:
    sizes = s.input(1) if s.opset >= 13 else s.attr("split")
    count, axis = len(s.outputs), s.attr("axis", 0)
    if sizes is None:
        return g.many("Split", count, s.x, axis=axis, num_outputs=count)
    return g.many("Split", count, s.x, sizes, axis=axis)


@_RULES.of("Dropout", before=12)
def _dropout(g: Rewriter, s: NodeView) -> Tensor:
    """In opsets without the input `training_mode`, Dropout runs in inference mode."""
    return s.x


@_RULES.of("BatchNormalization", before=14)
def _batch_normalization(g: Rewriter, s: NodeView) -> Tensor:
    """Removes the attribute `spatial`, which ended in opset 9, and the training outputs."""
    if not s.attr("spatial", 1):
        raise GradientError(
            f"BatchNormalization {s.name!r} with spatial=0 has no form in opset 9 or newer: "
            "export the model again with a newer opset."
        )
    return g.BatchNormalization(*s.inputs, epsilon=s.attr("epsilon", 1e-5))


@_RULES.of("Softmax", "LogSoftmax", "Hardmax", before=13)
def _softmax(g: Rewriter, s: NodeView) -> Tensor:
    """Before opset 13 all axes from `axis` to the last were normalized together."""
    axis, rank = s.attr("axis", 1), g.rank(s.x)
    if axis in (-1, None if rank is None else rank - 1):
        return g.many(s.op, 1, s.x, axis=-1)[0]
    rows = g.many(s.op, 1, g.Flatten(s.x, axis=axis), axis=-1)[0]
    return g.Reshape(rows, g.Shape(s.x))


@_RULES.of("Upsample")
def _upsample(g: Rewriter, s: NodeView) -> Tensor:
    """Upsample is Resize with asymmetric coordinates."""
    return _resized(g, s, s.input(1) or g.constant(np.asarray(s.attr("scales"), np.float32)))


@_RULES.of("Resize")
def _resize(g: Rewriter, s: NodeView) -> Tensor:
    """Omits empty inputs: before opset 13 `scales` was required, even together with `sizes`."""
    if s.opset < 11:
        return _resized(g, s, s.inputs[1])
    roi, scales, sizes = (s.input(i) for i in (1, 2, 3))
    empty = g.value(scales)
    if sizes is not None or (empty is not None and not empty.size):
        scales = None
    crops = s.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    return g.Resize(s.x, roi if crops else None, scales, sizes, **s.attrs)


def _resized(g: Rewriter, s: NodeView, scales: Tensor) -> Tensor:
    """Resize of opset 10: like ONNX Runtime, nearest rounds up where the picture shrinks."""
    value = g.value(scales)
    shrinks = value is not None and bool((value < 1).any())
    return g.Resize(
        s.x,
        None,
        scales,
        mode=s.attr("mode", "nearest").replace("bilinear", "linear"),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="ceil" if shrinks else "floor",
    )


@_RULES.of("Scatter")
def _scatter(g: Rewriter, s: NodeView) -> Tensor:
    return g.ScatterElements(*s.inputs, axis=s.attr("axis", 0))


@_RULES.of("RoiAlign", before=16)
def _roi_align(g: Rewriter, s: NodeView) -> Tensor:
    """Opset 16 added half-pixel coordinates and made them the default."""
    return g.RoiAlign(*s.inputs, **s.attrs, coordinate_transformation_mode="output_half_pixel")


@_RULES.of("Scan", before=9)
def _scan(g: Rewriter, s: NodeView) -> None:
    raise GradientError(
        f"Scan {s.name!r} has the form of opset 8, which later opsets do not have: export the "
        "model again with a newer opset."
    )


@_RULES.of("ImageScaler")
def _image_scaler(g: Rewriter, s: NodeView) -> Tensor:
    """An experimental operator before opset 10: scale times x, plus a bias for each channel."""
    bias = np.asarray(s.attr("bias"), np.float32).reshape(-1, 1, 1)
    return g.Add(g.Mul(s.x, np.float32(s.attr("scale", 1.0))), bias)
