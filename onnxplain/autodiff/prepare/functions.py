"""Operators that ONNX defines by others, written out where they have no rule of their own."""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnx_graphsurgeon as gs
from onnx.inliner import inline_selected_functions

import onnxplain.autodiff.rules  # noqa: F401 - enters the rules into the table
from onnxplain.autodiff.prepare.rewrite import all_nodes
from onnxplain.autodiff.registry import STANDARD, ZERO
from onnxplain.autodiff.step import Step
from onnxplain.graph.model import Model
from onnxplain.graph.normalize import normalize

# Its body is a Loop, and nobody differentiates with respect to where a range starts.
_KEPT = frozenset({"Range"})


def expand_functions(model: Model) -> Model:
    """The model with each operator that has a body in ONNX, but no rule, replaced by its body.

    Those whose gradient is zero stay. Names of tensors stay.
    """
    left: set[str] = set()
    while (functions := _functions(model)) - left:
        left = functions  # an operator whose body depends on types that are not known stays
        inlined = inline_selected_functions(
            model.proto, [("", op) for op in sorted(functions)], inline_schema_functions=True
        )
        del inlined.graph.value_info[:]
        inlined.graph.value_info.extend(model.proto.graph.value_info)
        model = replace(model, proto=normalize(inlined))
    return model


def _functions(model: Model) -> set[str]:
    """The operators of a model that are to be written out."""
    return {
        node.op_type
        for node in all_nodes(model.proto.graph)
        if node.domain in ("", "ai.onnx")
        and node.op_type not in ZERO | _KEPT
        and STANDARD.find(Step(node, model.opset, gs.Variable)) is None
        and _has_body(node.op_type, model.opset)
    }


def _has_body(op: str, opset: int) -> bool:
    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return False
    # The package's stubs lack both.
    names = ("has_function", "has_context_dependent_function")
    return any(getattr(schema, name) for name in names)
