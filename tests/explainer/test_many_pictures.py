"""`explain_many`: many pictures in order, each as if it were alone."""

import threading
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from explainer.formulas import noise_picture
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain import Explainer
from onnxplain.errors import PictureError, TargetError
from onnxplain.explainer.pipeline import in_order, pipeline
from onnxplain.results.explanation import Explanation
from onnxplain.targets import Similarity

PICTURES = [
    np.random.default_rng(i).integers(0, 256, (18 + i, 30 - i, 3), np.uint8) for i in range(5)
]


@pytest.mark.parametrize("method", ["gradcam", "gradient", "cam"])
def test_each_picture_is_explained_as_alone_and_in_order(net_r: Explainer, method: str) -> None:
    found = list(net_r.explain_many(PICTURES, method))
    assert len(found) == len(PICTURES)
    for explanation, picture in zip(found, PICTURES, strict=True):
        alone = net_r.explain(picture, method)
        assert_array_equal(explanation.picture, picture)
        assert_allclose(explanation.values, alone.values, atol=1e-6 * abs(alone.values).max())
        assert_allclose(explanation.heatmap, alone.heatmap, atol=1e-5)


def test_pictures_of_the_same_name_have_files_of_their_own(
    net_r: Explainer, tmp_path: Path
) -> None:
    cv2 = pytest.importorskip("cv2")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), noise_picture(20, 26))
    paths = [tmp_path / "a/x.png", tmp_path / "b/x.png", noise_picture(20, 26)]
    for found in net_r.explain_many(paths, "cam", 0):
        found.save(tmp_path / "maps", "npy")
    saved = sorted(path.name.split(".")[0] for path in (tmp_path / "maps").iterdir())
    assert saved == ["picture", "x", "x-2"]


def test_an_error_comes_in_its_picture_s_turn(net_r: Explainer) -> None:
    pictures = [PICTURES[0], "missing.png", PICTURES[1]]
    first, error, last = net_r.try_many(pictures, "gradient", 2)
    assert isinstance(error, PictureError)
    assert [len(first), len(last)] == [1, 1]
    found = net_r.explain_many(pictures, "gradient", 2)
    assert_array_equal(next(found).picture, PICTURES[0])
    with pytest.raises(PictureError, match=r"missing\.png does not exist"):
        next(found)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_pictures_before_one_that_cannot_be_had_are_explained(
    net_r: Explainer, method: str, number: int
) -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield from PICTURES[:number]
        raise OSError("the camera is off")

    made = []
    with pytest.raises(OSError, match="the camera is off"):
        for explanation in net_r.explain_many(pictures(), method):
            made.append(explanation)
    assert len(made) == number


def test_what_a_method_refuses_is_told_of_each_picture(net_r: Explainer) -> None:
    target = Similarity(np.ones(4, np.float32))
    found = list(net_r.try_many(PICTURES[:3], "lrp", target))
    assert [type(one) for one in found] == [TargetError] * 3


def test_a_method_that_takes_long_is_not_run_ahead(net_r: Explainer) -> None:
    found = net_r.explain_many(PICTURES, "rise", samples=4)
    next(found)
    runs = net_r.session_runs
    next(found)
    assert net_r.session_runs > runs
    found.close()


def test_no_more_items_are_taken_than_may_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in count():
            taken.append(i)
            yield i

    made = in_order(lambda i: i * i, items(), ahead=3)
    assert list(islice(made, 5)) == [0, 1, 4, 9, 16]
    assert len(taken) == 5 + 3
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onnxplain")]


@pytest.mark.parametrize("number", [0, 1, 7])
def test_the_model_runs_in_the_thread_that_asks(number: int) -> None:
    threads = set()

    def run(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            threads.add(threading.current_thread())
            yield item + 1

    made = pipeline(range(number), lambda i: 2 * i, run, lambda i: 10 * i)
    assert list(made) == [10 * (2 * i + 1) for i in range(number)]
    assert threads == ({threading.current_thread()} if number else set())


OWN = [2, "top1", 0, "top1-1", 3]


@pytest.mark.parametrize("method", ["hirescam", "gradient", "occlusion"])
def test_each_picture_is_explained_for_its_own_target(net_r: Explainer, method: str) -> None:
    found = list(net_r.try_own(PICTURES, OWN, method))
    assert len(found) == len(PICTURES)
    for explanation, picture, target in zip(found, PICTURES, OWN, strict=True):
        alone = net_r.explain(picture, method, target)
        assert isinstance(explanation, Explanation)
        assert explanation.target == alone.target
        assert_allclose(explanation.values, alone.values, atol=1e-6 * abs(alone.values).max())


def test_pictures_with_classes_of_their_own_share_a_run(net_r: Explainer) -> None:
    same = [PICTURES[0]] * 4
    list(net_r.try_own(same, [0, 1, 2, 3], "gradcam"))
    before = net_r.open_sessions
    list(net_r.try_own(same, [3, 2, 1, 0], "gradcam"))
    list(net_r.try_own(same, ["top1", 2, 1, 0], "gradcam"))
    assert net_r.open_sessions == before


def test_a_bad_target_is_the_error_of_its_picture_only(net_r: Explainer) -> None:
    pictures = [PICTURES[0], PICTURES[1], "missing.png", PICTURES[2], PICTURES[3]]
    found = list(net_r.try_own(pictures, [0, 10**6, 1, "0,1", 1], "gradient"))
    assert [type(one) for one in found] == [
        *(Explanation, TargetError, PictureError, TargetError, Explanation)
    ]
    assert "only one is explained" in str(found[3])


def test_there_is_one_target_for_each_picture(net_r: Explainer) -> None:
    with pytest.raises(TargetError, match=r"2 targets for 1 picture\."):
        next(net_r.try_own(PICTURES[:1], [0, 1], "gradcam"))
