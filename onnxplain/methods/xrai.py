"""XRAI: regions of the picture in the order of their mean attribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Following
from onnxplain.execution.subject import Subject
from onnxplain.images.opencv import cv2
from onnxplain.methods.base import AdaptiveMethod, InputMethod, Maps, rows_and_columns
from onnxplain.methods.options import Steps
from onnxplain.methods.quadrature import nodes
from onnxplain.methods.segments import needed, picture_of
from onnxplain.tensors import Array

_SIDE = 224
"""Of the pictures that the sizes below are meant for."""

_SCALES = (50, 100, 150, 250, 500, 1200)
_SIGMA = 0.8
_SMALLEST = 150
_DILATION = 5
_LEAST = 50
"""Scales, blur and smallest size of the segments, how far they are dilated, and the least number of
pixels that a segment must add, all as in the library of the paper's authors."""

_BASELINES = ("black", "white")


@dataclass(frozen=True, kw_only=True)
class XRAI(InputMethod, AdaptiveMethod):
    """Regions by their mean integrated gradient: the value of a pixel is that of its region.

    The attribution of a pixel is the largest over the channels of the mean of integrated_gradients
    from black and from white, with `steps` points each. Felzenszwalb's method segments the picture
    at six scales, and the segments are dilated. One after the other, the segment is taken whose
    pixels that no earlier one has have the highest mean attribution; this mean is their value.
    Segments that would add hardly any pixel are dropped; pixels of no segment have the mean of
    their attributions. Scales are meant for pictures of 224 × 224 pixels: the picture is segmented
    at this size, and the dilation and the least number of pixels follow the size of the input.

    Kapishnikov et al., "XRAI: Better Attributions Through Regions", ICCV 2019; Felzenszwalb and
    Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
    """

    name = "xrai"
    summary = "regions of the picture in the order of their mean integrated gradient"
    paper = "Kapishnikov 2019"
    cost = "1 + 2 × steps (50), each with a backward"
    needs_gradient = True

    steps: Steps = 50

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        self.require(self.steps >= 1, "steps >= 1")
        rows_and_columns(self.name, scene)

    def maps(self, subject: Subject) -> Maps:
        """See `AdaptiveMethod`.

        Raises:
            OptionError: scikit-image is missing.
        """
        scene = subject.scene
        masks = segments_of(self.name, scene)
        least = max(1, round(_LEAST * masks[0].size / _SIDE**2))
        maps = [
            ranked_regions(self._attribution(subject, target), masks, least)
            for target in range(len(subject.scores))
        ]
        facts = {**subject.spent, "segments": len(masks)}
        return Maps(scene.broadcast_to_input(np.stack(maps)), facts)

    def _attribution(self, subject: Subject, target: int) -> Array:
        """The attribution of each pixel, (rows, columns)."""
        scene = subject.scene
        shares, weights = nodes("gauss-legendre", self.steps)
        values = np.zeros(scene.shape)
        for baseline in _BASELINES:
            start = scene.baseline(baseline)
            way = scene.x.astype(np.float64) - start
            gradients = subject.gradients(_straight(start, way, shares), target)
            for weight, (_, gradient) in zip(weights, gradients, strict=True):
                values += weight * gradient * way / len(_BASELINES)
        channels = tuple(axis for axis in range(values.ndim) if axis not in scene.spatial)
        return np.asarray(values.max(axis=channels))


def _straight(start: Array, way: Array, shares: Array) -> Following:
    """Points on the straight path at some shares of the way."""

    def points(part: slice) -> Array:
        (share,) = shares[part]
        return np.asarray(start + share * way, np.float32)

    return Following(len(shares), points)


def ranked_regions(attribution: Array, masks: Array, least: int) -> Array:
    """The value of each pixel, (rows, columns), as described in `XRAI`.

    `attribution` is (rows, columns), and `masks` bool (n, rows, columns). A mask must add `least`
    pixels to those of earlier ones.
    """
    found, left = np.empty(attribution.shape), np.ones(attribution.shape, bool)
    for region in _regions(attribution, masks, least):
        found[region] = attribution[region].mean()
        left &= ~region
    if left.any():
        found[left] = attribution[left].mean()
    return found


def _regions(attribution: Array, masks: Array, least: int) -> Iterator[Array]:
    """Yield the pixels that each chosen mask adds, bool (rows, columns)."""
    flat, values = masks.reshape(len(masks), -1).copy(), attribution.ravel()
    counts, sums = flat.sum(axis=1), flat @ values
    while (counts >= least).any():
        means = np.where(counts >= least, sums / np.maximum(counts, 1), -np.inf)
        added = np.flatnonzero(flat[means.argmax()])
        yield _chosen(added, attribution.shape)
        shared = flat[:, added]
        counts, sums = counts - shared.sum(axis=1), sums - shared @ values[added]
        flat[:, added] = False


def _chosen(places: Array, shape: tuple[int, ...]) -> Array:
    """Whether each pixel is among the places."""
    chosen = np.zeros(shape, bool)
    chosen.ravel()[places] = True
    return chosen


def segments_of(method: str, scene: Scene) -> Array:
    """The segments of all scales, dilated, bool (n, rows, columns)."""
    segmentation, morphology, transform = (
        needed(f"skimage.{one}", method) for one in ("segmentation", "morphology", "transform")
    )
    picture, shape = picture_of(scene) * 2 - 1, scene.places
    resized = transform.resize(
        picture, (_SIDE, _SIDE), order=3, mode="constant", preserve_range=True, anti_aliasing=True
    )
    footprint = morphology.disk(max(1, round(_DILATION * min(shape) / _SIDE)))
    masks = []
    for scale in _SCALES:
        labels = segmentation.felzenszwalb(
            resized, scale=scale, sigma=_SIGMA, min_size=_SMALLEST, channel_axis=-1
        )
        back = transform.resize(
            labels, shape, order=0, mode="constant", preserve_range=True, anti_aliasing=False
        )
        for label in np.unique(back):
            masks.append(cv2.dilate((back == label).astype(np.uint8), footprint) > 0)
    return np.stack(masks)
