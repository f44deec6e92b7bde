"""What is known about a model's answer, found when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxplain.explainer.detector import Detector
from onnxplain.explainer.recognizer import Recognizer
from onnxplain.images.labels import Labels


def _none() -> None:
    """Nothing is known."""


@dataclass(frozen=True)
class AnswerFacts:
    """Functions that find out what is known about an answer.

    Attributes:
        labels: the names of the classes; None if there are none.
        embedding: why the answer is an embedding, in words; empty if it is none.
        detector: the model as a detector; None if it is none.
        recognizer: the model as a text recognizer; None if it is none.
    """

    labels: Callable[[], Labels | None] = _none
    embedding: Callable[[], str] = str
    detector: Callable[[], Detector | None] = _none
    recognizer: Callable[[], Recognizer | None] = _none
