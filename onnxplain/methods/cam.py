"""Maps made from one forward pass: the activations of a layer, weighted or as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError, TargetError
from onnxplain.methods.base import Anatomy, LayerMethod, Maps, Method, Subject, weighted_sum
from onnxplain.methods.layer_maps import LayerMapMethod
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True, kw_only=True)
class CAM(Method):
    """Σ_k w_k A^k with the classifier's own weights w; A is what the global pool reads.

    With global average pooling the map's mean is the class's logit, less its bias.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; with global
    max pooling Oquab et al., "Is object localization for free?", CVPR 2015.
    """

    name: ClassVar[str] = "cam"
    summary: ClassVar[str] = "the classifier's own weights on the last activations"
    paper: ClassVar[str] = "Zhou 2016"
    cost: ClassVar[str] = "1"

    def look_at(self, anatomy: Anatomy) -> Sequence[Layer]:
        """The tensor that the global pool reads."""
        return [anatomy.layer(anatomy.classifier().layer)]

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            LayerError: the weights do not fit the pooled channels.
            TargetError: a target is no class.
        """
        classifier = subject.classifier()
        activation = subject.activation()
        weights = classifier.weights
        if weights is None:
            weights = np.eye(len(activation), dtype=np.float32)
        if weights.shape[1] != len(activation):
            raise LayerError(
                f"CAM needs one weight for each channel, and here the linear layer reads "
                f"{weights.shape[1]} values from {len(activation)} channels: the pool before it is "
                "not global; use gradcam, ablationcam or scorecam."
            )
        classes = [index for index in subject.classes if index is not None]
        if len(classes) < len(subject.classes):
            raise TargetError(
                "CAM explains single outputs only: use gradcam or occlusion for this target."
            )
        return Maps(weighted_sum(weights[classes], activation), {"pooling": classifier.pooling})

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """The values are a map already."""
        return values


@dataclass(frozen=True, kw_only=True)
class RegressionActivationMap(CAM):
    """Σ_k w_k A^k with the weights w of a regression's output; A is what the global pool reads.

    The definition of cam, for a number that is no class: with global average pooling the map's mean
    is the predicted number, less the bias, and its sign says which regions raise or lower it. The
    target is the output's index, 0 where there is only one.

    Wang and Yang, "Diabetic Retinopathy Detection via Deep Convolutional Networks for
    Discriminative Localization and Visual Explanation", 2017.
    """

    name: ClassVar[str] = "regression_activation_map"
    summary: ClassVar[str] = "cam for the output of a regression"
    paper: ClassVar[str] = "Wang 2017"


@dataclass(frozen=True, kw_only=True)
class EigenCAM(LayerMapMethod):
    """Projection of the activation on its first principal direction: A · v₁, A = U Σ Vᵀ.

    A is (rows · columns, channels), as it is, without centring. A singular vector has no sign of
    its own: it is chosen so that the map's sum is positive. No class is asked for, so every target
    gets the same map.

    Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020.
    """

    name: ClassVar[str] = "eigencam"
    summary: ClassVar[str] = "first principal component of the activations; knows no class"
    paper: ClassVar[str] = "Muhammad 2020"
    cost: ClassVar[str] = "1"

    @property
    def needs_target(self) -> bool:
        """None: the map is the same for all."""
        return False

    def map_at(self, subject: Subject) -> Maps:
        """See `LayerMapMethod`."""
        projected, share = principal(subject.activation())
        projected *= -1 if projected.sum() < 0 else 1
        values = np.repeat(projected[None].astype(np.float32), len(subject.scores), axis=0)
        return Maps(values, {"explained_variance": share})


def principal(volume: Array) -> tuple[Array, float]:
    """A volume (channels, rows, columns) projected on its first principal direction.

    The map (rows, columns) has the sign that chance gave it; with it comes the direction's share
    of the sum of squares.
    """
    cells = volume.reshape(len(volume), -1).T.astype(np.float64)
    _, strengths, directions = np.linalg.svd(cells, full_matrices=False)
    projected = (cells @ directions[0]).reshape(volume.shape[1:])
    share = strengths[0] ** 2 / max(float((strengths**2).sum()), np.finfo(np.float64).tiny)
    return projected, float(share)


@dataclass(frozen=True, kw_only=True)
class FeatureMaps(LayerMethod):
    """The activations themselves, (channels, rows, columns): what each filter answers to.

    Drawn as a contact sheet, each channel scaled to 0 to 255. The heatmap is their mean, or the one
    channel that `channel` names.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name: ClassVar[str] = "feature_maps"
    summary: ClassVar[str] = "the activations of a layer as a contact sheet"
    paper: ClassVar[str] = "Zeiler 2013"
    cost: ClassVar[str] = "1"

    channel: int | None = None

    @property
    def needs_target(self) -> bool:
        """None: the map is the same for all."""
        return False

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            LayerError: the layer has no such channel.
        """
        activation = subject.activation()
        if self.channel is not None and not 0 <= self.channel < len(activation):
            raise LayerError(
                f"The layer {subject.layer.tensor!r} has no channel {self.channel}: it has "
                f"{len(activation)}, 0 to {len(activation) - 1}."
            )
        return Maps(np.repeat(activation[None], len(subject.scores), axis=0))

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """Every channel, or the chosen one."""
        return values if self.channel is None else values[self.channel : self.channel + 1]

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """The mean over the channels, or the chosen one."""
        if self.channel is not None:
            return np.asarray(values[self.channel])
        mean: FloatArray = values.mean(axis=0)
        return mean
