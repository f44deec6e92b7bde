"""Concepts of a layer: parts of its activations that occur together, and what they matter.

The activations of many pictures, (places, channels), are factored into U W with nonnegative
factors: Collins, Achanta and Süsstrunk, "Deep Feature Factorization for Concept Discovery", ECCV
2018. How much a concept matters to a score is the total Sobol index of a factor that multiplies its
part of the activations: Fel et al., "CRAFT: Concept Recursive Activation FacTorization for
Explainability", CVPR 2023.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError, OptionError
from onnxplain.explainer import Explainer, Picture
from onnxplain.reports.extras import needed_for_concepts
from onnxplain.reports.map_files import MapFile
from onnxplain.runtime.batching import Progress
from onnxplain.runtime.session import RunError, Session
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.extract import head, side_inputs, with_outputs

DESIGNS = 64
"""Points of the design from which Sobol indices are estimated; each takes concepts + 2 runs."""

PICTURES = 200
"""Most pictures whose activations are factored, and of each class `SCORED` whose scores are run."""

SCORED = 8

_EXAMPLES = 6
_PLANES = {"NCHW": 1, "NHWC": 3}
"""The axis of channels of the layers that can be factored."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concepts of a layer.

    Attributes:
        layer: its tensor.
        parts: how much of each channel is in a concept, (concepts, channels).
        importance: for each class the mean total Sobol index of each concept, (concepts,); the
            most important concept of all classes is the first.
        examples: for each concept the maps whose pictures have most of it: the index of the map,
            and how much of the concept each cell has, (rows, columns).
        explained: the share of the activations' squared sum that the concepts explain.
        same_answers: the share of pictures for which the concepts alone give the same answer.
        pictures: the number of pictures that were factored.
    """

    layer: str
    parts: FloatArray = field(repr=False)
    importance: Mapping[str, Array]
    examples: Sequence[Sequence[tuple[int, FloatArray]]] = field(repr=False)
    explained: float
    same_answers: float
    pictures: int


def find_concepts(
    explainer: Explainer,
    files: Sequence[MapFile],
    layers: Sequence[str],
    count: int,
    report: Progress,
    seed: int = 0,
) -> Concepts:
    """Factor the activations of the layer that the maps are of, `layers`.

    Raises:
        OptionError: the count is not positive, a picture is missing, or the maps are of no layer.
        LayerError: the layer has no rows and columns, or does not compute the score alone.
    """
    if count < 1:
        raise OptionError(f"A report has at least one concept, not {count}: --concepts 8.")
    if not layers:
        raise OptionError(
            f"Concepts are of a layer, and for maps of {files[0].method} none is known: make them "
            "with gradcam or another method of a layer, with the format json or map16."
        )
    layer = concept_layer(explainer, layers[0])
    network = Network(explainer, layer)
    chosen = _chosen(files, seed)
    stacked = list[FloatArray]()
    for done, index in enumerate(chosen, start=1):
        report(done, len(chosen))
        stacked.append(network.activation(files[index].path))
    if len({one.shape for one in stacked}) > 1:
        raise LayerError(
            f"The pictures become activations of different sizes at {layer.tensor!r}, which are "
            "not factored together: choose one with --size when you run and report."
        )
    activations = np.maximum(np.stack(stacked), 0)
    usage, parts = factor(activations, count, seed)
    importance = _importance(network, [files[i] for i in chosen], usage, parts)
    order = np.argsort(-np.mean(list(importance.values()), axis=0)) if importance else slice(None)
    usage, parts = usage[..., order], parts[order]
    return Concepts(
        layer=layer.tensor,
        parts=parts,
        importance={name: own[order] for name, own in importance.items()},
        examples=_examples(chosen, usage),
        explained=explained_share(activations, usage @ parts),
        same_answers=_same_answers(network, activations, usage @ parts),
        pictures=len(chosen),
    )


def factor(activations: FloatArray, count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Nonnegative U (pictures, rows, columns, count) and W (count, channels) with A near U W.

    `activations` are (pictures, rows, columns, channels), 0 or more.
    """
    flat = activations.reshape(-1, activations.shape[-1])
    count = min(count, *flat.shape)
    model = needed_for_concepts("sklearn.decomposition").NMF(
        count, init="nndsvda", random_state=seed, max_iter=400, tol=1e-3
    )
    with warnings.catch_warnings():
        # The report says how much the factors explain.
        warnings.filterwarnings("ignore", "Maximum number of iterations")
        usage = model.fit_transform(flat.astype(np.float64))
    shape = (*activations.shape[:-1], count)
    return usage.reshape(shape).astype(np.float32), model.components_.astype(np.float32)


def total_indices(
    score: Callable[[Array], Array], factors: int, designs: int = DESIGNS, seed: int = 0
) -> Array:
    """Total Sobol indices, (factors,): the share of the variance that each factor takes part in.

    The factors are in [0, 1], independent and uniform.

    By Jansen's estimator on a scrambled Sobol sequence: Jansen, "Analysis of variance designs for
    model output", Computer Physics Communications 117, 1999. `score` takes points (n, factors)
    and returns (n,). All are 0 if the score does not vary.
    """
    qmc: Any = needed_for_concepts("scipy.stats").qmc
    points = qmc.Sobol(2 * factors, rng=seed).random(designs)
    a, b = points[:, :factors], points[:, factors:]
    mixed = np.repeat(a[None], factors, axis=0)
    for i in range(factors):
        mixed[i, :, i] = b[:, i]
    scores = score(np.concatenate([a, b, mixed.reshape(-1, factors)]))
    of_a, of_b = scores[:designs], scores[designs : 2 * designs]
    of_mixed = scores[2 * designs :].reshape(factors, designs)
    variance = np.var(np.concatenate([of_a, of_b]))
    if not variance > 0:
        return np.zeros(factors)
    indices: Array = ((of_a - of_mixed) ** 2).mean(1) / (2 * variance)
    return indices


def explained_share(whole: Array, modeled: Array) -> float:
    """1 − ‖whole − modeled‖² / ‖whole‖²."""
    rest = np.square(whole - modeled, dtype=np.float64).sum()
    return float(1 - rest / np.square(whole, dtype=np.float64).sum())


class Network:
    """The two parts of a model: up to a layer, and from there to the scores.

    Raises:
        LayerError: the score is not computed from the layer alone.
    """

    def __init__(self, explainer: Explainer, layer: Layer) -> None:
        model, self._score = explainer.model, explainer.score_tensor.logit
        others = side_inputs(model, layer.tensor, [self._score])
        if others:
            raise LayerError(
                f"The score is not computed from {layer.tensor!r} alone, but also from "
                f"{others[0]!r}: make the maps at a layer that all paths go through."
            )
        self.layer = layer.tensor
        self._explainer, self._layer = explainer, layer
        self._axis = _PLANES[layer.layout.axes]
        self._body = Session(with_outputs(model, [layer.tensor]), explainer.backend)
        shape = (None, *layer.shape[1:])
        spec = TensorSpec(layer.tensor, np.dtype(np.float32), shape)
        self._head = Session(head(model, {layer.tensor: spec}, [self._score]), explainer.backend)

    def activation(self, picture: Picture) -> FloatArray:
        """The layer's activation for a picture, (rows, columns, channels)."""
        x = self._explainer.take(picture).x
        (found,) = self._body.run(self._explainer.feeds(x))
        activation: FloatArray = np.moveaxis(found[0], self._axis - 1, -1).astype(np.float32)
        return activation

    def scores(self, activations: FloatArray) -> Array:
        """Scores (n, classes) of activations (n, rows, columns, channels)."""
        x = np.ascontiguousarray(np.moveaxis(activations, -1, self._axis))
        try:
            (found,) = self._head.run({self._layer.tensor: x})
        except RunError:  # the head takes one sample at a time
            found = np.concatenate(
                [self._head.run({self._layer.tensor: one[None]})[0] for one in x]
            )
        return found.reshape(len(activations), -1).astype(np.float64)


def concept_layer(explainer: Explainer, name: str) -> Layer:
    """The layer of that name, which has rows, columns and channels.

    Raises:
        LayerError: there is no such layer, or it holds tokens.
    """
    layer = explainer.layer(name)
    if layer.layout.axes not in _PLANES:
        raise LayerError(
            f"Concepts need a layer with rows, columns and channels, and {name!r} holds tokens: "
            "make the maps at a convolution or its activation."
        )
    return layer


def _chosen(files: Sequence[MapFile], seed: int) -> list[int]:
    """At most `PICTURES` maps, as many of each class as possible, in a random order."""
    own = dict[str, list[int]]()
    for index in np.random.default_rng(seed).permutation(len(files)).tolist():
        own.setdefault(files[index].class_name, []).append(index)
    each = max(1, PICTURES // len(own))
    chosen = [index for indices in own.values() for index in indices[:each]][:PICTURES]
    missing = next((files[i].input for i in chosen if not files[i].path.is_file()), None)
    if missing is not None:
        raise OptionError(
            f"Concepts are found in the pictures, and {missing} is not there: run the report from "
            "the folder in which `onnxplain run` was called."
        )
    return sorted(chosen)


def _importance(
    network: Network, files: Sequence[MapFile], usage: FloatArray, parts: FloatArray
) -> dict[str, Array]:
    """The mean indices of at most `SCORED` pictures of each class, by its name."""
    indices = defaultdict[str, list[Array]](list)
    for file, own in zip(files, usage, strict=True):
        target = file.class_index
        if target is None or len(indices[file.class_name]) == SCORED:
            continue

        indices[file.class_name].append(importance_of(network, own, parts, target))
    return {name: np.mean(own, axis=0) for name, own in sorted(indices.items()) if own}


def importance_of(network: Network, usage: FloatArray, parts: FloatArray, target: int) -> Array:
    """The total Sobol index of each concept of one picture for the score of a class, (concepts,).

    `usage` is (rows, columns, concepts); random factors in [0, 1] make concepts weaker.
    """

    def score(factors: Array) -> Array:
        changed = (usage * factors[:, None, None].astype(np.float32)) @ parts
        return network.scores(changed)[:, target]

    return total_indices(score, len(parts))


def _same_answers(network: Network, whole: FloatArray, modeled: FloatArray) -> float:
    answers = (
        [int(network.scores(one[None]).argmax()) for one in activations]
        for activations in (whole, modeled)
    )
    return float(np.mean([a == b for a, b in zip(*answers, strict=True)]))


def _examples(chosen: Sequence[int], usage: FloatArray) -> list[list[tuple[int, FloatArray]]]:
    found = []
    for concept in range(usage.shape[-1]):
        own = usage[..., concept]
        best = np.argsort(-own.max((1, 2)))[:_EXAMPLES]
        found.append([(chosen[place], own[place]) for place in best.tolist()])
    return found
