"""How each operator is differentiated: read from the rules, the passes and ONNX's schemas."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto
from onnx.defs import OpSchema

from onnxplain.autodiff.lowering.rewrite import Rewrites
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import ZERO
from onnxplain.model.operators import MICROSOFT, PROCESSOR_DOMAINS

_PASSES = importlib.import_module("onnxplain.autodiff.lowering")
_ROOT = Path(__file__).parents[2]
_NEWEST = onnx.defs.onnx_opset_version()
_KINDS = _RULE, _REWRITTEN, _BODY, _ZERO, _NONE = "rule", "rewritten", "body", "zero", "none"


class Handling(NamedTuple):
    """How an operator is handled, and where, or why it is not handled."""

    kind: str
    where: str = ""


def standard_table() -> str:
    """One row for each operator of ONNX's default domain."""
    handled = {schema.name: _handling("", schema.name, schema) for schema in _schemas()}
    rows = ["| operator | handled by | where, or why | marked |", "| --- | --- | --- | --- |"]
    for schema in _schemas():
        kind, where = handled[schema.name]
        mark = "differentiable" if _is_marked(schema) else ""
        rows.append(f"| {schema.name} | {kind} | {where} | {mark} |")
    return "\n".join([_summary(handled), "", *rows]) + "\n"


def microsoft_table() -> str:
    """One row for each operator of ONNX Runtime that is supported."""
    names = {op for domain, op in [*STANDARD.operators(), *_rewrites()] if domain == MICROSOFT}
    rows = ["| operator | handled by | where |", "| --- | --- | --- |"]
    for name in sorted(names):
        kind, where = _handling(MICROSOFT, name, None)
        rows.append(f"| {name} | {kind} | {where} |")
    blocked = " and ".join(f"`{domain}`" for domain in sorted(PROCESSOR_DOMAINS))
    rows += ["", f"Operators of {blocked} are refused by name, with the remedy."]
    return "\n".join(rows) + "\n"


def pass_table() -> str:
    """One row for each pass of `lower`, in order."""
    rows = ["| pass | gives |", "| --- | --- |"]
    for number, one in enumerate(_PASSES._PASSES, 1):
        first = (inspect.getdoc(one) or "").split("\n\n")[0].replace("\n", " ")
        link = _link(one.__module__, one.__name__, up="../..")
        rows.append(f"| {number}. {link} | {first} |")
    return "\n".join(rows) + "\n"


def _summary(handled: dict[str, Handling]) -> str:
    rows = [f"{len(handled)} operators of onnx {onnx.__version__}, up to opset {_NEWEST}:", ""]
    rows += ["| handled by | operators | marked as differentiable |", "| --- | ---: | ---: |"]
    every = Counter(one.kind for one in handled.values())
    marked = Counter(handled[schema.name].kind for schema in _schemas() if _is_marked(schema))
    rows += [f"| {kind} | {every[kind]} | {marked[kind]} |" for kind in _KINDS]
    return "\n".join(rows)


def _handling(domain: str, op: str, schema: OpSchema | None) -> Handling:
    if not domain and op in ZERO:
        return Handling(_ZERO)
    entry = STANDARD.find(NodeView(NodeProto(op_type=op, domain=domain), _NEWEST, gs.Variable))
    if entry is not None:
        return Handling(_RULE, _link(entry.rule.__module__))
    if (domain, op) in _rewrites():
        return Handling(_REWRITTEN, _link(_rewrites()[domain, op]))
    if schema is None:
        return Handling(_NONE)
    if schema.has_function or schema.has_context_dependent_function:  # type: ignore[attr-defined]
        return Handling(_BODY)
    return Handling(_NONE, _reason(schema))


def _reason(schema: OpSchema) -> str:
    """Why an operator has no gradient, as far as its schema says."""
    taken, given = (_types(schema, ends) for ends in (schema.inputs, schema.outputs))
    if not taken:
        return "has no input"
    if any(kind.startswith("optional(") for kind in (*taken, *given)):
        return "for optional values"
    if not any("float" in kind for kind in taken):
        return "takes no floats"
    return f"new in opset {_first_version(schema.name)}"


def _types(schema: OpSchema, ends: Iterable[OpSchema.FormalParameter]) -> list[str]:
    """All types that the inputs or the outputs of an operator may have."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    return [kind for end in ends for kind in allowed.get(end.type_str, [end.type_str])]


def _is_marked(schema: OpSchema) -> bool:
    category = OpSchema.DifferentiationCategory.Differentiable
    return any(one.differentiation_category == category for one in schema.inputs)


@functools.cache
def _schemas() -> list[OpSchema]:
    """The newest schema of each operator; of deprecated operators only if they are rewritten."""
    newest = {s.name: s for s in onnx.defs.get_all_schemas() if s.domain == ""}
    kept = (s for s in newest.values() if not s.deprecated or ("", s.name) in _rewrites())
    return sorted(kept, key=lambda schema: schema.name)


@functools.cache
def _first_version(op: str) -> int:
    history = onnx.defs.get_all_schemas_with_history()
    return min(s.since_version for s in history if (s.domain, s.name) == ("", op))


@functools.cache
def _rewrites() -> dict[tuple[str, str], str]:
    """The module of `lower` that replaces an operator, by its domain and name."""
    found: dict[tuple[str, str], str] = {}
    for _, name, _ in pkgutil.iter_modules(_PASSES.__path__, _PASSES.__name__ + "."):
        for table in vars(importlib.import_module(name)).values():
            if isinstance(table, Rewrites):
                found |= dict.fromkeys(table, name)
    sequences = importlib.import_module(_PASSES.__name__ + ".sequences")
    return found | {("", op): sequences.__name__ for op in sequences._RULES}


def _link(module: str, text: str = "", up: str = "..") -> str:
    """A link to a module; `up` is the path from the page to the repository."""
    path = module.replace(".", "/") + ".py"
    if not (_ROOT / path).is_file():
        raise FileNotFoundError(path)
    return f"[{text or module.rpartition('.')[2]}]({up}/{path})"
