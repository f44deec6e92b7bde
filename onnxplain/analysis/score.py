"""Which tensor holds the score: the one before a final Softmax, LogSoftmax or Sigmoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnxplain.analysis.activations import Kind, last_activation
from onnxplain.errors import ModelError
from onnxplain.model.constants import quantization
from onnxplain.model.model import Model
from onnxplain.model.operators import KEEPS_ORDER, KEEPS_VALUES
from onnxplain.model.quantization import Quantization
from onnxplain.suggestions import closest

Activation = Kind | Literal["none"]

ScoreKind = Literal["logit", "probability"]
"""What is explained: numbers before a last activation, or after it."""

_TRANSPARENT = KEEPS_VALUES | KEEPS_ORDER
"""Operators between an activation and the output that carry each score through unchanged."""


@dataclass(frozen=True)
class ScoreTensor:
    """The model's answer, before and after its last activation.

    `probability` is one of the model's outputs. `logit` is the tensor before the activation, or
    the same tensor where the model ends in logits (`activation` is then "none"). `quantization`
    says what integers of `logit` stand for; it is None where that holds floats.
    """

    probability: str
    logit: str
    activation: Activation
    quantization: Quantization | None = None


def find_score(model: Model, output: str | None = None) -> ScoreTensor:
    """Find the score tensor of `output`, or of the model's first float output.

    Raises:
        ModelError: the model has no such output, or no float output at all.
    """
    name = output if output is not None else _first_float_output(model)
    if name not in {spec.name for spec in model.outputs}:
        names = [spec.name for spec in model.outputs]
        raise ModelError(f"The model has no output {name!r}{closest(name, names)}.")
    tensor = name
    while (node := model.index.producer(tensor)) is not None:
        if (found := last_activation(model, tensor)) is not None:
            return ScoreTensor(name, found.logit, found.kind, quantization(model, found.logit))
        if node.op_type not in _TRANSPARENT:
            break
        tensor = node.input[0]
    return ScoreTensor(name, name, "none")


def _first_float_output(model: Model) -> str:
    for spec in model.outputs:
        if spec.dtype.kind == "f" or spec.dtype.name == "bfloat16":
            return spec.name
    listed = ", ".join(f"{spec.name} ({spec.dtype})" for spec in model.outputs)
    raise ModelError(
        f"None of the model's outputs is a float tensor ({listed}): there is no score to explain; "
        "use a version of the model that ends in scores rather than in a decision."
    )
