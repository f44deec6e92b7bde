"""The text of one sample's scores, and the names of its parts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onnxplain.errors import MapError, TargetError
from onnxplain.targets import Character, Text
from onnxplain.targets.alphabet import Alphabet
from onnxplain.targets.recognized import Recognized

LETTERS = "-abc"
ALPHABET = Alphabet(4, 0, dict(enumerate("abc", start=1)))


def along(path: str, alphabet: Alphabet = ALPHABET) -> Recognized:
    """What is read where the best class of each step is that of a letter; "-" is class 0."""
    best = [LETTERS.index(letter) for letter in path]
    scores = np.random.default_rng(0).uniform(0, 0.4, (len(path), 4)).astype(np.float32)
    scores[np.arange(len(path)), best] = 0.9
    return Recognized(scores, alphabet)


def collapsed(path: str) -> str:
    """The map B of Graves et al. 2006, section 3.1: repetitions go first, then blanks."""
    return re.sub(r"(.)\1*", r"\1", path).replace("-", "")


@pytest.mark.parametrize("seed", range(20))
def test_the_text_of_random_paths(seed: int) -> None:
    random = np.random.default_rng(seed)
    path = "".join(random.choice(list(LETTERS), size=random.integers(1, 30)))
    assert along(path).text == collapsed(path)


def test_each_character_has_its_own_steps() -> None:
    """A letter twice is two characters only with a blank, or another letter, between them."""
    found = along("aa-ab--b")
    assert [(one.position, one.label, one.steps) for one in found.characters] == [
        (1, "a", (0, 1)),
        (2, "a", (3,)),
        (3, "b", (4,)),
        (4, "b", (7,)),
    ]
    assert {one.text for one in found.characters} == {"aabb"}


def test_the_probability_of_the_best_path() -> None:
    """The product of the largest probability of each step."""
    scores = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.2, 0.2, 0.6]], np.float32)
    found = Recognized(scores, Alphabet(3, 0))
    assert found.log_probability == pytest.approx(np.log(0.5 * 0.75 * 0.6))


def test_the_score_of_a_character_is_the_mean_over_its_steps() -> None:
    found = along("aa-b")
    scores = found.scores.astype(np.float64)
    first, text = found.resolve("char:1,text")
    assert first.score(found.scores[None])[0] == pytest.approx(scores[[0, 1], 1].mean())
    mean = (scores[[0, 1], 1].mean() + scores[3, 2]) / 2
    assert text.score(found.scores[None])[0] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("text", ["text ab"]),
        ("top1", ["text ab"]),
        (" char:2 , char:1,", ["char:2 b", "char:1 a"]),
        ("step:0", ["step:0,1"]),
        ("step:1,3", ["step:1,3"]),
        ("step:3,0,char:2,step:2,text", ["step:3,0", "char:2 b", "step:2,0", "text ab"]),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    assert [target.name for target in along("aa-b").resolve(text)] == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read: .*text, char:3, step:4 or step:4,17"),
        ("a", "'a' cannot be read"),
        ("17", "'17' cannot be read"),
        ("char:1;char:2", "cannot be read"),
        ("char:-1", "cannot be read"),
        ("char:1text", "cannot be read"),
        ("top2", "There is no top2: a recognizer reads one text"),
        ("char:0", "no character 0 .*'ab' has 2, counted from 1"),
        ("char:3", "no character 3 .*'ab' has 2, counted from 1"),
        ("step:4", "no step 4: the answer has 4, 0 to 3"),
        ("step:4,1", "no step 4: the answer has 4, 0 to 3"),
        ("step:0,4", "no class 4: the answer has 4, 0 to 3"),
    ],
)
def test_names_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        along("aa-b").resolve(text)


def test_nothing_is_read() -> None:
    found = along("---")
    assert found.text == ""
    with pytest.raises(TargetError, match="No character is read in this picture"):
        found.resolve("text")
    with pytest.raises(TargetError, match="no character 1 in this picture: none is read"):
        found.resolve("char:1")
    assert found.resolve("step:1")[0].described.title == 'class 0 "blank" at step 1 of ""'


def test_scores_that_are_not_finite() -> None:
    scores = along("aa-b").scores.copy()
    scores[2, 1] = np.nan
    with pytest.raises(MapError, match="not finite"):
        Recognized(scores, ALPHABET).resolve("text")


def test_classes_without_names() -> None:
    found = along("a-b", Alphabet(4, 0))
    assert found.text == "[1][2]"
    assert found.characters[1].described.title == 'char 2 (class 2) at step 2 of "[1][2]"'
    assert found.characters[1].described.name == "char2_class2_step_2_1_2"


@pytest.mark.parametrize(
    ("steps", "place"), [((3,), "step 3"), ((3, 4, 5), "steps 3-5"), ((3, 5), "2 steps")]
)
def test_steps_in_words(steps: tuple[int, ...], place: str) -> None:
    read = Character(1, 1, steps, "a", "a").described.read
    assert read is not None
    assert read.place == place


def test_a_text_of_one_step_has_a_plain_score() -> None:
    (text,) = along("-a-").resolve("text")
    assert isinstance(text, Text)
    assert text.kind("logit") == "logit"
