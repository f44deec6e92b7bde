"""What the answer of a model is, in words, and how its targets are named."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnxplain.execution.model_structure import ModelStructure
from onnxplain.images.labels import Labels
from onnxplain.targets.answer_shape import is_one_number_per_class, middle
from onnxplain.targets.forms import FORMS


@dataclass(frozen=True)
class Answer:
    """What an output is.

    Attributes:
        kind: a key of `targets.forms.FORMS`.
        words: what its numbers are, in words.
        targets: the forms of its targets.
    """

    kind: str
    words: str
    targets: tuple[str, ...]


BOXES_FOUND = Answer("boxes", "boxes that a detector finds", FORMS["boxes"])
TEXT_READ = Answer("text", "a score for each character at each step of a text", FORMS["text"])


def find_answer(structure: ModelStructure, labels: Labels | None, embedding: str) -> Answer:
    """What the scored output of a model is, from its graph and its names.

    `embedding` says why it is an embedding; it is empty if it is none.
    """
    shape, found = structure.answer_shape, structure.answer_map
    if embedding and prod(shape[1:]) > 1:
        return _of("embedding", f"an embedding of {prod(shape[1:])} numbers ({embedding})")
    if is_one_number_per_class(shape[1:]):
        count = prod(shape[1:])
        if count == 1 and (labels is None or labels.last > 0):
            return _of("number", "one number for each sample, which belongs to no class")
        return _of("classes", _scores(count))
    if found is None:
        words = f"an array of shape {shape[1:]}, whose axes are not known"
        return Answer("array", words, (middle(shape[1:]),))
    count, grid = found.channel_count(shape), " x ".join(map(str, found.grid(shape)))
    if found.kind == "classes":
        return _of("class map", f"{_scores(count)} in {grid} cells ({found.why})")
    is_picture = found.kind == "picture" or count == 1
    kind, called = _PICTURE if is_picture else _EITHER
    channels = "one channel" if count == 1 else f"{count} channels"
    return _of(kind, f"{called}, {channels} of {grid} cells ({found.why})")


_PICTURE = "picture", "a picture"
_EITHER = "picture or class map", "a picture or scores of classes"


def _scores(count: int) -> str:
    return "a score for one class" if count == 1 else f"a score for each of {count} classes"


def _of(kind: str, words: str) -> Answer:
    return Answer(kind, words, FORMS[kind])
