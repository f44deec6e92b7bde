"""Which axes of an answer hold steps and classes: the answers of text recognizers.

A recognizer trained with CTC answers with a score for each class at each step, (N, T, C), or
(T, N, C) where the time comes first, as in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxplain.analysis.score import Activation, ScoreTensor, score_of
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.operators import KEEPS_VALUES, standard_form
from onnxplain.model.shapes import Shape

RANK = 3


@dataclass(frozen=True)
class Axes:
    """The axes of an answer that hold the samples, the steps and the classes."""

    batch: int
    steps: int
    classes: int

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in the order (N, T, C)."""
        return self.batch, self.steps, self.classes

    @property
    def text(self) -> str:
        """As in "(T, N, C)"."""
        letters = dict(zip(self.order, "NTC", strict=True))
        return f"({', '.join(letters[axis] for axis in range(RANK))})"


@dataclass(frozen=True)
class Shapes:
    """Shapes of an answer with three axes for `samples` samples.

    `wide` and `tall` are those for pictures of twice the width or the height; None where the model
    takes no such pictures.
    """

    samples: int
    own: Shape
    wide: Shape | None
    tall: Shape | None

    @property
    def batch(self) -> int | None:
        """The axis of the samples; None if several may be it."""
        found = [axis for axis, size in enumerate(self.own) if size == self.samples]
        return found[0] if len(found) == 1 else None

    @property
    def follows_width(self) -> int | None:
        """The only axis that grows with the width, and not with the height; else None."""
        if self.wide is None or self.tall not in (None, self.own):
            return None
        pairs = enumerate(zip(self.own, self.wide, strict=True))
        grown = [axis for axis, (own, wide) in pairs if wide != own]
        return grown[0] if len(grown) == 1 else None


def ends_in_text(activation: Activation, shapes: Shapes) -> bool:
    """Whether an answer can only be that of a text recognizer.

    Its samples are not on the first axis, or it has a softmax for each of some steps, whose number
    follows from the width of the picture alone.
    """
    last = activation in ("softmax", "logsoftmax") and shapes.follows_width is not None
    return shapes.batch is not None and (shapes.batch != 0 or last)


def find_axes(
    shapes: Shapes, softmax: int | None, fits: Callable[[int], bool] = lambda size: False
) -> Axes | None:
    """The axes of a recognizer's answer; None if they are not known.

    Classes are where the softmax is, or where the steps, whose number follows the width of the
    picture, are not; else where their number fits the labels, as `fits` says. If nothing tells and
    the samples are in the middle, classes are last, as for torch's `CTCLoss`.
    """
    batch = shapes.batch
    if batch is None:
        return None
    first, second = (axis for axis in range(RANK) if axis != batch)
    growing = shapes.follows_width
    fitting = [axis for axis in (first, second) if fits(shapes.own[axis])]
    if growing in (first, second):
        classes = second if growing == first else first
    elif softmax in (first, second):
        classes = softmax
    elif len(fitting) == 1:
        classes = fitting[0]
    elif batch == 1:
        classes = second
    else:
        return None
    return Axes(batch, second if classes == first else first, classes)


@dataclass(frozen=True)
class SequenceScore:
    """The scores of a recognizer, before and after its last activation.

    `output` is the tensor of the model's answer, and `moved` its axes in terms of those of
    `score.probability`: a model may transpose its probabilities.
    """

    output: str
    score: ScoreTensor
    moved: tuple[int, ...]

    def softmax_axis(self, model: Model) -> int | None:
        """The axis of the answer that a last softmax is computed over; None if it is not known."""
        tensor = self.score.probability
        while (node := model.index.producer(tensor)) is not None:
            if standard_form(node.op_type) in ("Softmax", "LogSoftmax"):
                axis = attributes(node).get("axis", 1 if model.opset < _LAST_BY_DEFAULT else -1)
                return self.moved.index(int(axis) % RANK)
            if node.op_type not in KEEPS_VALUES:
                return None
            tensor = node.input[0]
        return None


_LAST_BY_DEFAULT = 13
"""The opset since which a softmax is over the last axis if nothing is said."""


def sequence_score(model: Model, output: str) -> SequenceScore:
    """The scores of an answer with three axes, also if the probabilities are transposed."""
    tensor, moved = output, tuple(range(RANK))
    while (node := model.index.producer(tensor)) is not None:
        if node.op_type == "Transpose":
            order: Sequence[int] = attributes(node).get("perm", range(RANK)[::-1])
            moved = tuple(order[axis] for axis in moved)
        elif node.op_type not in KEEPS_VALUES:
            break
        tensor = node.input[0]
    score = score_of(model, tensor)
    if score.activation == "none":
        return SequenceScore(output, score_of(model, output), tuple(range(RANK)))
    return SequenceScore(output, score, moved)
