"""Explain why a model fails for inputs of a size that it does not take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnxplain.analysis.size_multiple import size_multiple
from onnxplain.errors import ModelError
from onnxplain.execution.samples import Samples
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.runtime.session import RunError
from onnxplain.tensors import TensorSpec


@contextmanager
def naming_multiples(
    model: Model, spec: TensorSpec, samples: Samples, shape: Shape
) -> Iterator[None]:
    """Where a run fails because of the sizes of its input, say which the model takes.

    `shape` is that of the sample, (1, ...), for the input `spec`.

    Raises:
        ModelError: the rows or columns are not multiples of what the graph needs.
        RunError: the run fails for another reason.
    """
    try:
        yield
    except RunError as error:
        axes = samples.axes(len(shape))
        if not {"H", "W"} <= set(axes) or "D" in axes:
            raise
        rows, columns = axes.index("H"), axes.index("W")
        multiple = size_multiple(model, spec, rows, columns)
        sides = shape[rows], shape[columns]
        if not any(side % multiple for side in sides):
            raise
        near = [max(side // multiple, 1) * multiple for side in sides]
        size = str(near[0]) if near[0] == near[1] else f"{near[0]}x{near[1]}"
        raise ModelError(
            f"The model fails for {sides[0]} rows and {sides[1]} columns, because it joins grids "
            f"of different sizes: use a multiple of {multiple}, such as --size {size}, or --size "
            "picture."
        ) from error
