"""Comparison with onnx-ad, on the exports and shipped models that it accepts.

It needs fixed sizes, so the models are given fixed sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx

from onnxplain.model.load import load
from onnxplain.tensors import FloatArray
from onnxplain.transforms.extract import with_outputs
from tools.gradients.ours import Subject, difference, run

HEADER = (
    "| model | nodes | onnx-ad's | largest difference | 1 - cosine |\n"
    "| --- | ---: | ---: | ---: | ---: |"
)


def rows(files: list[Path]) -> Iterator[str]:
    """One row in Markdown per file."""
    warnings.simplefilter("ignore")
    for path in files:
        try:
            yield _row(path)
        except Exception as error:  # any exception with which it refuses a model
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            yield f"| {path.stem} | | | refused: {reason.replace('|', '/')} | |"


def _row(path: Path) -> str:
    subject = Subject(path)
    ours = subject.gradients(subject.picture)[subject.picture]
    theirs, nodes = _gradient(subject)
    far, turned = difference(ours, theirs) if theirs.any() else (float("inf"), float("nan"))
    own = len(subject.differentiated(subject.picture).proto.graph.node)
    return f"| {path.stem} | {own} | {nodes} | {far:.0e} | {turned:.0e} |"


def _gradient(subject: Subject) -> tuple[FloatArray, int]:
    """Its gradient at the picture, and the number of nodes. Seeds have one more axis at the end."""
    from onnx_ad import reverse  # type: ignore[import-untyped]

    made = reverse(
        _fixed(subject),
        inputs=[subject.picture],
        outputs=[subject.score],
        prefix="adj_",
        layout="onnx",
    )
    feeds = {subject.picture: subject.x, "adj_" + subject.score: subject.seed[..., None]}
    found = run(load(made), feeds)["adj_" + subject.picture]
    return found[..., 0], len(made.graph.node)


def _fixed(subject: Subject) -> onnx.ModelProto:
    """The model up to the score, with weights in the file and fixed sizes, as onnx-ad needs it."""
    proto = with_outputs(subject.original, [subject.score]).proto
    onnx.load_external_data_for_model(proto, str(subject.original.folder or ""))
    values = {subject.picture: subject.x, subject.score: subject.values[subject.score]}
    for value in (*proto.graph.input, *proto.graph.output):
        kind = onnx.TensorProto.FLOAT
        shape = values[value.name].shape
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shape))
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)
