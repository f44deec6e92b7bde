"""Making any loaded model ready for `differentiate`.

Each pass takes a model and returns one that gives the same answers, without running either.
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

__all__ = ["lower"]

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
"""In this order: each may rely on what those before it have done."""


def lower(model: Model) -> Model:
    """The model in the form that rules of differentiation are written for.

    That is standard ONNX of opset 18 or newer, in float32 but for inputs and outputs, with
    integers that stand for reals only between quantizing and dequantizing, and with what follows
    from static shapes computed. Tensors keep their names; weights are neither read nor changed.

    Raises:
        GradientError: the model is older than opset 7, or was saved for one processor only.
    """
    light, weights = detached(model)
    for pass_ in _PASSES:
        light = pass_(light)
    lowered = attached(light, weights)
    del lowered.proto.graph.value_info[:]
    _drop_unused_domains(lowered.proto)
    return lowered


def _drop_unused_domains(proto: ModelProto) -> None:
    """ONNX Runtime imports a dozen into each model that it saves."""
    used = STANDARD_DOMAINS.union(node.domain for node in all_nodes(proto.graph))
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
