"""A graph stage: the gradient of each block's own score with respect to its attention."""

from __future__ import annotations

from dataclasses import replace

import onnx_graphsurgeon as gs

from onnxplain.analysis.transformer import Transformer
from onnxplain.autodiff.differentiate import with_gradients
from onnxplain.execution.scoring import (
    BATCH,
    Scored,
    answer_tensor,
    parameter,
    parameters,
    seed_tensor,
    with_seeds,
)
from onnxplain.formulas.graph_namespace import GraphNamespace
from onnxplain.model.model import Model
from onnxplain.transforms.block_scores import BLOCK_SCORES, with_block_scores, without_cuts
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

_BLOCKS = PREFIX + "blocks/"


def with_block_gradients(
    model: Model, blocks: Transformer, scored: Scored, batch: int | None
) -> Model:
    """The model with the gradients of each block's own scores with respect to its attention.

    The outputs do not change; `differentiate.gradient_name` gives the names of the gradients.
    `model` must already have the seeds of `scored`. `batch` is the number of samples if the graph
    takes only that number, else None. The parameters of the targets, such as the predicted class,
    come from the model's own answer, not from the answer of a block.

    Raises:
        LayerError: the tokens after a block are not known.
        GradientError: an operator has no gradient.
    """
    answer, depth = scored.reading.tensor, len(blocks.attention)
    of_blocks = replace(scored, reading=replace(scored.reading, tensor=BLOCK_SCORES))
    model = _with_targets(model, scored, depth)
    model = with_block_scores(model, blocks, answer, batch or BATCH)
    model = with_seeds(model, of_blocks, batch and batch * depth, _BLOCKS)
    seeds = [seed_tensor(t, _BLOCKS) for t in range(scored.count)]
    model = with_gradients(
        model, BLOCK_SCORES, blocks.attention, seeds, prefix=_BLOCKS + "gradient/"
    )
    return without_cuts(model, blocks)


def _with_targets(model: Model, scored: Scored, depth: int) -> Model:
    """The model with the parameters of all targets, once for each block."""
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, _BLOCKS + "targets/")
    xp = GraphNamespace(g, scored.ranks)
    answer = xp.array(gs.Variable(answer_tensor()), (None, *scored.shape[1:]))
    for t in range(scored.count):
        given = scored.target(t).settled(xp, answer, parameters(xp, scored, t))
        for name, value in given.items():
            g.Concat(*[value.tensor] * depth, axis=0).name = parameter(t, name, _BLOCKS)
    return appended(model, gs.export_onnx(graph, do_type_check=False).graph)
