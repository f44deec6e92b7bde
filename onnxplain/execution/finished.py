"""A model and a method's formula as one graph, from samples and their targets to maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.differentiate import with_gradients
from onnxplain.autodiff.hessian import with_hessian_products
from onnxplain.autodiff.propagation.attention import attention_relevance
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.execution.block_gradients import with_block_gradients
from onnxplain.execution.plan import Formula, Plan, report_name, value_name
from onnxplain.execution.scoring import seed_tensor, with_seeds
from onnxplain.execution.wanted_tensors import Tensors
from onnxplain.execution.wants import (
    AttentionGradients,
    AttentionRelevance,
    BiasGradients,
    BlockGradients,
    ClassGradients,
    InputGradient,
    LayerGradient,
    LayerHessianProduct,
)
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended, fed, with_outputs
from onnxplain.transforms.paired import with_paired


def finish(plan: Plan) -> Model:
    """The graph of a plan.

    Its outputs are the answer tensor, the other tensors that the plan names, the maps and the
    reported numbers.

    Raises:
        GradientError: an operator that must be differentiated has no gradient.
        LayerError: the model is no transformer that attends to all tokens of one grid.
        TargetError: the answer holds no scores of the kind that is read.
    """
    model = plan.lowered
    if plan.cut is not None:
        model = fed(model, plan.cut)
    by_rules = _by_rules(plan)
    for rules in by_rules:
        model = rules.hooks.lower(model)
    wants = plan.formula.wants
    for name in dict.fromkeys(name for want in wants for name in want.references):
        model = with_paired(model, name, plan.spec.name)
    if any(want.per_target for want in wants):
        model = with_seeds(model, plan.scored, plan.batch)
    seeds = [seed_tensor(t) for t in range(plan.targets)]
    for number, (rules, tensors) in enumerate(by_rules.items()):
        prefix = f"{PREFIX}grad_{number}/"
        model = with_gradients(model, plan.answer, tensors, seeds, rules, prefix)
    if LayerHessianProduct() in wants:
        tensors = [layer.tensor for layer in plan.layers]
        model = with_hessian_products(model, tensors, plan.targets)
    if BlockGradients() in wants:
        model = with_block_gradients(model, plan.transformer, plan.scored, plan.batch)
    return _with_maps(model, plan)


def _by_rules(plan: Plan) -> dict[Rules, list[str]]:
    """The tensors to differentiate with respect to, for each set of gradient rules."""
    found: dict[Rules, dict[str, None]] = {}
    for want in plan.formula.wants:
        if isinstance(want, LayerGradient):
            found.setdefault(STANDARD, {}).update((layer.tensor, None) for layer in plan.layers)
        elif isinstance(want, BiasGradients):
            found.setdefault(STANDARD, {}).update((bias.tensor, None) for bias in plan.biases)
        elif isinstance(want, InputGradient):
            found.setdefault(want.rules, {})[plan.spec.name] = None
        elif isinstance(want, AttentionGradients | ClassGradients):
            found.setdefault(STANDARD, {}).update(dict.fromkeys(plan.transformer.matrices))
        elif isinstance(want, AttentionRelevance):
            # With the input, everything that depends on it counts as varying.
            tensors = (*plan.transformer.matrices, plan.spec.name)
            rules = attention_relevance(plan.transformer.samples_axis)
            found.setdefault(rules, {}).update(dict.fromkeys(tensors))
    return {rules: list(tensors) for rules, tensors in found.items()}


def _with_maps(model: Model, plan: Plan) -> Model:
    """The model with the formula's nodes, and only the outputs that `finish` describes."""
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "map/")
    tensors = Tensors(plan, GraphNamespace(g, plan.scored.ranks))
    outputs = dict(_results(plan, tensors))
    for name, array in outputs.items():
        graph.nodes.append(gs.Node("Identity", name, {}, [array.tensor], [gs.Variable(name)]))
    added = gs.export_onnx(graph, do_type_check=False).graph
    finished = with_outputs(appended(model, added), [plan.answer, *plan.outputs, *outputs])
    for value in finished.proto.graph.output:
        if value.name in outputs:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return finished


def _results(plan: Plan, tensors: Tensors) -> Iterator[tuple[str, GraphArray]]:
    """The maps and the reported numbers of all layers and targets, with their output names."""
    formula, xp = cast(Formula, plan.formula), tensors.xp
    for layer in plan.places:
        for target in range(plan.targets):
            wanted = [tensors.get(want, layer, target) for want in formula.wants]
            placed = tensors.placed(formula.map(formula.sums(xp), *wanted), layer)
            yield value_name(layer, target), placed
            for name, number in formula.report(xp, *wanted).items():
                yield report_name(name, layer, target), number
