"""From a model to a model that also computes gradients of its score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import onnx_graphsurgeon as gs
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.autodiff.walk import backpropagate, nodes_between
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.model.operators import CARRIES
from onnxplain.model.shapes import Dims
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import appended, with_outputs

SEED = PREFIX + "seed"
GRADIENT = PREFIX + "gradient/"
"""Prefix of the name of a gradient; the name of the tensor follows."""


def seed_name(index: int) -> str:
    """The name of the input for seed number `index`, from 0; the first is `SEED`."""
    return f"{SEED}_{index}" if index else SEED


def gradient_name(tensor: str, index: int = 0, result: str = "gradient") -> str:
    """The name of the gradient with respect to `tensor`, for seed number `index`, from 0.

    Or of another `result` of rules, see `table.RuleHooks`.
    """
    return f"{PREFIX}{result}_{index}/{tensor}" if index else f"{PREFIX}{result}/{tensor}"


def differentiate(
    model: Model,
    score: str,
    wanted: Sequence[str],
    outputs: Sequence[str] = (),
    rules: Rules = STANDARD,
    seeds: int = 1,
) -> Model:
    """The model with the gradients of Σ seed · score with respect to `wanted` as outputs.

    `SEED` becomes a float32 input of the shape of the score tensor: a one-hot row selects a class
    for each sample, a mask selects a region. Several `seeds` share one forward pass; `seed_name`
    and `gradient_name` give the names. The outputs are `outputs`, then the gradients for each seed,
    in the order of `wanted`. The original nodes and names stay as they are.

    Raises:
        GradientError: see `walk.backpropagate`; or the model has gradients already.
    """
    if SEED in model.index.inputs:
        raise GradientError(
            "The model computes gradients already: differentiate the one that it was made from."
        )
    g = GradientBuilder.of_model(model)
    seed_names = [seed_name(index) for index in range(seeds)]
    sizes = _sizes(g, score)
    fed = appended(model, GraphProto(input=[_floats(name, sizes) for name in seed_names]))
    declared = {output.name: output for output in model.proto.graph.output}
    names = []
    for index in range(seeds):
        for tensor in wanted:
            names.append(gradient_name(tensor, index, rules.hooks.result))
            declared[names[-1]] = _floats(names[-1], g.dims(g.tensor(tensor)))
    computed = with_gradients(fed, score, wanted, seed_names, rules)
    differentiated = with_outputs(computed, [*outputs, *names])
    for output in differentiated.proto.graph.output:  # ONNX requires their types
        if output.name in declared:
            output.CopyFrom(declared[output.name])
    return differentiated


def with_gradients(
    model: Model,
    score: str,
    wanted: Sequence[str],
    seeds: Sequence[str],
    rules: Rules = STANDARD,
    prefix: str = PREFIX + "grad/",
) -> Model:
    """The model with additional tensors: the gradients of Σ seed · score by `wanted`.

    `seeds` are tensors of the model, of the shape of the score tensor. `gradient_name` gives the
    name of a gradient, by the index of its seed. Names of other new nodes start with `prefix`. The
    outputs stay as they are.

    Raises:
        GradientError: see `walk.backpropagate`.
    """
    g = GradientBuilder.of_model(model, prefix)
    nodes, carried = nodes_between(model.index, wanted, [score]), _carried(model, score)
    for index, seed in enumerate(seeds):
        gradients = backpropagate(g, nodes, score, g.tensor(seed), wanted, rules, carried)
        for tensor, gradient in zip(wanted, gradients, strict=True):
            name = gradient_name(tensor, index, rules.hooks.result)
            g.graph.nodes.append(gs.Node("Identity", name, {}, [gradient], [gs.Variable(name)]))
    return appended(model, gs.export_onnx(g.graph, do_type_check=False).graph)


def _carried(model: Model, score: str) -> frozenset[str]:
    """The score tensor, and tensors before it with the same numbers, up to rounding and order."""
    found = [score]
    while (node := model.index.producer(found[-1])) is not None and node.op_type in CARRIES:
        found.append(node.input[0])
    return frozenset(found)


def _sizes(g: GradientBuilder, tensor: str) -> Dims:
    """Dimensions of an input with the shape of `tensor`: static batch and classes, then names.

    ONNX Runtime uses its blocked layout for convolutions only where it knows that batch sizes are
    equal. Later dimensions get names, because shape inference is wrong for some transposed
    convolutions and pools.
    """
    variable = g.tensor(tensor)
    known = (g.dims(variable) or ())[:2]
    names = (f"seed_{axis}" for axis in range(g.rank(variable)))
    return tuple(name if dim is None else dim for name, dim in zip_longest(names, known))


def _floats(name: str, dims: Dims | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
