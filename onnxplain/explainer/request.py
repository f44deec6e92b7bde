"""What is asked about one sample, and what is answered."""

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
    """One sample, (1, ...), in the model's own type, and what is asked about it.

    All `targets` read the same tensors, and with `single` they must mean one together.
    `placement` says how a picture became the sample; None where none did.
    """

    x: Array
    method: Method
    targets: Sequence[TargetSpec]
    others: Mapping[str, Array]
    placement: Placement | None = None
    single: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that the targets read; none where they read that of the scores."""
        return reads_of(self.targets[0]) if self.targets else ()

    def check(self, meant: Sequence[Target]) -> None:
        """Check the targets that were found to be meant.

        Raises:
            TargetError: there are none, or several where one is explained.
        """
        if not meant:
            raise TargetError("There are no targets: name a class, or 'top1'.")
        if self.single and len(meant) > 1:
            raise several(self.targets[0], len(meant))


def several(spec: TargetSpec, count: int) -> TargetError:
    """The error where more than one target is meant."""
    return TargetError(
        f"{spec!r} means {count} targets where one is explained: name one, or use explain_each."
    )


@dataclass(frozen=True, eq=False)
class Result:
    """What a method computed for one sample, for all of its targets."""

    maps: Maps
    targets: list[Target]
    scores: FloatArray
    kinds: Sequence[str]
    layers: Sequence[Layer]
    score_tensor: str
    batching: str

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Tensors of the layers."""
        return tuple(layer.tensor for layer in self.layers)
