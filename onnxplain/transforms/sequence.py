"""A graph transform: the answer of a text recognizer with the samples first."""

from __future__ import annotations

from dataclasses import replace

import onnx_graphsurgeon as gs

from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.sequence import Axes, SequenceScore
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended, ending_in

STEPS = PREFIX + "steps/"
"""Before the name of a tensor: its values as (N, steps, classes)."""


def with_steps(model: Model, found: SequenceScore, axes: Axes) -> tuple[Model, ScoreTensor]:
    """The model whose outputs are its scores as (N, steps, classes), and the names of these.

    They are computed from the tensors before and after the last activation.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, STEPS + "nodes/")
    score = found.score
    order = [found.moved[axis] for axis in axes.order]
    probability: gs.Tensor = gs.Variable(score.probability)
    of_score = {score.probability: probability}
    if score.logit != score.probability:
        # Between the two tensors may be operators that only change the shape.
        of_score[score.logit] = g.Reshape(gs.Variable(score.logit), g.Shape(probability))
    names = {tensor: STEPS + tensor for tensor in of_score}
    for tensor, shaped in of_score.items():
        output = gs.Variable(names[tensor])
        graph.nodes.append(gs.Node("Transpose", names[tensor], {"perm": order}, [shaped], [output]))
    added = gs.export_onnx(graph, do_type_check=False).graph
    made = replace(score, probability=names[score.probability], logit=names[score.logit])
    return ending_in(appended(model, added), names.values()), made
