"""The shape of an output for a sample."""

from __future__ import annotations

from onnxplain.errors import OnnxplainError, attempted
from onnxplain.execution.runner import Runner
from onnxplain.model.shapes import Shape, model_shapes
from onnxplain.tensors import Array


def sample_shape(runner: Runner, x: Array, output: str) -> Shape | None:
    """The shape of an output for the sample `x`, from the graph or else from a run.

    None where the run fails.
    """
    fed = {name: value.shape for name, value in runner.feeds(runner.model, x).items()}
    known = model_shapes(runner.model, fed).get(output)
    if known is not None:
        return known
    ran = attempted(runner.tiled, runner.model, x, [output], 1)
    return None if isinstance(ran, OnnxplainError) else ran[output].shape
