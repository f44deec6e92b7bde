"""Texts with the form of another kind of target are refused, and never taken for a class."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from onnxplain.errors import TargetError
from onnxplain.images.geometry import Placement
from onnxplain.images.labels import Labels
from onnxplain.targets import Answered, Class, Opposite, Output, resolve
from onnxplain.targets.detections import detected

NAMES = "good", "bad", "wall clock", "T-shirt"  # "wall" has "all" in it
LABELS = Labels(dict(enumerate(NAMES)), "test")
SCORES = np.array([[0.1, 0.7, 0.1, 0.5]], np.float32)
SIZE = 40, 60
PLACEMENT = Placement.stretch(SIZE, SIZE)
MAPS = np.zeros((1, 4, *SIZE), np.float32)
BOXES = np.array([[2, 2, 12, 12], [20, 20, 36, 36]], np.float32).T
FOUND = np.array([[0.9, 0], [0, 0.8], [0, 0], [0, 0.02]], np.float32)


def answer(kind: str, labels: Labels | None) -> Answered:
    if kind == "classifier":
        return Answered(SCORES, labels)
    if kind == "segmenter":
        return Answered(MAPS, labels, 1, None, PLACEMENT)
    return Answered(SCORES, named=detected(BOXES, FOUND, None, PLACEMENT, labels))


EXAMPLES = {
    "classifier": "top1, 0, LABEL, all, p>0.5, expected, 0-1 or not:0",
    "segmenter": "0@all, 0@X,Y",
    "detector": "person#2, person#any",
}
FOREIGN = {
    "classifier": ("output", "char:3", "step:4", "text", "3-", "person#2", "any", "not:all"),
    "segmenter": ("p>0.5", "p<0.5", "expected", "output", "char:3", "any", "not:all"),
    "detector": ("all", "p>0.5", "element:3", "expected", "output", "not:all", "all - good"),
}


@pytest.mark.parametrize("labels", [LABELS, None])
@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in FOREIGN.items() for text in texts]
)
def test_a_form_of_another_kind_is_refused_with_those_that_apply(
    kind: str, text: str, labels: Labels | None
) -> None:
    with pytest.raises(TargetError, match="names no single class here") as error:
        resolve(text, answer(kind, labels))
    assert EXAMPLES[kind] in str(error.value)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_whole_label_is_a_class_in_any_form(kind: str) -> None:
    labels = Labels({0: "text", 1: "p<0.5, small", 2: "C#2", 3: "all"}, "test")
    with pytest.raises(TargetError, match="names no single class"):
        resolve("output - 1", answer(kind, labels))
    if kind == "classifier":
        for text, index in (("Text", 0), ("small", 1), ("C#2", 2), ("p<0.5, small", 1)):
            assert resolve(text, answer(kind, labels)) == [Class(index, labels.names[index])]
    if kind == "detector":
        assert [box.name for box in resolve("text", answer(kind, labels))] == ["0 text"]


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("good-bad", "'good-bad': .* spaces around its minus sign, 'good - bad'"),
        ("0-bad", "'0 - bad'"),
        ("top0", "no top0: count from top1"),
        ("not:1 - 0", "'1 - 0' is a difference: exchange its classes"),
        ("worse-bad", "No class is called 'worse-bad'"),
    ],
)
def test_slips(kind: str, text: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        resolve(text, answer(kind, LABELS))


@pytest.mark.parametrize("text", ["p<0.5", "p <= 0.5", "p=0.5", "not:p<0.5"])
def test_only_two_comparisons_are_known(text: str) -> None:
    with pytest.raises(TargetError, match=r"only > and >= are known, as in 'p>0\.5'"):
        resolve(text, answer("classifier", LABELS))


def test_a_class_that_is_missing() -> None:
    with pytest.raises(TargetError, match="A class is missing: the targets are top1, 0, LABEL"):
        resolve("not:", answer("classifier", LABELS))
    with pytest.raises(TargetError, match=r"names no class.* as in not:0@all"):
        resolve("not:@all", answer("segmenter", LABELS))


def test_the_opposite_of_what_needs_no_name() -> None:
    assert resolve("not:output", Answered(SCORES[:, 1:2])) == [Opposite(Output())]
    (found,) = resolve("not:@all", Answered(MAPS[:, :1] + 3, None, 1, 0, PLACEMENT))
    assert found.name == "not 0@all"
    assert_allclose(found.score(MAPS[:, :1] + 3), [-3], rtol=1e-6)


def test_one_class_is_written_in_the_singular() -> None:
    with pytest.raises(TargetError, match=r"no top2: the model has 1 class\."):
        resolve("top2", Answered(SCORES[:, :1], Labels({0: "fox"}, "test")))
