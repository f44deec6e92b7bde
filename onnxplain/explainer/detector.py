"""Detectors: which boxes a model finds, and what the names of targets mean for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxplain.analysis.box_layouts import find_layout, is_named_like_boxes
from onnxplain.analysis.boxes import LAYOUTS, Outputs
from onnxplain.analysis.inputs import is_picture
from onnxplain.errors import OnnxplainError, TargetError, attempted
from onnxplain.execution.runner import Runner
from onnxplain.execution.samples import Samples
from onnxplain.explainer.request import Request
from onnxplain.images.files import read_sidecar
from onnxplain.images.geometry import Placement
from onnxplain.images.labels import Labels
from onnxplain.model.model import Model
from onnxplain.targets import NoClass, Target
from onnxplain.targets.detections import Detections, detected
from onnxplain.targets.parse import asks_for_the_top
from onnxplain.tensors import Array
from onnxplain.transforms.detections import (
    BOXES,
    LABELS,
    SCORES,
    PictureInput,
    with_detections,
)


@dataclass(frozen=True, eq=False)
class Detector:
    """A model that finds boxes.

    `runner` runs the model with the tensors `reads`: boxes, class scores, and classes if each box
    has only one. `layout` is the name of the layout of its outputs, and `origin` says in words how
    it was found.
    """

    runner: Runner
    reads: tuple[str, ...]
    layout: str
    origin: str
    labels: Callable[[], Labels | None]

    def detections(
        self, x: Array, placement: Placement | None, others: Mapping[str, Array]
    ) -> Detections:
        """The boxes found in a sample, (1, ...).

        Raises:
            TargetError: the sample is no picture.
            MapError: a score is not finite.
        """
        if placement is None:
            raise TargetError("A detector explains boxes in pictures, and this is no picture.")
        self.runner.others = others
        found = [array[0] for array in self.runner.forward(x, self.reads)]
        corners, scores, classes = (*found, None)[:3]
        return detected(corners, scores, classes, placement, self.labels())

    def located(self, asked: Request) -> Request:
        """The request with the boxes that its targets mean.

        Raises:
            TargetError: a target cannot be read, or no such box was found.
        """
        if not asked.method.needs_target and all(map(asks_for_the_top, asked.targets)):
            return replace(asked, targets=[NoClass(reads=self.reads)])
        found = self.detections(asked.x, asked.placement, asked.others)
        targets = [
            target
            for spec in asked.targets
            for target in ([spec] if isinstance(spec, Target) else found.resolve(str(spec)))
        ]
        asked.check(targets)
        return replace(asked, targets=targets)


def may_be_detector(model: Model) -> bool:
    """Whether the declared shapes of the outputs leave it open that they hold boxes."""
    shapes = [spec.shape for spec in model.outputs]
    has_rows = len(model.inputs) + len(model.outputs) > 2
    return any(
        shape is None
        or (len(shape) <= _LARGEST_RANK and sum(size != 1 for size in shape[1:]) > 1)
        or (has_rows and len(shape) == 2 and shape[-1] in _ROW_SIZES)
        for shape in shapes
    )


def require_known(model: Model) -> None:
    """Raise if a model that is no known detector seems to be one.

    Raises:
        TargetError: the message says which layouts can be named.
    """
    if may_be_detector(model) and is_named_like_boxes(model):
        raise TargetError(
            "The outputs seem to hold boxes, but how is not known: name their layout with --boxes. "
            f"There are {', '.join(LAYOUTS)}. For a DETR it is detr if the last class is the "
            "background, and else detr-sigmoid."
        )


_LARGEST_RANK = 3
_ROW_SIZES = (4, 5, 6)
"""Numbers of columns of an output without a batch axis, (boxes, columns).

Models with such an output have other outputs, or inputs that tell the size of the picture.
"""


def find_detector(
    runner: Runner, samples: Samples, labels: Callable[[], Labels | None], given: str | None
) -> Detector | None:
    """What is known of the model as a detector; None if it is none of the known ones.

    `given` is the name of a layout in `analysis.boxes.LAYOUTS`, or None. Then it is the one that
    the sidecar names, or else the layout is found.

    Raises:
        ModelError: there is no layout of that name, or the outputs do not fit it.
        PreprocessError: the sidecar or the labels are malformed.
    """
    model = runner.model
    if not (is_picture(runner.spec) and may_be_detector(model)):
        return None
    x = samples.noise()
    rows, columns = samples.spatial(x)
    names = [spec.name for spec in model.outputs]
    ran = attempted(runner.tiled, model, x, names, 1)
    if isinstance(ran, OnnxplainError):
        return None  # The model says so itself where it is run to be explained.
    if not all(isinstance(array, np.ndarray) for array in ran.values()):
        return None  # Sequences and maps hold no boxes that are known.
    shapes = {name: array.shape for name, array in ran.items()}
    known, size = labels(), (x.shape[rows], x.shape[columns])
    outputs = Outputs(
        shapes,
        size,
        None if known is None else len(known),
        model.metadata,
        model.index.inputs,
        ran,
    )
    found = find_layout(model, outputs, given or _noted(model))
    if found is None:
        return None
    layout, origin = found
    reads = (BOXES, SCORES) if layout.labels is None else (BOXES, SCORES, LABELS)
    picture = PictureInput(runner.spec.name, rows, columns)
    beside = runner.beside(with_detections(model, layout, shapes, picture))
    return Detector(beside, reads, layout.name, origin, labels)


def _noted(model: Model) -> str | None:
    """The layout that the sidecar names; None if it names none."""
    sidecar = read_sidecar(model.path)
    noted = None if sidecar is None else sidecar.content.get("boxes")
    return None if noted is None else str(noted)
