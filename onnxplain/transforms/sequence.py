"""A graph transform: the answer of a text recognizer with the samples first."""

from __future__ import annotations

from dataclasses import replace

import onnx_graphsurgeon as gs

from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.sequence import Axes, SequenceScore
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

STEPS = PREFIX + "steps/"
"""Before the name of a tensor: its values as (N, steps, classes)."""


def with_steps(model: Model, found: SequenceScore, axes: Axes) -> tuple[Model, ScoreTensor]:
    """The model with its scores as (N, steps, classes), and the names of these tensors.

    They are computed from the tensors before and after the last activation. The outputs stay as
    they are.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, STEPS + "nodes/")
    score = found.score
    order = [found.moved[axis] for axis in axes.order]
    names = {}
    for tensor in dict.fromkeys([score.probability, score.logit]):
        shaped: gs.Tensor = gs.Variable(tensor)
        if tensor != score.probability:
            # Between the two tensors may be operators that only change the shape.
            shaped = g.Reshape(shaped, g.Shape(gs.Variable(score.probability)))
        names[tensor] = STEPS + tensor
        output = gs.Variable(names[tensor])
        graph.nodes.append(gs.Node("Transpose", names[tensor], {"perm": order}, [shaped], [output]))
    added = gs.export_onnx(graph, do_type_check=False).graph
    return appended(model, added), replace(
        score, probability=names[score.probability], logit=names[score.logit]
    )
