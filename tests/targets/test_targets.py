"""The explained number is the one that the target names."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain.errors import MapError, TargetError
from onnxplain.images.labels import Labels
from onnxplain.targets import Answered, Class, Element, Mask, Similarity, Target, as_list, resolve

SCORES = np.array([[0.1, 0.7, 0.1, 0.5]], np.float32)
LABELS = Labels({0: "cat", 1: "tiger cat", 2: "dog, hound", 3: "hot dog"}, "test")
MAP = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 3, 2, 4)


@pytest.mark.parametrize(
    ("spec", "indices"),
    [
        (2, [2]),
        (np.int64(3), [3]),
        ("0", [0]),
        (" 1 ", [1]),
        ("top1", [1]),
        ("top3", [1, 3, 0]),  # of two equal scores the first class comes first
        ("top4", [1, 3, 0, 2]),
        ("tiger cat", [1]),
        ("Cat", [0]),  # the label that equals it, not the two that contain it
        ("hound", [2]),
        ("dog, hound", [2]),  # a label that contains a comma
        ("top1,2", [1, 2]),
        ("cat, hot dog,", [0, 3]),
    ],
)
def test_a_word_or_a_number_means_classes(spec: Any, indices: list[int]) -> None:
    found = resolve(spec, Answered(SCORES, LABELS))
    assert found == [Class(i, LABELS.names[i]) for i in indices]
    assert_array_equal([t.score(SCORES)[0] for t in found], SCORES[0, indices])


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (1, 1, 1, 4), (1, 1, 4)])
def test_axes_of_one_element_do_not_hide_the_classes(shape: tuple[int, ...]) -> None:
    (found,) = resolve("top1", Answered(SCORES.reshape(shape)))
    assert found == Class(1)
    assert_array_equal(found.score(SCORES.reshape(shape)), SCORES[:, 1])


@pytest.mark.parametrize(
    ("spec", "answer", "labels", "error", "sentence"),
    [
        (4, SCORES, None, TargetError, "no class 4: the model has 4 classes, 0 to 3"),
        (-1, SCORES, None, TargetError, "no class -1"),
        ("top5", SCORES, None, TargetError, "no top5: the model has 4 classes"),
        ("top0", SCORES, None, TargetError, "no top0"),
        ("cat", SCORES, None, TargetError, "no labels: give the index"),
        ("og", SCORES, LABELS, TargetError, r"fits 2 classes: 2 \(dog, hound\), 3 \(hot dog\)"),
        ("tigre cat", SCORES, LABELS, TargetError, r"close are 1 \(tiger cat\)"),
        ("top1", SCORES * np.nan, None, MapError, "not finite"),
        (
            0,
            MAP,
            None,
            TargetError,
            r"shape \(3, 2, 4\).*--labels.*--target 1,1,2,.*Mask",
        ),
        ("1,2", MAP, None, TargetError, r"shape \(3, 2, 4\) has no element \(1, 2\)"),
    ],
)
def test_a_target_that_is_none(
    spec: Any, answer: Any, labels: Labels | None, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        for target in resolve(spec, Answered(answer, labels)):
            target.score(answer)


@pytest.mark.parametrize(
    ("names", "in_order", "answer", "warned"),
    [
        ({0: "fox", 1: "snake"}, True, SCORES, True),
        ({0: "fox", 1: "snake"}, False, SCORES, False),
        (dict.fromkeys(range(SCORES.size), "fox"), True, SCORES, False),
        ({0: "fox"}, True, MAP, False),  # it is not known what the classes are
        ({0: "fox"}, True, SCORES[:, :1], False),
    ],
)
def test_a_list_of_labels_shorter_than_the_classes_is_warned_of(
    names: dict[int, str], in_order: bool, answer: Any, warned: bool
) -> None:
    warning = Answered(answer, Labels(names, "names.txt", in_order)).warning
    count = SCORES.size
    expected = f"The labels (names.txt) are a list of 2, and the model has {count} classes, "
    assert warning.startswith(expected) if warned else not warning


def test_indices_between_commas_are_one_element_of_a_map_and_classes_of_a_classifier() -> None:
    assert resolve("2,1,3", Answered(MAP)) == [Element((2, 1, 3))]
    assert resolve("2,1,3", Answered(SCORES)) == [Class(2), Class(1), Class(3)]


def test_element() -> None:
    two = np.concatenate([MAP, 2 * MAP])
    assert_array_equal(Element((2, 1, 3)).score(two), [23, 46])
    assert_array_equal(Element((-1, -1, -1)).score(two), [23, 46])
    assert Element((2, 1, 3)).name == "element 2,1,3"
    for index in [(3, 0, 0), (0, 0), (0, 0, 0, 0), (0, -3, 0)]:
        with pytest.raises(TargetError, match="has no element"):
            Element(index).score(two)


def test_mask_is_a_weighted_sum() -> None:
    weights = np.zeros((3, 2, 4), np.float32)
    weights[1, :, 2:] = 1 / 4
    # Channel 1 counts 8 to 15: 10, 11, 14, 15 in those columns.
    assert_allclose(Mask(weights).score(np.concatenate([MAP, -MAP])), [12.5, -12.5])
    with pytest.raises(TargetError, match="must be the same"):
        Mask(weights[0]).score(MAP)


def test_similarity_is_the_cosine() -> None:
    embeddings = np.array([[3, 4], [-4, 3], [-6, -8], [0, 0]], np.float32)
    assert_allclose(Similarity(np.array([6.0, 8])).score(embeddings), [1, 0, -1, 0], atol=1e-7)
    with pytest.raises(TargetError, match="has 3 elements, the answer 2"):
        Similarity(np.ones(3)).score(embeddings)
    for nothing in (np.zeros(2), np.array([np.inf, 1])):
        with pytest.raises(TargetError, match="zero or not finite"):
            Similarity(nothing)


def test_one_target_or_several() -> None:
    mask = Mask(np.ones(3, np.float32))
    assert isinstance(mask, Target)
    for one in (3, np.int64(3), "top1", mask):
        assert as_list(one, 2) == [one, one]
    for several in ([3, "cat"], np.array([1, 2]), (mask,)):
        assert as_list(several) == list(several)
    with pytest.raises(TargetError, match=r"1\.5 is no target"):
        as_list(1.5)  # type: ignore[arg-type]
