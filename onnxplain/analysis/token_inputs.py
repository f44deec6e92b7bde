"""The inputs of a model that are filled from a text, and the embedding of its token ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from onnx import NodeProto

from onnxplain.errors import ModelError
from onnxplain.model.graph_index import GraphIndex, attributes
from onnxplain.model.model import Model
from onnxplain.model.operators import KEEPS_ORDER, KEEPS_VALUES
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import TensorSpec

IDS, MASK, TYPES, POSITIONS = "ids", "mask", "types", "positions"
"""What an input takes of a text, for each token: its id, 1 for a token and 0 for padding, the
number of its segment, its place."""

_NAMES: Mapping[str, re.Pattern[str]] = {
    MASK: re.compile(r"(attention|input|text|token)_?mask", re.I),
    TYPES: re.compile(r"token_?type|segment", re.I),
    POSITIONS: re.compile(r"position", re.I),
    IDS: re.compile(r"(?<![a-z])((input|token)_?)?(ids?|tokens?)(?![a-z])", re.I),
}
"""Usual names of these inputs; the first that fits decides. Inputs of a decoder are not meant."""

_OF_DECODER = re.compile(r"^(decoder|labels|target)", re.I)
_RANK = 2


def token_inputs(model: Model, explained: str | None = None) -> dict[str, TensorSpec]:
    """The inputs that take a text, by what they take of it.

    They are found by their usual names: input_ids, attention_mask, token_type_ids, position_ids.
    The `explained` input takes the ids if it has such a name, or if no other input has one.

    Raises:
        ModelError: there is no input for token ids, or there are several for one thing.
    """
    found: dict[str, list[TensorSpec]] = {}
    for spec in model.inputs:
        if (role := _role(spec)) is not None:
            found.setdefault(role, []).append(spec)
    asked = [spec for spec in model.inputs if spec.name == explained and _may_be_ids(spec)]
    named = found.setdefault(IDS, asked)
    if set(asked) & set(named):
        found[IDS] = asked
    if not found[IDS]:
        listed = ", ".join(f"{spec.name} {spec.sizes}" for spec in model.inputs)
        raise ModelError(
            f"No input of the model is known to take token ids (it has {listed}): a text fills "
            "input_ids of shape (N, tokens); name another input with --explain NAME."
        )
    for role, specs in found.items():
        if len(specs) > 1:
            names = " and ".join(repr(spec.name) for spec in specs)
            raise ModelError(
                f"The inputs {names} may all take the {role} of a text: rename those that do not."
            )
    return {role: specs[0] for role, specs in found.items()}


def takes_ids(spec: TensorSpec) -> bool:
    """Whether an input takes token ids, by its name and type."""
    return _may_be_ids(spec) and _role(spec) == IDS


def _may_be_ids(spec: TensorSpec) -> bool:
    return spec.dtype.kind in "iu" and (spec.shape is None or len(spec.shape) == _RANK)


def _role(spec: TensorSpec) -> str | None:
    fits = spec.dtype.kind in "iubf" and (spec.shape is None or len(spec.shape) == _RANK)
    if not fits or _OF_DECODER.match(spec.name):
        return None
    return next((role for role, name in _NAMES.items() if name.search(spec.name)), None)


@dataclass(frozen=True)
class Embedding:
    """The tensor that holds the embedding of each token id, float (N, tokens, size).

    `others` are tables that the ids select from besides; empty if there is only one table.
    """

    tensor: str
    others: tuple[str, ...] = ()


def find_embedding(model: Model, ids: str) -> Embedding:
    """The embedding of the token ids: what a Gather reads with them from the largest table.

    Raises:
        ModelError: the ids select from no table, or not into a tensor (N, tokens, size).
    """
    index, specs = model.index, infer_specs(model.proto)
    same = set(_alike(index, ids))
    readers = [node for name in same for node in index.readers_of(name)]
    lookups = [node for node in readers if _looks_up(index, node, same)]
    if not lookups:
        raise ModelError(
            f"The input {ids!r} selects from no table of embeddings with a Gather, so that there "
            "is no tensor at which its tokens could be explained."
        )
    lookups.sort(key=lambda node: index.position[node.output[0]])
    lookups.sort(key=lambda node: _size(index, specs, node.input[0]), reverse=True)
    made = [node.output[0] for node in lookups]
    for tensor in _alike(index, made[0]):
        spec = specs.get(tensor)
        if spec is None or (_is_float(spec) and len(spec.shape or (0, 0, 0)) == 3):
            return Embedding(tensor, tuple(node.input[0] for node in lookups[1:]))
    raise ModelError(
        f"The embedding {made[0]!r} of the input {ids!r} is no float tensor (N, tokens, size), so "
        "that its tokens cannot be explained."
    )


def _alike(index: GraphIndex, tensor: str) -> Iterator[str]:
    """A tensor, and those that hold the same numbers in the same order, nearest first."""
    waiting = [tensor]
    while waiting:
        tensor = waiting.pop(0)
        yield tensor
        waiting += [
            node.output[0]
            for node in index.readers_of(tensor)
            if node.op_type in KEEPS_VALUES | KEEPS_ORDER and node.input[0] == tensor
        ]


def _looks_up(index: GraphIndex, node: NodeProto, ids: Collection[str]) -> bool:
    """Whether a node selects rows of a constant table with the ids."""
    return (
        node.op_type == "Gather"
        and node.input[1] in ids
        and node.input[0] not in index.computed
        and node.input[0] not in index.inputs
        and attributes(node).get("axis", 0) == 0
    )


def _size(index: GraphIndex, specs: Mapping[str, TensorSpec], table: str) -> int:
    """Number of elements of a table."""
    if table in index.constants:
        return prod(index.constants[table].dims)
    shape = specs[table].shape if table in specs else None
    return prod(d for d in shape or () if isinstance(d, int))


def _is_float(spec: TensorSpec) -> bool:
    return spec.dtype.kind == "f" or spec.dtype.name == "bfloat16"
