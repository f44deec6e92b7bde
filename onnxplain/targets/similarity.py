"""The cosine with a reference: what makes two pictures similar for a model that answers vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.regular_files import is_there
from onnxplain.targets.contrast import FACTOR, NOT, Contrast, Opposite
from onnxplain.targets.described import (
    ExplainedReference,
    ExplainedTarget,
    reference_name,
    text_reference_name,
)
from onnxplain.targets.target import Target
from onnxplain.tensors import Array, FloatArray

SIMILAR = "similar:"
"""What the text of a target begins with if a file or a text follows, to be compared with."""

_ROUNDING = 1e-6
"""Largest distance from 1 of the cosine of two equal embeddings, in float32."""


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """Cosine of the angle between the answer, as one vector, and a reference embedding.

    An embedding has no probabilities, so the tensor is read without an activation. The length of
    the answer does not change the cosine, so the gradient is orthogonal to the answer, and zero if
    the two are equal.

    Attributes:
        reference: the embedding to compare with, in any shape with as many elements as the answer.
        path: the picture or the .npy file that it is of; None if it is not known.
        text: the text that it is of; None for others.
        text_model: the file of the model that made it of the text; None if it is not known.

    Raises:
        TargetError: the reference is zero or not finite.
    """

    reference: FloatArray
    name: str = "similarity"
    path: Path | None = None
    text: str | None = None
    text_model: Path | None = None
    shares_graph: ClassVar[bool] = True
    own_kind: ClassVar[str | None] = "cosine similarity"
    _unit: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flat = np.asarray(self.reference, np.float64).ravel()
        length = float(np.linalg.norm(flat))
        if not np.isfinite(length) or length == 0:
            raise TargetError("The reference embedding is zero or not finite.")
        object.__setattr__(self, "_unit", (flat / length).astype(np.float32))

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"unit": self._unit}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """A · u / |a|, with the reference's direction u."""
        rows = xp.flatten(answer)
        length = xp.sqrt(xp.sum(rows * rows, axis=-1))
        shortest = float(np.finfo(np.float32).tiny)
        return xp.sum(rows * parameters["unit"], axis=-1) / xp.maximum(length, shortest)

    def is_extreme(self, score: float) -> bool:
        """See `Target`: the answer has the direction of the reference, or the opposite one."""
        return abs(score) > 1 - _ROUNDING

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the reference must have the answer's size."""
        size, named = math.prod(shape), "" if self.path is None else f" {self.path}"
        if size != self._unit.size and self.text is not None:
            raise TargetError(
                f"The embedding of the text {self.text!r} has {self._unit.size} elements, the "
                f"answer {size}: both models must belong together; choose the answer in the same "
                "space with --output."
            )
        if size != self._unit.size:
            raise TargetError(
                f"The reference{named} has {self._unit.size} elements, the answer {size}: a "
                "picture must have the same size after preprocessing, and an embedding must be of "
                "this model."
            )

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        facts = (ExplainedReference(self.path, self._unit.size, self.text, self.text_model),)
        if self.text is not None:
            name = text_reference_name(self.text)
        elif self.path is not None:
            name = reference_name(self.path)
        else:
            return ExplainedTarget(self.name, references=facts)
        return ExplainedTarget(name, label=self.name, references=facts)


def in_quotes(name: str) -> str | None:
    """What stands between quotes, which mark a text to compare with; None without quotes."""
    found = _QUOTED.fullmatch(name)
    return None if found is None else found[0][1:-1]


def with_references(text: str, similarity: Callable[[str], Similarity]) -> Target | None:
    """The target of a text that names what to compare with; None if it names nothing such.

    "similar:FILE" is the similarity to a file, "not:similar:FILE" its opposite, and
    "similar:FILE - similar:FILE" the difference of two, or "similar:FILE - 0.6*similar:FILE" with a
    weight. The name of a file may hold any characters. In place of a file there may be a text.
    `similarity` makes the target of a file or of a text.

    Raises:
        TargetError: the text has another target before a file, or names none.
    """
    stripped = text.strip()
    if stripped.startswith(NOT):
        inner = with_references(stripped.removeprefix(NOT), similarity)
        return None if inner is None else Opposite(inner)
    if not stripped.startswith(SIMILAR):
        if _LATER.search(stripped):
            raise TargetError(
                f"{stripped!r} has {SIMILAR} after another target: give each one its own --target."
            )
        return None
    file, pair = stripped.removeprefix(SIMILAR), _PAIR.fullmatch(stripped)
    if not file:
        raise TargetError(f"{SIMILAR} needs a file to compare with, as in {SIMILAR}other.jpg.")
    if pair is None or in_quotes(file) is not None or is_there(file):
        return similarity(file)
    first, weight, second = pair.groups()
    return Contrast(similarity(first), similarity(second), float(weight or 1))


_LATER = re.compile(rf"(,|\s-)\s*(?:{NOT})?{SIMILAR}")
_QUOTED = re.compile(r"""(?:"[^"]+"|'[^']+')""")
_PAIR = re.compile(rf"{SIMILAR}({_QUOTED.pattern}|.+?)\s+-\s+{FACTOR}{SIMILAR}(.+)", re.DOTALL)
