"""Raising the opset: the forms that operators had before opset 18, in today's form.

`onnx.version_converter` is not used: it gives wrong answers for a linear Upsample, leaves subgraphs
and the metadata behind, and stops at operators of other domains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, helper

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.model.operators import REDUCTIONS, STANDARD_DOMAINS
from onnxplain.tensors import Array

LOWEST = 18
"""Opset that rules of differentiation are written for, and later ones."""

_OLDEST = 7
_RULES = Rewrites()
"""For operators whose form of an opset in 7 ... 17 is no longer valid, or has another meaning."""


def raise_opset(model: Model) -> Model:
    """The model at opset 18 if it is at an older one, else as it is.

    Raises:
        GradientError: the opset is older than 7, or an operator's old form has no newer one.
    """
    if model.opset >= LOWEST:
        return model
    if not model.opset:
        return _with_standard_operators(model)
    if model.opset < _OLDEST:
        raise GradientError(
            f"The model has opset {model.opset}, and gradients need 7 or newer: convert it with "
            "onnx.version_converter first, or use a method without gradients."
        )
    proto = ModelProto()
    proto.CopyFrom(rewritten(model, _RULES).proto)
    for entry in proto.opset_import:
        if entry.domain in STANDARD_DOMAINS:
            entry.version = LOWEST
    return replace(model, proto=proto)


def _with_standard_operators(model: Model) -> Model:
    """For a model of nothing but operators of other domains, such as ai.onnx.ml."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    proto.opset_import.append(helper.make_opsetid("", LOWEST))
    return replace(model, proto=proto)


def _ints(values: Iterable[int]) -> Array:
    return np.array([*values], np.int64)


@_RULES.of("Clip")
def _clip(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    if s.opset >= 11:
        return None
    bounds = (s.attr(name) for name in ("min", "max"))
    return g.Clip(s.x, *(None if bound is None else np.float32(bound) for bound in bounds))


@_RULES.of("Pad")
def _pad(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    if s.opset >= 11:
        return None
    value = np.float32(s.attr("value", 0.0))
    return g.Pad(s.x, _ints(s.attr("pads")), value, mode=s.attr("mode", "constant"))


@_RULES.of("Slice")
def _slice(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    if s.opset >= 10:
        return None
    starts, ends = s.attr("starts"), s.attr("ends")
    axes = s.attr("axes", range(len(starts)))
    return g.Slice(s.x, _ints(starts), _ints(ends), _ints(axes))


@_RULES.of("TopK")
def _top_k(g: Rewriter, s: NodeView) -> list[gs.Tensor] | None:
    if s.opset >= 10:
        return None
    return g.many("TopK", 2, s.x, _ints([s.attr("k")]), axis=s.attr("axis", -1))


@_RULES.of("Squeeze", "Unsqueeze")
def _squeeze(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    if s.opset >= 13:
        return None
    axes = s.attr("axes")
    return g.many(s.op, 1, s.x, None if axes is None else _ints(axes))[0]


@_RULES.of(*REDUCTIONS)
def _reduce(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    if s.op == "ReduceSum" and s.opset >= 13:
        return None
    axes = s.attr("axes")
    keep = s.attr("keepdims", 1)
    return g.many(s.op, 1, s.x, None if axes is None else _ints(axes), keepdims=keep)[0]


@_RULES.of("Split")
def _split(g: Rewriter, s: NodeView) -> list[gs.Tensor]:
    sizes = s.input(1) if s.opset >= 13 else s.attr("split")
    count, axis = len(s.outputs), s.attr("axis", 0)
    if sizes is None:
        return g.many("Split", count, s.x, axis=axis, num_outputs=count)
    sizes = sizes if isinstance(sizes, gs.Tensor) else _ints(sizes)
    return g.many("Split", count, s.x, sizes, axis=axis)


@_RULES.of("Dropout")
def _dropout(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    """Before opset 12, when it became an input, the mode was that of the runtime: inference."""
    return g.Identity(s.x) if s.opset < 12 else None


@_RULES.of("BatchNormalization")
def _batch_normalization(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    """Drops `spatial`, which went in opset 9, and the outputs of training."""
    if s.opset >= 14:
        return None
    if not s.attr("spatial", 1):
        raise GradientError(
            f"BatchNormalization {s.name!r} with spatial=0 has no form in opset 9 or newer: "
            "export the model again with a newer opset."
        )
    return g.BatchNormalization(*s.inputs, epsilon=s.attr("epsilon", 1e-5))


@_RULES.of("Softmax", "LogSoftmax", "Hardmax")
def _softmax(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    """Before opset 13 all axes from `axis` on were normalised together."""
    if s.opset >= 13:
        return None
    axis, rank = s.attr("axis", 1), g.rank(s.x)
    if axis in (-1, None if rank is None else rank - 1):
        return g.many(s.op, 1, s.x, axis=-1)[0]
    rows = g.many(s.op, 1, g.Flatten(s.x, axis=axis), axis=-1)[0]
    return g.Reshape(rows, g.Shape(s.x))


@_RULES.of("Upsample")
def _upsample(g: Rewriter, s: NodeView) -> gs.Tensor:
    """It is Resize with the corners of pixels as their places."""
    scales = s.input(1)
    if scales is None:
        scales = g.constant(np.asarray(s.attr("scales"), np.float32))
    return _resized(g, s, scales)


@_RULES.of("Resize")
def _resize(g: Rewriter, s: NodeView) -> gs.Tensor:
    """Leaves out what is empty: before opset 13 scales had to be there beside sizes."""
    if s.opset < 11:
        return _resized(g, s, s.inputs[1])
    roi, scales, sizes = (s.input(i) for i in (1, 2, 3))
    empty = g.value(scales)
    if sizes is not None or (empty is not None and not empty.size):
        scales = None
    crops = s.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    return g.Resize(s.x, roi if crops else None, scales, sizes, **s.attrs)


def _resized(g: Rewriter, s: NodeView, scales: gs.Tensor) -> gs.Tensor:
    """Of opset 10: a picture that shrinks takes the pixel behind, as ONNX Runtime does."""
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
def _scatter(g: Rewriter, s: NodeView) -> gs.Tensor:
    return g.ScatterElements(*s.inputs, axis=s.attr("axis", 0))


@_RULES.of("RoiAlign")
def _roi_align(g: Rewriter, s: NodeView) -> gs.Tensor | None:
    """Opset 16 brought another way to place the pixels, and made it the default."""
    if s.opset >= 16:
        return None
    return g.RoiAlign(*s.inputs, **s.attrs, coordinate_transformation_mode="output_half_pixel")


@_RULES.of("Scan")
def _scan(g: Rewriter, s: NodeView) -> None:
    if s.opset < 9:
        raise GradientError(
            f"Scan {s.name!r} has the form of opset 8, which no later one has: export the "
            "model again with a newer opset."
        )


@_RULES.of("ImageScaler")
def _image_scaler(g: Rewriter, s: NodeView) -> gs.Tensor:
    """An operator of experiments before opset 10: a factor for the picture, a bias by channel."""
    bias = np.asarray(s.attr("bias"), np.float32).reshape(-1, 1, 1)
    return g.Add(g.Mul(s.x, np.float32(s.attr("scale", 1.0))), bias)
