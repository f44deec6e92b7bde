"""Sequences are no longer read; the outputs stay the same, and the model is differentiable."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.autodiff.lowering.sequences import undo_sequences
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from tools.gradcheck import check_gradient, normal
from tools.gradcheck.reference import onnxruntime_function

WEIGHTS = (
    "<int64 zero={0}, int64 one={1}, int64 two={2}, int64 four={4}, int64 last={-1}, "
    "int64[3] sizes={1,3,2}>"
)
BODIES = {
    "an element": "q = SplitToSequence<axis=1>(x, two) y = SequenceAt(q, one)",
    "the smaller last": "q = SplitToSequence<axis=1>(x, four) y = SequenceAt(q, last)",
    "given sizes": "q = SplitToSequence<axis=-1>(x, sizes) a = SequenceAt(q, one) y = Mul(a, a)",
    "single slices": "q = SplitToSequence<axis=1, keepdims=0>(x) y = SequenceAt(q, last)",
    "kept slices": "q = SplitToSequence<axis=1>(x) y = SequenceAt(q, two)",
    "split and joined": (
        "q = SplitToSequence<axis=1>(x, two) a = SequenceAt(q, one) r = SequenceInsert(q, a) "
        "y = ConcatFromSequence<axis=1>(r)"
    ),
    "stacked": (
        "s = Sin(x) q = SequenceConstruct(x, s, x) y = ConcatFromSequence<axis=1, new_axis=1>(q)"
    ),
    "inserted and erased": (
        "s = Sin(x) c = Cos(x) e = SequenceEmpty() f = SequenceInsert(e, s) "
        "h = SequenceInsert(f, c, zero) i = Identity(h) j = SequenceInsert(i, x) "
        "k = SequenceErase(j, one) y = ConcatFromSequence<axis=-1>(k)"
    ),
    "erased at the end": (
        "s = Sin(x) q = SequenceConstruct(s, x) k = SequenceErase(q) "
        "y = ConcatFromSequence<axis=1>(k)"
    ),
    "counted": (
        "q = SplitToSequence<axis=1>(x, two) n = SequenceLength(q) f = Cast<to=1>(n) y = Mul(x, f)"
    ),
}
READERS = {"SequenceAt", "ConcatFromSequence", "SequenceLength"}


def model(body: str, columns: str = "6") -> ModelProto:
    graph = f"g (float[N,{columns}] x) => (float[N,M] y) {WEIGHTS} {{ {body} }}"
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> {graph}')
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("name", BODIES)
def test_answers_stay_and_gradients_flow(name: str) -> None:
    original = model(BODIES[name])
    undone = undo_sequences(load(original)).proto
    assert not {node.op_type for node in undone.graph.node} & READERS
    feeds = {"x": normal(2, 6)}
    (expected,), (answer,) = (onnxruntime_function(m)(feeds) for m in (original, undone))
    np.testing.assert_array_equal(answer, expected)
    check_gradient(undone, feeds)


def test_what_only_the_run_can_tell_stays() -> None:
    for body, columns in ((BODIES["an element"], "M"), (BODIES["kept slices"], "M")):
        undone = undo_sequences(load(model(body, columns)))
        assert "SequenceAt" in {node.op_type for node in undone.proto.graph.node}
        undone.proto.graph.output[0].type.tensor_type.shape.dim.add()
        with pytest.raises(GradientError, match="SequenceAt"):
            differentiate(undone, "y", ["x"])


def test_a_sequence_that_is_an_output_stays() -> None:
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,4] x) => (seq(float[N,2]) q) '
        "<int64 two={2}> { q = SplitToSequence<axis=1>(x, two) }"
    )
    x = normal(2, 4)
    (parts,) = onnxruntime_function(undo_sequences(load(proto)).proto)({"x": x})
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), x)
