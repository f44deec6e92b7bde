"""Old forms of operators compared with their new forms, in ONNX Runtime."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from onnxplain.autodiff.lowering import opset
from onnxplain.autodiff.lowering.opset import raise_opset
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, operators

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

FORMS = {
    "Clip, both bounds": (7, "Clip<min=-0.5, max=0.3>(x)"),
    "Clip, one bound": (7, "Clip<max=0.3>(x)"),
    "Pad": (7, "Pad<pads=[0,0,1,2,0,0,3,0], value=1.5>(x)"),
    "Pad, reflected": (10, 'Pad<pads=[0,0,1,2,0,0,1,0], mode="reflect">(x)'),
    "Slice": (7, "Slice<starts=[1,-3], ends=[2,100], axes=[1,3]>(x)"),
    "Slice, leading axes": (9, "Slice<starts=[0,1], ends=[1,3]>(x)"),
    "Squeeze": (11, "Squeeze<axes=[0]>(one)"),
    "Squeeze, all of size 1": (7, "Squeeze(one)"),
    "Unsqueeze": (7, "Unsqueeze<axes=[0,2]>(x)"),
    "ReduceSum": (11, "ReduceSum<axes=[1,-1], keepdims=0>(x)"),
    "ReduceMean": (13, "ReduceMean<axes=[2,3]>(x)"),
    "ReduceMax, all axes": (12, "ReduceMax(x)"),
    "ReduceL2": (7, "ReduceL2<axes=[1], keepdims=0>(x)"),
    "ReduceLogSumExp": (17, "ReduceLogSumExp<axes=[1]>(x)"),
    "Softmax, the last axes": (7, "Softmax(x)"),
    "Softmax, all axes": (11, "Softmax<axis=0>(x)"),
    "Softmax, the last axis": (11, "Softmax<axis=-1>(x)"),
    "Softmax, the last axis counted from the front": (11, "Softmax<axis=3>(x)"),
    "LogSoftmax": (12, "LogSoftmax<axis=2>(x)"),
    "Hardmax": (9, "Hardmax<axis=2>(x)"),
    "Upsample, attribute": (7, "Upsample<scales=[1.0, 1.0, 2.0, 3.0]>(x)"),
    "Upsample, linear": (9, 'Upsample<mode="linear">(x, up)'),
    "Resize": (10, "Resize(x, up)"),
    "Resize, linear": (10, 'Resize<mode="linear">(x, up)'),
    "Resize, smaller": (10, "Resize(x, down)"),
    "Resize, empty scales": (11, 'Resize<mode="linear">(x, empty, empty, sizes)'),
    "Resize, empty region": (12, 'Resize<mode="cubic">(x, empty, up)'),
    "Resize, a crop": (
        13,
        'Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, crop, up)',
    ),
    "Dropout": (7, "Dropout<ratio=0.5>(x)"),
    "BatchNormalization": (
        7,
        "BatchNormalization<epsilon=0.1, momentum=0.9>(x, three, three, three, positive)",
    ),
    "BatchNormalization, spatial": (
        8,
        "BatchNormalization<spatial=1>(x, three, three, three, positive)",
    ),
    "Scatter": (9, "Scatter<axis=1>(x, picks, ones)"),
    "RoiAlign": (
        10,
        "RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(x, boxes, batch)",
    ),
    "Gemm": (7, "Gemm<alpha=0.5, transB=1>(square, square, square)"),
    "TopK": (7, "TopK<k=2, axis=1>(x)", 2),
    "Split, equal": (7, "Split<axis=3>(x)", 2),
    "Split": (11, "Split<axis=3, split=[1,3]>(x)", 2),
    "Split, sizes as an input": (13, "Split<axis=3>(x, parts)", 2),
    "Split, equal, no attribute": (13, "Split<axis=2>(x)", 2),
}

CONSTANTS = """float[4] up = {1, 1, 2, 1.5}, float[4] down = {1, 1, 0.6, 0.8}, float[0] empty = {},
    int64[4] sizes = {1, 3, 5, 7}, float[8] crop = {0, 0, 0.1, 0.2, 1, 1, 0.8, 0.9},
    float[3] three = {0.5, -1, 2}, float[3] positive = {0.5, 1, 2},
    int64[1,1,1,2] picks = {2, 0}, float[1,1,1,2] ones = {1, 1},
    float[2,4] boxes = {0, 0, 3, 3, 1, 0.5, 2.5, 4}, int64[2] batch = {0, 0},
    float[2,2] square = {1, 2, 3, 4}, int64[2] parts = {1, 3}, float[1,2,1] one = {3, 4}"""


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_new_form_gives_the_same(form: tuple[int, str] | tuple[int, str, int]) -> None:
    version, call, count = (*form, 1)[:3]
    outputs = [f"y{i}" for i in range(count)]
    declared = ", ".join(f"float {name}" for name in outputs)
    source = f"""<ir_version: 8, opset_import: ["": {version}]>
        g (float[1,3,4,4] x) => ({declared}) <{CONSTANTS}> {{ {", ".join(outputs)} = {call} }}"""
    model = parser.parse_model(source)
    for value in model.graph.output:
        value.ClearField("type")
    changed = agreeing(model, raise_opset, {"x": normal(1, 3, 4, 4)})
    assert changed.opset == 18
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(changed.proto, strict_mode=True))


def test_inside_a_branch() -> None:
    changed = agreeing(
        """<ir_version: 8, opset_import: ["": 11]>
        g (float[2,3] x, bool c) => (float[3] y)
        { y = If(c) <then_branch = a () => (float[3] p) { p = ReduceSum<axes=[0], keepdims=0>(x) },
                     else_branch = b () => (float[3] q) { q = ReduceMax<axes=[0], keepdims=0>(x) }>
        }""",
        raise_opset,
        {"x": normal(2, 3), "c": np.array(False)},
    )
    assert operators(changed) == ["If", "ReduceSum", "ReduceMax"]


@pytest.mark.parametrize("name", ["shufflenet", "inception_v2", "zfnet512"])
def test_classic_architecture(name: str) -> None:
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    agreeing(model, raise_opset, {load(model).inputs[0].name: normal(1, 3, 224, 224)})


def test_every_operator_whose_form_changed_has_a_rule() -> None:
    """By the schemas: an attribute was removed, or a default changed, between opsets 7 and 18."""
    changed = set()
    for name, forms in history().items():
        old = [form for form in forms if form.since_version <= opset.LOWEST]
        for before, after in itertools.pairwise(old):
            if after.since_version > 7 and form_of(before) - form_of(after):
                changed.add(name)
    assert changed - {key[1] for key in opset._RULES} == set()


def history() -> dict[str, list[onnx.defs.OpSchema]]:
    """The schemas of each operator, oldest first."""
    found = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name].append(schema)
    return {
        name: sorted(forms, key=lambda form: form.since_version) for name, forms in found.items()
    }


def form_of(schema: onnx.defs.OpSchema) -> set[tuple[str, bytes]]:
    """Attributes and their defaults."""
    return {
        (name, attribute.default_value.SerializeToString())
        for name, attribute in schema.attributes.items()
    }


def test_what_cannot_be_raised() -> None:
    old = """<ir_version: 3, opset_import: ["": 6]> g (float[2] x) => (float[2] y) { y = Neg(x) }"""
    with pytest.raises(GradientError, match="opset 6"):
        raise_opset(load(parser.parse_model(old)))
    apart = """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,1,2] x, float[1,2] s) => (float[1,1,2] y)
        { y = BatchNormalization<spatial=0>(x, s, s, s, s) }"""
    with pytest.raises(GradientError, match="spatial=0"):
        raise_opset(load(parser.parse_model(apart)))


def test_a_newer_model_stays_as_it_is() -> None:
    source = (
        """<ir_version: 8, opset_import: ["": 19]> g (float[2] x) => (float[2] y) { y = Neg(x) }"""
    )
    model = load(parser.parse_model(source))
    assert raise_opset(model) is model


def test_a_model_of_other_domains_alone_gets_the_standard_operators() -> None:
    """Its score is still refused, but because of its operators."""
    source = """<ir_version: 8, opset_import: ["ai.onnx.ml": 2]>
        g (float[2,3] x) => (float[2,3] y) { y = ai.onnx.ml.Binarizer(x) }"""
    raised = agreeing(source, raise_opset, {"x": normal(2, 3)})
    assert raised.opset == 18
