"""Segments of an input: the parts that methods such as LIME switch on and off."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import ModuleType

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.points import Blend, Feeds
from onnxplain.execution.subject import Subject
from onnxplain.methods.options import Segments
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Segmented

STAYS = -1
"""The label of positions of no segment: they are never removed, and their value is 0."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segments of an input.

    `labels` has the segment, 0 to `count` − 1, of each position, or `STAYS`. `axes` are the axes of
    the input that `labels` covers.
    """

    axes: tuple[int, ...]
    labels: Array
    count: int

    @property
    def warning(self) -> str:
        """A warning about the segments; empty if there is none."""
        return "" if self.count > 1 or self._stays.any() else _ONE_SEGMENT

    def baseline(self, scene: Scene, spec: BaselineSpec) -> FloatArray:
        """The input without its segments: the baseline that `spec` names, but what stays."""
        (stays,) = scene.broadcast_to_input(self._stays[None])
        return np.asarray(np.where(stays, scene.x, scene.baseline(spec)))

    def placed(self, scene: Scene, values: Array) -> FloatArray:
        """Values of segments, (targets, count), in the form of the input, (targets, ...)."""
        return scene.broadcast_to_input(np.where(self._stays, 0, values[:, self.labels]))

    def scores(self, subject: Subject, switches: Array, baseline: FloatArray) -> FloatArray:
        """Scores (n, targets); `switches`, (n, count), says which segments are kept.

        The others are filled from `baseline`, which must be the input where it stays.
        """
        mask = Segmented(self.axes, self.count, np.where(self._stays, 0, self.labels).tobytes())
        feeds = {"segments": switches.astype(np.float32)}
        return subject.perturbed(Blend(mask, Feeds.of(feeds), baseline))

    @property
    def _stays(self) -> Array:
        """Which positions belong to no segment, bool in the shape of `labels`."""
        stays: Array = self.labels == STAYS
        return stays


_ONE_SEGMENT = (
    "The whole input is one segment, which has one value: choose more segments, such as "
    "200 (--segments 200)."
)


def find_segments(method: str, scene: Scene, wanted: Segments) -> Segmentation:
    """Segments of a sample: the user's own, or about as many as `wanted`.

    The segments of a picture are superpixels. Other inputs are cut into runs of neighbors, or into
    single values if there are not more values than segments. The user's own may be `STAYS` where
    the input always stays as it is.

    Raises:
        OptionError: `wanted` does not fit the input, or scikit-image is missing.
    """
    shape = scene.places
    if not isinstance(wanted, int):
        if wanted.shape != shape:
            raise OptionError(
                f"{method} takes segments of the shape {shape}, a whole number for each place of "
                f"the model's input, and was given {wanted.shape}."
            )
        labels = wanted
    elif wanted < 1:
        raise OptionError(f"{method} takes segments >= 1, and was given {wanted}.")
    elif scene.x.ndim == 4:
        labels = _superpixels(method, scene, wanted)
    else:
        places = prod(shape)
        labels = np.arange(places) * min(wanted, places) // places
    numbers = np.unique(labels[labels != STAYS])
    if not len(numbers):
        raise OptionError(f"{method} was given no segment: every place has the number {STAYS}.")
    numbered = np.where(labels == STAYS, STAYS, np.searchsorted(numbers, labels))
    return Segmentation(scene.spatial, numbered.astype(np.int64), len(numbers))


def needed(module: str, method: str) -> ModuleType:
    """Import a module that the optional dependencies `superpixels` provide.

    Raises:
        OptionError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise OptionError(
            f"{method} needs scikit-image, scikit-learn and SciPy: pip install "
            "'onnxplain[superpixels]', or use occlusion or rise."
        ) from None


def _superpixels(method: str, scene: Scene, count: int) -> Array:
    """SLIC superpixels (Achanta 2012), (rows, columns), of the preprocessed picture."""
    segmentation = needed("skimage.segmentation", method)
    picture = picture_of(scene)
    found: Array = segmentation.slic(picture, n_segments=count, start_label=0, channel_axis=-1)
    return found


def picture_of(scene: Scene) -> FloatArray:
    """The preprocessed picture, (rows, columns, channels), scaled to [0, 1]."""
    rows, columns = scene.spatial
    planes = np.moveaxis(scene.x[0], (rows - 1, columns - 1), (0, 1))
    span = max(float(np.ptp(planes)), np.finfo(np.float32).tiny)
    return np.asarray((planes - planes.min()) / span, np.float32)
