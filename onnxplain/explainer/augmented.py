"""Maps that are averaged over changed samples, where the option `smooth` of a method says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxplain.errors import OnnxplainError, OptionError, TargetError, attempted
from onnxplain.execution.arrays import nearest
from onnxplain.execution.baselines import Scene
from onnxplain.explainer.request import Request, Result
from onnxplain.methods.base import InputMethod, Maps, Method, rows_and_columns
from onnxplain.tensors import Array, FloatArray

_SCALES = 0.9, 1.0, 1.1

_CHANGES = [(flipped, s) for flipped in (False, True) for s in _SCALES if flipped or s != 1]
"""How the other samples are made from the explained one: whether flipped, and a factor."""

_FORWARD, *_REST = "forward_passes", "head_passes", "backward_passes"

Explain = Callable[[Sequence[Request]], Iterator[Result | OnnxplainError]]


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of the maps of a sample, of its mirror image, and of both with scaled values.

    The mirror image is along the columns of the model's input, and its map is turned back. The
    values of the input are scaled by 0.9 and 1.1. Targets mean what they mean for the sample
    itself, and the scores are its own. This is the aug_smooth of pytorch-grad-cam (Gildenblat et
    al., 2021), which scales each map to [0, 1] before the mean; here no map is scaled.

    `explain` explains requests of one method, and `scene_of` says what is known of a sample.
    """

    explain: Explain
    scene_of: Callable[[Array], Scene]

    def of(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Yield the result or the error of each request; they have one method and one shape."""
        method, scene = asked[0].method.of_one_sample(), self.scene_of(asked[0].x)
        axis = attempted(_columns, method, scene)
        if isinstance(axis, OnnxplainError):
            yield from (axis for _ in asked)
            return
        plain = [replace(one, method=method) for one in asked]
        firsts = [attempted(_fitting, found) for found in self.explain(plain)]
        others = self.explain(
            [
                replace(one, x=_changed(one.x, scene, *change), targets=first.targets)
                for one, first in zip(plain, firsts, strict=True)
                if isinstance(first, Result)
                for change in _CHANGES
            ]
        )
        for first in firsts:
            if isinstance(first, Result):
                yield attempted(_mean, first, [next(others) for _ in _CHANGES], axis)
            else:
                yield first


def _columns(method: Method, scene: Scene) -> int:
    """The axis of columns in the maps of a method, (targets, ...).

    Raises:
        OptionError: there is no mirror image of the input, or the method makes a picture.
    """
    if method.makes_picture:
        raise OptionError(f"{method.name} makes a picture, not a map: use smooth none.")
    _, columns = rows_and_columns("smooth aug", scene, instead="smooth none")
    return columns if isinstance(method, InputMethod) else -1


def _fitting(found: Result | OnnxplainError) -> Result:
    """The result of the sample itself.

    Raises:
        OnnxplainError: it is an error.
        TargetError: a target is read at a place, which would be another one in a mirror image.
    """
    if isinstance(found, OnnxplainError):
        raise found
    if found.has_places:
        raise TargetError(
            f"smooth aug explains mirror images of the picture, in which "
            f"{found.targets[0].name!r} is at another place: use smooth none."
        )
    return found


def _changed(x: Array, scene: Scene, flipped: bool, scale: float) -> Array:
    """The sample with other values, in the dtype of the input."""
    turned = np.flip(x, scene.spatial[-1]) if flipped else x
    changed = turned if scale == 1 else nearest(turned.astype(np.float32) * scale, x.dtype)
    return np.ascontiguousarray(changed)


def _mean(first: Result, others: Sequence[Result | OnnxplainError], axis: int) -> Result:
    """The result of the sample with the mean of all maps.

    Raises:
        OnnxplainError: a changed sample has no map.
    """
    total = first.maps.values.astype(np.float64)
    results = [first]
    for (flipped, _), one in zip(_CHANGES, others, strict=True):
        if isinstance(one, OnnxplainError):
            raise one
        total += np.flip(one.maps.values, axis) if flipped else one.maps.values
        results.append(one)
    values: FloatArray = (total / len(results)).astype(np.float32)
    each = [_about([one.maps.about(t) for one in results]) for t in range(len(values))]
    return replace(first, maps=Maps(values, each=each))


def _about(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The diagnostics of a mean, from those of the sample itself and of the changed ones."""
    spent = {_FORWARD: sum(one.get(_FORWARD, 1) for one in samples)}
    spent |= {name: sum(one.get(name, 0) for one in samples) for name in _REST}
    counts = {name: count for name, count in spent.items() if count}
    own = {name: fact for name, fact in samples[0].items() if name not in spent}
    warnings = own.pop("warnings", None)
    found = counts | {"averaged_samples": len(samples)}
    found |= {"of_the_sample_itself": own} if own else {}
    return found | ({"warnings": warnings} if warnings else {})
