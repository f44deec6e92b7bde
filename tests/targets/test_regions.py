"""Classes of a segmenter, where they are predicted and at given places."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain.errors import MapError, PreprocessError, TargetError
from onnxplain.images.geometry import Placement
from onnxplain.images.labels import Labels
from onnxplain.targets import Answered, Element, Region, Target, resolve

# The predicted class, by row and column of the output:
TOP = np.array([[2, 2, 2, 0], [2, 2, 0, 0], [1, 0, 0, 2]])
SCORES = np.random.default_rng(0).normal(size=(1, 4, 3, 4)).astype(np.float32)
np.put_along_axis(SCORES[0], TOP[None], 5 + TOP[None].astype(np.float32), axis=0)
LABELS = Labels({0: "wall", 1: "cat", 2: "dog, hound", 3: "x@home"}, "test")
SAME = Placement.stretch((3, 4), (3, 4))
MAPS = Answered(SCORES, LABELS, 1, None, SAME)


def where(target: Target) -> list[tuple[int, ...]]:
    assert isinstance(target, Region)
    return [tuple(map(int, cell)) for cell in np.argwhere(target.cells)]


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("spec", [2, "2", "hound", "2@predicted", "top1"])
def test_a_class_is_where_it_is_predicted(spec: Any, axis: int) -> None:
    answer = np.moveaxis(SCORES, 1, axis)
    (found,) = resolve(spec, Answered(answer, LABELS, axis, None, SAME))
    assert isinstance(found, Region)
    assert (found.index, found.label, found.pixels) == (2, "dog, hound", 6)
    assert_array_equal(found.cells, TOP == 2)
    # For another output the region stays the same.
    both = np.concatenate([answer, -2 * answer])
    assert_allclose(found.score(both), [7, -14], rtol=1e-6)
    weights = found.parameters(answer.shape[1:])["weights"]
    expected = np.zeros((4, 3, 4))
    expected[2, TOP == 2] = 1 / 6
    assert_allclose(np.moveaxis(weights, axis - 1, 0), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1@all", [(1, [(r, c) for r in range(3) for c in range(4)])]),
        ("cat@3,2", [(1, [(2, 3)])]),
        ("0@box:2,1,2,2", [(0, [(1, 2), (1, 3), (2, 2), (2, 3)])]),
        ("0@box:2,1,2,2@predicted", [(0, [(1, 2), (1, 3), (2, 2)])]),
        ("0@box:2,1,2,2@box:0,0,3,9", [(0, [(1, 2), (2, 2)])]),
        ("0@3,2,1", [(0, [(2, 3)]), (1, [(2, 0)])]),  # class 0 at a point, and class 1
        ("top1@0,2", [(1, [(2, 0)])]),  # what is predicted there
        ("top2@box:2,1,2,2@predicted", [(0, [(1, 2), (1, 3), (2, 2)]), (2, [(2, 3)])]),
    ],
)
def test_places(spec: str, expected: list[tuple[int, list[tuple[int, int]]]]) -> None:
    found = resolve(spec, MAPS)
    assert [(t.index, where(t)) for t in found if isinstance(t, Region)] == expected


def test_top_classes_are_those_of_the_largest_areas() -> None:
    assert [t.index for t in resolve("top2", MAPS) if isinstance(t, Region)] == [2, 0]
    # No more than there are.
    assert [t.index for t in resolve("top9", MAPS) if isinstance(t, Region)] == [2, 0, 1]


def test_as_many_indices_as_axes_are_an_element() -> None:
    assert resolve("1,2,3", MAPS) == [Element((1, 2, 3))]
    assert [t.index for t in resolve("1,2", MAPS) if isinstance(t, Region)] == [1, 2]


@pytest.mark.parametrize("threshold", [0, 0.5])
def test_the_only_class_is_predicted_above_the_threshold(threshold: float) -> None:
    scores = np.array([-0.1, 0.2, 0.6, threshold], np.float32).reshape(1, 1, 2, 2)
    for spec in ("0", "top1"):
        (found,) = resolve(spec, Answered(scores, None, 1, threshold))
        assert where(found) == ([(0, 1), (1, 0)] if threshold == 0 else [(1, 0)])
    with pytest.raises(TargetError, match=r"Class 0 is predicted nowhere.*0@all"):
        resolve("0", Answered(scores - 9, None, 1, threshold))


def test_classes_that_do_not_exclude_each_other_are_predicted_above_the_threshold() -> None:
    scores = np.array([[[3, 0.1]], [[2, -1]]], np.float32)[None]
    first, second = resolve("top2", Answered(scores, None, 1, 0))
    assert (where(first), where(second)) == ([(0, 0), (0, 1)], [(0, 0)])


def test_padding_is_no_part_of_a_region() -> None:
    # A picture of 2 x 2 in the middle columns of a square of 4 x 4.
    placement = Placement.letterbox((4, 2), (4, 4))
    scores = np.zeros((1, 2, 4, 4), np.float32)
    scores[0, 1, :, 0] = 1
    answered = Answered(scores, None, 1, None, placement)
    (everywhere,) = resolve("1@all", answered)
    assert where(everywhere) == [(r, c) for r in range(4) for c in (1, 2)]
    assert [t.index for t in resolve("top2", answered) if isinstance(t, Region)] == [0]
    with pytest.raises(TargetError, match="predicted nowhere"):
        resolve("1", answered)


@pytest.mark.parametrize("spec", ["dog, hound@3,0", "dog, hound @ 3 , 0", "hound@ 3, 0"])
def test_a_label_with_a_comma_and_a_place(spec: str) -> None:
    (found,) = resolve(spec, MAPS)
    assert isinstance(found, Region)
    assert (found.index, where(found)) == (2, [(0, 3)])


def test_many_places_and_a_slip_are_refused_at_once() -> None:
    with pytest.raises(TargetError, match="cannot be read"):
        resolve("0@1,2" + ",0@1,2" * 60 + ",@,", MAPS)


@pytest.mark.parametrize(
    ("spec", "answered", "error", "sentence"),
    [
        (3, MAPS, TargetError, r"Class 3 \(x@home\) is predicted nowhere in this picture: what is "
         r"predicted is 2 \(dog, hound\), 0 \(wall\), 1 \(cat\); .* with 3@all"),
        ("cat@3,0@predicted", MAPS, TargetError, r"Class 1 \(cat\) is predicted nowhere.*3,0"),
        (4, MAPS, TargetError, "no class 4: the model has 4 classes, 0 to 3"),
        ("-1@all", MAPS, TargetError, "no class -1"),
        ("1@all", Answered(SCORES[:, :1], None, 1, 0, SAME), TargetError, "has one class, 0"),
        ("bird", MAPS, TargetError, "No class is called 'bird'"),
        ("cat@", MAPS, TargetError, r"'cat@' cannot be read: give a class or top1.*after @"),
        ("top0", MAPS, TargetError, "no top0"),
        ("1@all", Answered(SCORES[..., 0, 0], None), TargetError,
         r"1@all names a place, but only .* segmentation.*\(4,\)"),
        ("cat", Answered(SCORES * np.nan, LABELS, 1), MapError, "not finite"),
    ],
)  # fmt: skip
def test_what_is_no_target(
    spec: Any, answered: Answered, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        resolve(spec, answered)


def test_labels_of_classes_that_a_segmenter_lacks_are_refused() -> None:
    with pytest.raises(PreprocessError, match=r"go up to class 3.*last class is 2"):
        Answered(SCORES[:, :3], LABELS, 1)


def test_regions_of_ones_own() -> None:
    assert Region(1, TOP == 2).score(SCORES) == pytest.approx(SCORES[0, 1][TOP == 2].mean())
    assert Region(1, TOP == 2, -1).score(np.moveaxis(SCORES, 1, -1)) == pytest.approx(
        SCORES[0, 1][TOP == 2].mean()
    )
    with pytest.raises(TargetError, match="holds no cell"):
        Region(1, TOP == 9)
    with pytest.raises(TargetError, match=r"shape \(4, 3\), and the answer \(4, 3, 4\)"):
        Region(1, TOP.T == 2).score(SCORES)
    with pytest.raises(TargetError, match="no class 4"):
        Region(4, TOP == 2).score(SCORES)
