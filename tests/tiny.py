"""Small models written as text, and plain ONNX Runtime to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

Array = NDArray[Any]

PICTURE = "float[N,3,8,8] x"


def tiny(
    body: str,
    inputs: str = PICTURE,
    outputs: str = "float[N,C] y",
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[str] = (),
    functions: str = "",
    **constants: Array,
) -> ModelProto:
    """A model whose nodes are `body`, in ONNX's text form, and whose weights are `constants`."""
    imports = ", ".join([f'"": {opset}', *(f'"{domain}": 1' for domain in domains)])
    model = parser.parse_model(
        f"<ir_version: {ir}, opset_import: [{imports}]>\n"
        f"g ({inputs}) => ({outputs}) {{ {body} }}\n{functions}"
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return model


def run(model: ModelProto, feeds: Mapping[str, Array], outputs: Sequence[str] = ()) -> list[Array]:
    """The outputs of plain ONNX Runtime, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(list(outputs) or None, dict(feeds))]


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal noise."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
