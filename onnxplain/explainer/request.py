"""A request to explain one sample, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxplain.analysis.layers import Layer
from onnxplain.errors import TargetError
from onnxplain.images.geometry import Placement
from onnxplain.methods.base import Maps, Method
from onnxplain.targets import Target, TargetSpec
from onnxplain.targets.parse import reads_of
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Request:
    """One sample, (1, ...), in the input's dtype, and how to explain it.

    All `targets` read the same tensors; with `single`, they must resolve to one target. `others`
    are values of the other inputs, by name. `placement` says how a picture became the sample; None
    if the sample is no picture.
    """

    x: Array
    method: Method
    targets: Sequence[TargetSpec]
    others: Mapping[str, Array]
    placement: Placement | None = None
    single: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that the targets read; empty if they read only the tensor of the scores."""
        return reads_of(self.targets[0]) if self.targets else ()

    def check(self, meant: Sequence[Target]) -> None:
        """Check the targets that the request's targets were resolved to.

        Raises:
            TargetError: there is none, or there are several, but `single` is set.
        """
        if not meant:
            raise TargetError("There are no targets: name a class, or 'top1'.")
        if self.single and len(meant) > 1:
            raise several(self.targets[0], len(meant))


def several(spec: TargetSpec, count: int) -> TargetError:
    """The error for `count` targets when one is expected."""
    return TargetError(
        f"{spec!r} means {count} targets, but only one is explained: name one, or use explain_each."
    )


@dataclass(frozen=True, eq=False)
class Result:
    """The maps and scores of one sample, for all of its targets.

    `scores` are float32 (targets,), and `kinds` their kinds, such as "logit". `batching` says in
    words how changed samples were run. `warning` is about the names of the targets, empty if there
    is none. `predicted` is the class with the largest score; None if the answer has no classes.
    `has_places` says whether a target is read at a place of the picture, such as a region or a box.
    """

    maps: Maps
    targets: list[Target]
    scores: FloatArray
    kinds: Sequence[str]
    layers: Sequence[Layer]
    score_tensor: str
    batching: str
    warning: str = ""
    predicted: int | None = None
    has_places: bool = False

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers' tensors."""
        return tuple(layer.tensor for layer in self.layers)
