"""The output that is explained, and what its numbers are: scores of classes, or an embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from onnxplain.analysis.embedding import embedding_sign
from onnxplain.analysis.score import ScoreTensor, before_decision, find_score
from onnxplain.images.labels import Labels, find_labels
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.transforms.extract import answering


@dataclass(frozen=True, eq=False)
class ExplainedOutput:
    """The output of a model, or an inner tensor, that is explained.

    Attributes:
        name: the name that the user gave; None if the output was found.
        whole: the whole model.
        model: the model that ends in the output, if it was given or is the input of an ArgMax.
        score: its tensors before and after the last activation.
    """

    name: str | None
    whole: Model
    model: Model
    score: ScoreTensor

    @property
    def is_cut(self) -> bool:
        """Whether the model was cut after the output."""
        return self.model is not self.whole

    def meaning(
        self, labels: Path | Sequence[str] | None, shape: Callable[[], Shape | None]
    ) -> Meaning:
        """What the numbers of the output are; `labels` are those that the user gave.

        `shape` is called to find the shape for a sample, where the model does not declare it.

        Raises:
            PreprocessError: the labels are malformed.
        """
        tensor = self.score.probability
        declared = next(spec.shape for spec in self.model.outputs if spec.name == tensor)
        size = declared_size(declared)
        if size is None:
            size = declared_size(shape())
        return find_meaning(
            embedding_sign(self.whole, self.score, size),
            find_labels(self.model.path, self.model.metadata, labels),
            given=labels is not None,
            inner=tensor not in self.whole.index.outputs,
            size=size,
        )


def explained_output(whole: Model, name: str | None) -> ExplainedOutput:
    """The output of that name; if it is None, the one that `analysis.score` finds.

    Raises:
        ModelError: there is no such tensor, or the model has no output of scores.
    """
    named = before_decision(whole) if name is None else name
    model = whole if named is None else answering(whole, named)
    return ExplainedOutput(name, whole, model, find_score(model, named))


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
