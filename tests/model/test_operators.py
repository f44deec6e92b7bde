"""The table of operators names only existing operators, and has no contradictions."""

from __future__ import annotations

from itertools import combinations

import onnx
import pytest

from onnxplain.model import operators

# ONNX Runtime's own operators, whose names the onnx package does not have.
MICROSOFT = frozenset(
    "BiasGelu DynamicQuantizeLSTM DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul "
    "MatMulIntegerToFloat MatMulNBits QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat "
    "QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QuickGelu "
    "SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization".split()
)
STANDARD = frozenset(s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain)

GROUPS = {
    name: group
    for name, group in vars(operators).items()
    if isinstance(group, frozenset) and not name.endswith("DOMAINS")
}
KINDS = (
    "COPIES ROUNDS UNARY BROADCASTING MOVES FILLS SCATTERS REDUCTIONS POOLS WEIGHTED SOFTMAXES "
    "NORMALIZES_LAST CHANNEL_NORMALIZATIONS RECURRENT SIZE_READERS CONTROL_FLOW RANDOM".split()
)


@pytest.mark.parametrize("name", GROUPS)
def test_every_operator_of_a_group_exists(name: str) -> None:
    assert GROUPS[name] - STANDARD - MICROSOFT == set()


@pytest.mark.parametrize(("one", "other"), list(combinations(KINDS, 2)))
def test_an_operator_is_of_one_kind(one: str, other: str) -> None:
    assert GROUPS[one] & GROUPS[other] == set()


@pytest.mark.parametrize("op", operators.FORMS)
def test_a_form_is_one_of_a_standard_operator(op: str) -> None:
    assert op in STANDARD | MICROSOFT
    assert operators.standard_form(op) in STANDARD
    assert operators.standard_form(operators.standard_form(op)) == operators.standard_form(op)


def test_data_inputs() -> None:
    assert list(operators.data_places("QLinearConcat", 8)) == [2, 5]
    assert list(operators.data_places("QGemm", 9)) == [0, 3]
    assert list(operators.data_places("FusedConv", 2)) == [0, 1]
    assert list(operators.data_places("Concat", 3)) == [0, 1, 2]
