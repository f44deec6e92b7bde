"""Targets that compare the answer with a reference: their names and their numbers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from onnxplain.errors import TargetError
from onnxplain.targets import Class, Contrast, Mask, Opposite, Similarity, Target
from onnxplain.targets.similarity import with_references

EMBEDDINGS = np.random.default_rng(0).normal(size=(6, 7))
ONE, OTHER = np.random.default_rng(1).normal(size=(2, 7))


def cosines(reference: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(EMBEDDINGS, axis=1) * np.linalg.norm(reference)
    return np.asarray(EMBEDDINGS @ reference / lengths)


@pytest.mark.parametrize(
    ("target", "expected", "kind"),
    [
        (Similarity(ONE), cosines(ONE), "cosine similarity"),
        (Opposite(Similarity(ONE)), -cosines(ONE), "negative cosine similarity"),
        (
            Contrast(Similarity(ONE), Similarity(OTHER)),
            cosines(ONE) - cosines(OTHER),
            "difference of two cosine similarities",
        ),
        (
            Contrast(Similarity(ONE), Similarity(OTHER), 0.5),
            cosines(ONE) - 0.5 * cosines(OTHER),
            "weighted difference of two cosine similarities",
        ),
        (
            Contrast(Mask(ONE), Mask(OTHER)),
            EMBEDDINGS @ (ONE - OTHER),
            "difference of two logits",
        ),
    ],
)
def test_the_number_and_what_it_is(target: Target, expected: np.ndarray, kind: str) -> None:
    assert_allclose(target.score(EMBEDDINGS.astype(np.float32)), expected, atol=1e-6)
    assert target.kind("logit") == kind


def test_the_size_of_numbers_does_not_matter() -> None:
    huge = Similarity(ONE * 1e30)
    assert_allclose(huge.score(EMBEDDINGS.astype(np.float32)), cosines(ONE), atol=1e-6)
    assert huge.score(np.zeros((1, 7), np.float32)) == 0


def test_what_is_linear_stays_linear() -> None:
    similarity, mask = Similarity(ONE), Mask(ONE)
    assert not (similarity.linear or Opposite(similarity).linear)
    assert not Contrast(mask, similarity).linear
    assert Opposite(mask).linear
    assert Contrast(mask, mask).linear


def test_numbers_of_two_kinds_are_not_compared() -> None:
    with pytest.raises(TargetError, match="numbers of different kinds"):
        Contrast(Class(0), Similarity(ONE)).score(np.ones((1, 7), np.float32))


def test_a_reference_of_another_size_is_named() -> None:
    reference = Similarity(np.ones(3), "similarity to a.npy", Path("a.npy"))
    with pytest.raises(TargetError, match=r"reference a\.npy has 3 elements, the answer 7"):
        reference.score(np.ones((1, 7), np.float32))


def of_file(file: str) -> Similarity:
    return Similarity(np.ones(7), file, Path(file))


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("similar:a.jpg", ["a.jpg"]),
        ("similar:a, b@2.jpg", ["a, b@2.jpg"]),
        ("similar:top1,top2.jpg", ["top1,top2.jpg"]),
        ("not:similar:a.jpg", ["a.jpg"]),
        ("similar:a.jpg - similar:b.jpg", ["a.jpg", "b.jpg"]),
        ("similar:a - b.jpg - similar:b,c.jpg", ["a - b.jpg", "b,c.jpg"]),
        ("similar:a.jpg - 0.5*similar:b.jpg", ["a.jpg", "b.jpg"]),
    ],
)
def test_files_in_the_text_of_a_target(text: str, files: list[str]) -> None:
    target = with_references(text, of_file)
    assert target is not None
    assert [str(one.path) for one in target.described.references] == files
    assert isinstance(target, Opposite) == text.startswith("not:")


def test_a_file_may_have_a_name_like_a_difference(tmp_path: Path) -> None:
    strange = tmp_path / "a.jpg - similar:b.jpg"
    strange.touch()
    target = with_references(f"similar:{strange}", of_file)
    assert isinstance(target, Similarity)
    assert target.path == strange


@pytest.mark.parametrize("text", ["top1", "not:3", "282", "cat - dog", "sim: a", "dissimilar:x"])
def test_other_texts_name_no_file(text: str) -> None:
    assert with_references(text, of_file) is None


@pytest.mark.parametrize(
    "text", ["top1,similar:a.jpg", "3 - similar:a.jpg", "282, not:similar:a.jpg"]
)
def test_a_file_after_another_target_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match="give each one its own --target"):
        with_references(text, of_file)


def test_a_file_must_be_named() -> None:
    with pytest.raises(TargetError, match="needs a file to compare with"):
        with_references("similar: ", of_file)


def test_names_of_files_are_short_and_different() -> None:
    long = "x" * 200 + ".jpg"
    paths = ["dog.jpg", "dog.png", "a/dog.jpg", "b/dog.jpg", "a, b.jpg", "a_ b.jpg", long]
    targets = [of_file(path) for path in paths]
    targets += [Contrast(one, other) for one, other in pairwise(targets)]
    targets += [Opposite(one) for one in targets[:7]]
    names = [one.described.name for one in targets]
    assert names[0] == "similar_dog.jpg"
    assert names[7] == "similar_dog.jpg-similar_dog.png"
    assert len({*names}) == len(names)
    assert all(len(name) <= 60 and not set(name) & set("/, ") for name in names)


def test_titles() -> None:
    one, other = (Similarity(np.ones(7), f"similarity to {n}", Path(n)) for n in ("a", "b"))
    assert one.described.title == "similarity to a"
    assert Contrast(one, other).described.title == "similarity to a rather than similarity to b"
    assert Opposite(one).described.title == "not similarity to a"
    assert Similarity(np.ones(7)).described.title == "similarity"
