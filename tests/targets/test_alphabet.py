"""Which class is the blank of a text recognizer, and which characters the others mean."""

from __future__ import annotations

import pytest

from onnxplain.errors import PreprocessError, TargetError
from onnxplain.images.labels import Labels
from onnxplain.targets.alphabet import Alphabet, find_alphabet


def labels(*names: str) -> Labels:
    return Labels(dict(enumerate(names)), "chars.txt", in_order=True)


def found(
    count: int,
    known: Labels | None,
    given: str | int | None = None,
    *,
    paddle: bool = False,
    plain: int | None = None,
) -> Alphabet:
    return find_alphabet(count, known, given, paddle, lambda: plain)


@pytest.mark.parametrize(
    ("count", "known", "given", "names"),
    [
        (4, labels("a", "b", "c"), "first", {1: "a", 2: "b", 3: "c"}),
        (4, labels("a", "b", "c"), "last", {0: "a", 1: "b", 2: "c"}),
        (4, labels("a", "b", "c"), 1, {0: "a", 2: "b", 3: "c"}),
        (4, labels("a", "b", "c"), "1", {0: "a", 2: "b", 3: "c"}),
        (4, labels("#", "a", "b", "c"), "first", {1: "a", 2: "b", 3: "c"}),
        (4, labels("a", "b"), "first", {1: "a", 2: "b", 3: " "}),
        (4, Labels({1: "a", 3: "c"}, "by index"), 0, {1: "a", 3: "c"}),
        (4, None, "last", {}),
    ],
)
def test_characters_with_a_given_blank(
    count: int, known: Labels | None, given: str | int, names: dict[int, str]
) -> None:
    own = found(count, known, given)
    assert own.names == names
    assert own.origin == "given"


@pytest.mark.parametrize(
    "name", ["blank", "<blank>", "[BLANK]", "<blk>", "ctc_blank", "<CTC blank>"]
)
def test_a_blank_that_has_a_name(name: str) -> None:
    own = found(3, labels("a", name, "c"))
    assert (own.blank, own.origin) == (1, "its name among the labels")
    assert own.names == {0: "a", 2: "c"}


@pytest.mark.parametrize("name", ["b", "<pad>", "-", "blanket", ""])
def test_names_that_are_not_that_of_a_blank(name: str) -> None:
    assert found(3, labels("a", name, "c")).blank is None


@pytest.mark.parametrize(("plain", "blank"), [(0, 0), (2, 2), (1, None), (None, None)])
def test_what_is_read_in_plain_pictures(plain: int | None, blank: int | None) -> None:
    """Only the first or the last class is taken for the blank."""
    assert found(3, labels("a", "b"), plain=plain).blank == blank


def test_paddle() -> None:
    assert found(4, labels("a", "b"), paddle=True).names == {1: "a", 2: "b", 3: " "}
    assert found(3, labels("a", "b"), paddle=True).names == {1: "a", 2: "b"}
    assert found(3, labels("a", "b"), paddle=True, plain=2).blank == 0


def test_an_unknown_blank() -> None:
    own = found(4, labels("a", "b", "c"))
    assert own.names == {}
    with pytest.raises(TargetError, match="which of the 4 classes is the blank"):
        own.known_blank()
    assert found(3, labels("a", "b", "c")).names == dict(enumerate("abc"))


@pytest.mark.parametrize("given", ["middle", 4, "4", "-1", -1, ""])
def test_a_blank_that_is_no_class(given: str | int) -> None:
    with pytest.raises(PreprocessError, match="index of one of the 4 classes, 0 to 3"):
        found(4, None, given)


@pytest.mark.parametrize(
    ("count", "known", "given"),
    [
        (4, labels(*"abcde"), "first"),
        (4, labels("a"), "first"),
        (4, labels("a", "b"), "last"),
        (4, Labels({5: "a"}, "chars.txt"), None),
    ],
)
def test_labels_that_do_not_fit(count: int, known: Labels, given: str | None) -> None:
    with pytest.raises(PreprocessError, match=r"chars\.txt.*and the recognizer has 4 classes"):
        found(count, known, given)
