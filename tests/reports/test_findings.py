"""Classes are named where their maps differ, and nowhere else."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from reports.generated import blobs

from onnxplain.reports.findings import (
    LEVEL,
    exceedance,
    find,
    partial_conjunction,
)
from onnxplain.reports.findings import (
    testable as comparable,
)
from onnxplain.reports.places import place_shares


@pytest.mark.parametrize(("own", "other", "rank"), [(3, 4, 1), (4, 3, 2), (2, 5, 3)])
def test_the_probability_is_that_of_all_orders(own: int, other: int, rank: int) -> None:
    """All ways to place the own values among the others are equally likely: count them."""
    counts = []
    for places in itertools.combinations(range(own + other), own):
        others = [i for i in range(own + other) if i not in places]
        counts.append(sum(i > sorted(others)[-rank] for i in places))
    assert len(counts) == comb(own + other, own)
    for least in range(own + 1):
        expected = np.mean(np.array(counts) >= least)
        assert exceedance(least, own, other, rank) == pytest.approx(expected)


def test_a_small_probability_is_not_rounded_to_zero() -> None:
    # All 60 above the largest of 60: one order of C(120, 60).
    assert exceedance(60, 60, 60, 1) == pytest.approx(1 / comb(120, 60), rel=1e-6)


def test_partial_conjunction_is_bonferroni_without_the_smallest() -> None:
    assert partial_conjunction([0.001, 0.002, 0.5], 1) == pytest.approx(0.003)
    assert partial_conjunction([0.001, 0.002, 0.5], 2) == pytest.approx(0.004)
    assert partial_conjunction([0.001, 0.002, 0.5], 3) == 0.5


def found(maps: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    classes = [name for name, grids in maps.items() for _ in grids]
    return [
        (one.class_name, one.place)
        for one in find(classes, place_shares(np.concatenate(list(maps.values()))))
    ]


def test_a_class_in_the_corner_is_named() -> None:
    maps = {name: blobs(30, seed) for seed, name in enumerate("abcd")}
    maps["c"] = blobs(30, 9, at=(14, 14))
    assert found(maps) == [("c", "lower right corner")]


def test_a_part_of_a_class_is_named_with_its_members() -> None:
    maps = {name: blobs(30, seed) for seed, name in enumerate("abcd")}
    maps["b"] = np.concatenate([blobs(18, 7), blobs(12, 8, at=(1, 1))])
    classes = [name for name in "abcd" for _ in range(30)]
    (one,) = find(classes, place_shares(np.concatenate(list(maps.values()))))
    assert (one.class_name, one.place) == ("b", "upper left corner")
    assert set(range(48, 60)) <= set(one.members)
    assert len(one.members) <= 15


def test_a_second_class_with_a_mark_hides_nothing() -> None:
    maps = {name: blobs(30, seed) for seed, name in enumerate("abcdef")}
    maps["b"], maps["e"] = (blobs(30, seed, at=(14, 1)) for seed in (7, 8))
    assert sorted(found(maps)) == [("b", "lower left corner"), ("e", "lower left corner")]


def test_classes_that_do_not_differ_are_not_named() -> None:
    """More often than the level, by chance, would be a fault."""
    reports = 16
    named = sum(
        bool(found({name: blobs(15, 100 * run + i) for i, name in enumerate("abcdef")}))
        for run in range(reports)
    )
    assert named <= reports * LEVEL + 1


def test_a_small_difference_is_not_named_however_sure() -> None:
    maps = {name: blobs(400, seed) for seed, name in enumerate("ab")}
    maps["b"] = 0.95 * maps["b"] + 0.05 * blobs(400, 3, at=(1, 14))
    assert not found(maps)


def test_a_class_with_few_maps_is_left_out() -> None:
    maps = {"a": blobs(30, 0), "b": blobs(30, 1), "c": blobs(4, 2, at=(14, 14))}
    assert not found(maps)
    assert not comparable(["a"] * 30 + ["c"] * 4)
    assert comparable(["a"] * 5 + ["b"] * 5)


def test_maps_of_unknown_share_are_left_out() -> None:
    classes = ["a"] * 20 + ["b"] * 20
    share = np.array([np.nan] * 10 + [0.9] * 10 + [0.1] * 20)
    (one,) = find(classes, {"outside": share + np.linspace(0, 0.01, 40)})
    assert (one.count, one.members) == (10, list(range(10, 20)))
