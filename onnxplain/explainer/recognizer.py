"""Text recognizers: which text a model reads, and what the names of targets mean for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.analysis.inputs import is_picture
from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.sequence import (
    RANK,
    Axes,
    Shapes,
    ends_in_text,
    find_axes,
    sequence_score,
)
from onnxplain.errors import ModelError
from onnxplain.execution.runner import Runner
from onnxplain.execution.sample_shape import sample_shape
from onnxplain.execution.samples import Samples
from onnxplain.images.files import read_sidecar
from onnxplain.images.labels import Labels
from onnxplain.images.metadata import written_characters
from onnxplain.model.shapes import Shape
from onnxplain.targets.alphabet import Alphabet, find_alphabet
from onnxplain.targets.recognized import Recognized
from onnxplain.tensors import Array
from onnxplain.transforms.sequence import with_steps

_PLAIN = (0.0, 127.5, 255.0)
"""Gray values of pictures in which there is nothing to read."""


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model that reads a line of text.

    `runner` runs the model with the tensors of `score`, (N, steps, classes). `axes` are the axes of
    the model's own answer, and `shape` is its shape for a sample to try the model with.
    """

    runner: Runner
    score: ScoreTensor
    axes: Axes
    shape: Shape
    follows_width: bool
    labels: Callable[[], Labels | None]
    blank: str | int | None
    samples: Samples

    @functools.cached_property
    def alphabet(self) -> Alphabet:
        """The classes.

        Raises:
            PreprocessError: the blank is none of the classes, or the labels do not fit.
        """
        return find_alphabet(
            self.shape[self.axes.classes],
            self.labels(),
            self.blank,
            written_characters(self.runner.model.metadata) is not None,
            self._read_in_plain,
        )

    def recognized(self, scores: Array) -> Recognized:
        """What is read in one sample with these scores, (1, steps, classes).

        Raises:
            PreprocessError: as for `alphabet`.
        """
        return Recognized(scores[0].astype(np.float32, copy=False), self.alphabet)

    def _read_in_plain(self) -> int | None:
        """The class that is the best at all steps of pictures of one color; None if several are.

        Only a recognizer whose number of steps follows the width is asked: others may read a text
        without a blank, step by step, and then answer plain pictures with the class of its end.
        """
        if not self.follows_width:
            return None
        best = {
            int(index)
            for gray in _PLAIN
            for scores in self.runner.forward(self.samples.plain(gray), [self.score.probability])
            for index in np.unique(scores[0].argmax(axis=1))
        }
        return best.pop() if len(best) == 1 else None


def find_recognizer(
    runner: Runner,
    samples: Samples,
    output: str,
    labels: Callable[[], Labels | None],
    blank: str | int | None,
) -> Recognizer | None:
    """What is known of the model as a text recognizer; None if it is none.

    It is one if the user or the sidecar says which class is the `blank`, if PaddleOCR's characters
    are in the metadata, or if `analysis.sequence.ends_in_text` says so of `output`.

    Raises:
        ModelError: it is known to be a recognizer, but its answer has not three axes, or it is not
            known which of them are which.
        PreprocessError: the sidecar or the preprocessing is malformed.
    """
    model = runner.model
    blank = _noted(runner) if blank is None else blank
    is_known = blank is not None or written_characters(model.metadata) is not None
    declared = next(spec.shape for spec in model.outputs if spec.name == output)
    may_be = is_picture(runner.spec) and (declared is None or len(declared) == RANK)
    shapes = _shapes(runner, samples, output) if may_be else None
    if shapes is None:
        if blank is None:
            return None
        raise ModelError(
            f"The output {output!r} does not have the three axes of a text recognizer's answer, "
            "samples, steps and classes: leave out the blank, or choose another output."
        )
    found = sequence_score(model, output)
    if not is_known and not ends_in_text(found.score.activation, shapes):
        return None
    axes = find_axes(shapes, found.softmax_axis(model), lambda size: _fits(labels(), size))
    if axes is None:
        raise ModelError(
            f"It is not known which axis of the output {output!r} of shape {shapes.own} holds the "
            "classes of this text recognizer: give the characters with --labels FILE."
        )
    with_scores, score = with_steps(model, found, axes)
    follows = shapes.follows_width is not None
    beside = runner.beside(with_scores)
    return Recognizer(beside, score, axes, shapes.own, follows, labels, blank, samples)


def require_samples_first(shape: Shape, count: int, output: str) -> None:
    """Check the shape of an answer of two axes or more for `count` samples.

    Raises:
        ModelError: its first axis is not that of the samples.
    """
    if len(shape) > 1 and shape[0] != count:
        raise ModelError(
            f"The output {output!r} has the shape {shape} for a batch of {count}, so that its "
            "first axis does not hold the samples: choose another with --output, or export the "
            "model with the samples first; if it reads text, name its blank with --blank."
        )


def _noted(runner: Runner) -> str | int | None:
    """The blank that the sidecar names; None if it names none."""
    sidecar = read_sidecar(runner.model.path)
    noted = None if sidecar is None else sidecar.content.get("blank")
    return None if noted is None else str(noted)


def _fits(labels: Labels | None, classes: int) -> bool:
    """Whether so many classes have the labels, which may lack the blank and the space."""
    return labels is not None and 0 <= classes - 1 - labels.last <= 2


def _shapes(runner: Runner, samples: Samples, output: str) -> Shapes | None:
    """The shapes of an output for three sizes of a picture; None if it has not three axes."""
    x = samples.noise()
    rows, columns = samples.spatial(x)
    own = sample_shape(runner, x, output)
    if own is None or len(own) != RANK:
        return None
    wide, tall = (_larger(runner, x, axis, output) for axis in (columns, rows))
    count = len(runner.feeds(runner.model, x)[runner.spec.name])
    return Shapes(count, own, wide, tall)


def _larger(runner: Runner, x: Array, axis: int, output: str) -> Shape | None:
    """The shape of an output for samples twice as large along an axis; None where this fails."""
    declared: Sequence[object] = runner.spec.shape or (None,) * x.ndim
    if isinstance(declared[axis], int):
        return None
    return sample_shape(runner, np.concatenate([x, x], axis=axis), output)
