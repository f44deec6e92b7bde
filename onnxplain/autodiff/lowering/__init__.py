"""Brings a loaded model into the form that `differentiate` needs.

Each pass takes a model and returns one with the same outputs. No pass runs a model.
"""

from __future__ import annotations

from onnx import ModelProto

from onnxplain.autodiff.lowering.attention import undo_attention
from onnxplain.autodiff.lowering.dropout import expose_dropout_masks
from onnxplain.autodiff.lowering.float32 import to_float32
from onnxplain.autodiff.lowering.fold import fold_constants
from onnxplain.autodiff.lowering.functions import expand_functions
from onnxplain.autodiff.lowering.fused import decompose_fused
from onnxplain.autodiff.lowering.inlining import inline_control_flow
from onnxplain.autodiff.lowering.opset import raise_opset
from onnxplain.autodiff.lowering.quantized import dequantize
from onnxplain.autodiff.lowering.recurrent import unfold_recurrences
from onnxplain.autodiff.lowering.rewrite import all_nodes
from onnxplain.autodiff.lowering.sequences import undo_sequences
from onnxplain.autodiff.lowering.weights import attached, detached
from onnxplain.model.model import Model
from onnxplain.model.operators import STANDARD_DOMAINS

__all__ = ["lower", "with_new_opset"]

_PASSES = (
    to_float32,
    raise_opset,
    expose_dropout_masks,
    decompose_fused,
    undo_attention,
    dequantize,
    unfold_recurrences,
    expand_functions,
    fold_constants,
    inline_control_flow,
    undo_sequences,
)
"""In this order: a pass may depend on the passes before it."""


def lower(model: Model) -> Model:
    """The model in the form that rules of differentiation are written for.

    That is standard ONNX of opset 18 or newer, in float32 except for inputs and outputs. Quantized
    tensors are only between QuantizeLinear and DequantizeLinear, and tensors that follow from
    static shapes are constants. Tensors keep their names. Large weights are neither read nor
    changed.

    Raises:
        GradientError: the model is older than opset 7, or ONNX Runtime optimized and saved it for
            one kind of processor.
    """
    light, weights = detached(model)
    for pass_ in _PASSES:
        light = pass_(light)
    lowered = attached(light, weights)
    del lowered.proto.graph.value_info[:]
    _drop_unused_domains(lowered.proto)
    return lowered


def with_new_opset(model: Model) -> Model:
    """The model with opset 18 or newer, and its other operators as they are.

    Raises:
        GradientError: the model is older than opset 7, or an operator has no new form.
    """
    light, weights = detached(model)
    raised = attached(raise_opset(light), weights)
    del raised.proto.graph.value_info[:]
    return raised


def _drop_unused_domains(proto: ModelProto) -> None:
    """Remove imports of unused domains: ONNX Runtime adds a dozen to each model that it saves."""
    used = STANDARD_DOMAINS.union(node.domain for node in all_nodes(proto.graph))
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
