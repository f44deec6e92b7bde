"""Segments of an input: what methods that switch parts of it on and off switch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import ModuleType

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend
from onnxplain.execution.subject import Subject
from onnxplain.methods.options import Segments
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Segmented


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments 0, 1, ..., `count` − 1 of the places along `axes` of the input, as `labels`."""

    axes: tuple[int, ...]
    labels: Array
    count: int

    @property
    def warning(self) -> str:
        """What to mind about the segments; empty where it is nothing."""
        return "" if self.count > 1 else _ONE_SEGMENT

    def scores(self, subject: Subject, switches: Array, baseline: FloatArray) -> FloatArray:
        """Scores (n, targets) with the segments that `switches`, (n, count), leaves on."""
        mask = Segmented(self.axes, self.count, self.labels.tobytes())
        feeds = {"segments": switches.astype(np.float32)}
        return subject.perturbed(Blend(mask, feeds, baseline))


_ONE_SEGMENT = (
    "The whole input fell into one segment, which has one value: ask for more segments, such as "
    "200 (--segments 200)."
)


def find_segments(method: str, scene: Scene, wanted: Segments) -> Segmentation:
    """Segments of a sample: the user's own, or about as many as `wanted`.

    Those of a picture are superpixels; other inputs are cut into runs of neighbors, which are
    single values where there are no more of them.

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
    numbers, labels = np.unique(labels, return_inverse=True)
    return Segmentation(scene.spatial, labels.reshape(shape).astype(np.int64), len(numbers))


def needed(module: str, method: str) -> ModuleType:
    """A module of the extra `superpixels`.

    Raises:
        OptionError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise OptionError(
            f"{method} needs scikit-image and scikit-learn: pip install 'onnxplain[superpixels]', "
            "or use occlusion or rise."
        ) from None


def _superpixels(method: str, scene: Scene, count: int) -> Array:
    """SLIC superpixels (Achanta 2012), in the colors that the model sees."""
    segmentation = needed("skimage.segmentation", method)
    rows, columns = scene.spatial
    planes = np.moveaxis(scene.x[0], (rows - 1, columns - 1), (0, 1))
    span = max(float(np.ptp(planes)), np.finfo(np.float32).tiny)
    picture = (planes - planes.min()) / span
    found: Array = segmentation.slic(picture, n_segments=count, start_label=0, channel_axis=-1)
    return found
