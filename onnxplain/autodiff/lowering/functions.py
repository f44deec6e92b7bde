"""Replaces operators that ONNX defines by a function body, where they have no rule."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto, helper
from onnx.inliner import inline_selected_functions

from onnxplain.autodiff.lowering.rewrite import all_nodes
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import ZERO
from onnxplain.model.model import Model
from onnxplain.model.normalize import normalize
from onnxplain.model.operators import STANDARD_DOMAINS

# Its body is a Loop, and no gradient with respect to the start of a range is needed.
_KEPT = frozenset({"Range"})


def expand_functions(model: Model) -> Model:
    """The model with each operator that has a body in ONNX, but no rule, replaced by its body.

    Those whose gradient is zero stay. Names of tensors stay.
    """
    left: set[tuple[str, str]] = set()
    while (functions := _functions(model)) - left:
        left = functions  # do not try again those that could not be replaced
        proto = model.proto
        for op in sorted(functions):
            # The inliner fails for an operator in a subgraph whose body depends on types.
            with contextlib.suppress(RuntimeError):
                proto = inline_selected_functions(_typed(proto), [op], inline_schema_functions=True)
        if proto is model.proto:
            break
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(model.proto.graph.value_info)
        model = replace(model, proto=normalize(proto))
    return model


def _typed(proto: ModelProto) -> ModelProto:
    """The model with declared types that the inliner needs and does not infer.

    They are the types of initializers, of omitted inputs, and of the outputs of operators of other
    domains, which are assumed to be floats.
    """
    typed = ModelProto()
    typed.CopyFrom(proto)
    known = {t.name: (t.data_type, list(t.dims)) for t in proto.graph.initializer}
    declared = {value.name for value in (*proto.graph.value_info, *proto.graph.output)}
    others = (node for node in proto.graph.node if node.domain not in STANDARD_DOMAINS)
    made = ["", *(name for node in others for name in node.output)]
    floats = {name: (TensorProto.FLOAT, None) for name in made if name not in declared}
    typed.graph.value_info.extend(
        helper.make_tensor_value_info(name, *kind) for name, kind in {**floats, **known}.items()
    )
    return typed


def _functions(model: Model) -> set[tuple[str, str]]:
    """The operators of a model that are to be replaced by their bodies, with their domains."""
    opsets = {entry.domain: entry.version for entry in model.proto.opset_import}
    steps = (NodeView(node, model.opset, gs.Variable) for node in all_nodes(model.proto.graph))
    return {
        (step.domain, step.op)
        for step in steps
        if (step.domain or step.op not in ZERO | _KEPT)
        and STANDARD.find(step) is None
        and _has_body(step.domain, step.op, opsets.get(step.domain, model.opset))
    }


def _has_body(domain: str, op: str, opset: int) -> bool:
    try:
        schema = onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return False
    # By name, because the type stubs of onnx have neither.
    names = ("has_function", "has_context_dependent_function")
    return any(getattr(schema, name) for name in names)
