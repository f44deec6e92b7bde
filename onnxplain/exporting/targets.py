"""What an exported file explains, and how its input `target` chooses it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxplain.errors import TargetError
from onnxplain.explainer import Explainer
from onnxplain.methods.base import Method
from onnxplain.model.shapes import Shape
from onnxplain.targets import Answered, Class, NoClass, Output, Target, TargetSpec, resolve
from onnxplain.targets.answer_shape import is_one_number_per_class
from onnxplain.targets.answered import Unanswered
from onnxplain.targets.parse import needs_answer
from onnxplain.targets.places import PREDICTED
from onnxplain.targets.rows import ChosenRegion, Row


@dataclass(frozen=True, eq=False)
class FileTarget:
    """The target of a file.

    Attributes:
        target: in the graph, the one for −1, or the only one.
        choices: the input `target` takes 0 to `choices` − 1, and −1; 0 if the target is fixed.
        means: what such a number is, in words.
        grid: rows and columns of the answer's map, of which the input `region` chooses some; None
            if there is no such input.
        spec: the text that a fixed target was made from; None if there was none.
    """

    target: Target
    choices: int = 0
    means: str = ""
    grid: Shape | None = None
    spec: str | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the file explains only one target, so that its input `target` is left out."""
        return self.choices == 0


class Chooser:
    """Finds the target of a file, once it is known what the model's answer is."""

    def __init__(self, explainer: Explainer, method: Method, spec: TargetSpec | None) -> None:
        """Prepare; `spec` is a target that is fixed in the file, None for an input `target`."""
        self.reads = () if explainer.detector is None else explainer.detector.reads
        self._explainer, self._method, self._spec = explainer, method, spec

    def __call__(self, answered: Answered) -> FileTarget:
        """The target for an answer to noise.

        Raises:
            TargetError: the answer has no classes, and no target was given, or one that can be
                found only in the answer for a picture.
        """
        return self._variable(answered) if self._spec is None else self._fixed(answered)

    def _variable(self, answered: Answered) -> FileTarget:
        shapes = answered.shapes
        if self.reads:
            return FileTarget(Row(reads=self.reads), shapes[1][-1], "a row of the boxes")
        if answered.is_output:
            return FileTarget(Output(), 1, "the only number of the answer")
        if answered.has_classes and is_one_number_per_class(answered.values.shape[1:]):
            return FileTarget(Class(-1), answered.values[0].size, "a class")
        if answered.has_classes and answered.classes is not None:
            region = ChosenRegion(answered.classes, answered.threshold)
            classes, *grid = answered.maps.shape
            has_places = answered.placement is not None
            return FileTarget(region, classes, "a class", tuple(grid) if has_places else None)
        if not self._method.needs_target:
            return FileTarget(NoClass())
        raise TargetError(
            "The answer of this model has no classes that an input of the file could choose from: "
            "name one target, which is then fixed in the file, with --target @all or --target "
            "similar:PICTURE, for example."
        )

    def _fixed(self, answered: Answered) -> FileTarget:
        given = self._spec
        assert given is not None, "a target was given"
        text = None if isinstance(given, Target) else str(given)
        spec = self._explainer.with_references(given, self._method.score)
        if isinstance(spec, Target):
            spec.check(*(answered.shapes or [answered.values.shape[1:]]))
            return FileTarget(spec, spec=text)
        why = self._varies(str(spec), answered)
        if why:
            raise TargetError(f"The target {text} cannot be fixed in a file: {why}.")
        if is_one_number_per_class(answered.values.shape[1:]):
            answered = Unanswered(
                answered.values,
                answered.labels,
                shapes=answered.shapes,
                embedding=answered.embedding,
            )
        targets = resolve(spec, answered)
        if len(targets) != 1:
            raise TargetError(f"{text} means {len(targets)} targets: a file explains one.")
        return FileTarget(targets[0], spec=text)

    def _varies(self, text: str, answered: Answered) -> str:
        """Why what a text means depends on the picture, and what to do; empty if it does not."""
        if self.reads:
            return (
                "a detector finds other boxes in each picture; leave it out, and the input "
                "`target` chooses a row of the boxes"
            )
        if answered.named is not None:
            return (
                "a text has other characters in each picture; fix an element of the answer in "
                "Python, with onnxplain.targets.Element"
            )
        if _TOP.search(text) or needs_answer(text):
            return (
                "it is another one in each picture; leave it out, and the file has an input for "
                "the class, or name a class"
            )
        in_map = answered.classes is not None and _ELEMENT not in text
        if in_map and (PREDICTED in text or "@" not in text):
            return (
                "a class without a place is explained where each picture shows it; leave it out, "
                f"or give a place, as in {text.partition('@')[0]}@all"
            )
        return ""


_TOP = re.compile(r"\btop\d+\b")

_ELEMENT = "element"
