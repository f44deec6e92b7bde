"""What the numbers of a model's answer are: scores of named classes, or an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from onnxplain.images.labels import Labels


@dataclass(frozen=True)
class Meaning:
    """The names of the classes, None if there are none, and why the answer is an embedding.

    `embedding` is empty if the answer is none.
    """

    labels: Labels | None
    embedding: str


def find_meaning(
    sign: str, labels: Labels | None, *, given: bool, inner: bool, size: int | None
) -> Meaning:
    """What the answer of a model is, from the sign of an embedding in its graph, if there is one.

    `labels` are known names of classes. With `given`, the user gave them for this answer, so it has
    classes. Labels that were found near the model may be those of another output: an answer with a
    sign of an embedding has classes only if there are as many names as elements, and never if it is
    an `inner` tensor, at which the model was cut. `size` is the number of elements for one sample,
    None if it is unknown.
    """
    own = labels is not None and not inner and size in (None, labels.last + 1)
    has_classes = not sign or given or own
    return Meaning(labels, "") if has_classes else Meaning(None, sign)


def declared_size(shape: Sequence[int | str | None] | None) -> int | None:
    """The number of elements for one sample in a declared shape; None if it is not declared."""
    sizes = [None] if shape is None else shape[1:]
    known = [size for size in sizes if isinstance(size, int)]
    return prod(known) if len(known) == len(sizes) else None
