"""What the numbers of a model's answer are: scores of named classes, or an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from onnxplain.images.labels import Labels


@dataclass(frozen=True)
class Meaning:
    """The names of the classes, None if there are none, and why the answer is an embedding.

    `embedding` is empty if the answer is none.
    """

    labels: Labels | None
    embedding: str


def find_meaning(
    sign: str, labels: Labels | None, *, given: bool, inner: bool, shape: Sequence[Any] | None
) -> Meaning:
    """What the answer of a model is, from the sign of an embedding in its graph, if there is one.

    `labels` are known names of classes. With `given`, the user gave them for this answer, so it has
    classes. Labels that were found near the model may be those of another output: an answer with a
    sign of an embedding has classes only if there are as many names as numbers, and never if it is
    an `inner` tensor, at which the model was cut. `shape` is the declared shape of the answer, None
    if it is unknown.
    """
    fits = labels is not None and (given or (not inner and _fit(labels, shape)))
    return Meaning(labels, "") if fits or not sign else Meaning(None, sign)


def _fit(labels: Labels, shape: Sequence[Any] | None) -> bool:
    """Whether there may be as many names as numbers for each sample."""
    sizes = [] if shape is None else [size for size in shape[1:] if size != 1]
    known = [size for size in sizes if isinstance(size, int)]
    return len(known) < len(sizes) or not sizes or prod(known) == labels.last + 1
