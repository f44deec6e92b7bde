"""What the shape of an answer says: whether it is one number per class, and of how many classes."""

from __future__ import annotations

import math

from onnxplain.errors import TargetError


def class_count(shape: tuple[int, ...]) -> int:
    """The number of classes of an answer of this shape, given without the batch axis.

    Raises:
        TargetError: there is more than one number per class.
    """
    if not is_one_number_per_class(shape):
        raise TargetError(
            f"The model's answer has shape {shape} for each sample, not one number for each class: "
            f"{_HINTS.get(len(shape), '')}explain one element by its index, as in --target "
            f"{middle(shape)}, or a weighted sum with onnxplain.targets.Mask."
        )
    return math.prod(shape)


_HINTS = {
    2: "if it holds the boxes of a detector, name their layout with --boxes; if it is a text "
    "recognizer trained with CTC, name its blank with --blank; else ",
    3: "a class of a segmentation model is a target such as '1@all', with --labels if its classes "
    "are not recognized; else ",
}
"""By the number of axes of an answer without the batch, what it may be."""


def is_one_number_per_class(shape: tuple[int, ...]) -> bool:
    """Whether at most one axis of a shape, without the batch axis, has a size above 1.

    An answer (N,) is one number for each sample, the only class.
    """
    return sum(size > 1 for size in shape) <= 1


def middle(shape: tuple[int, ...]) -> str:
    """The index of the middle element, as an example for a message."""
    return ",".join(str(size // 2) for size in shape)
