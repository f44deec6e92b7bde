"""The results: what a method computed, and the facts that are needed to interpret it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.errors import MapError
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array, FloatArray

_LAYERS_NAMED = 3

PICTURES = "picture", "scene"
"""Kinds of inputs that can be drawn as they are, in colors."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method computed for arrays that were already preprocessed.

    Attributes:
        values: float32 (N, ...), signed, never rescaled. The shape of the input for methods that
            explain the input, (N, grid...) for methods that explain a layer.
        scores: float (N,), the explained score of each sample.
        targets: one per sample.
        method: its name.
        layer: the tensor that was explained, several with commas between them, or None for methods
            that explain the input.
        parameters: every option of the method, including defaults.
        diagnostics: what the method reports about its own accuracy.
    """

    values: FloatArray = field(repr=False)
    scores: FloatArray
    targets: tuple[ExplainedTarget, ...]
    method: str
    layer: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """Which model was explained.

    Attributes:
        path: its file, or None for a model that was given as bytes or as a ModelProto.
        sha256: of the model as it was given, in hexadecimal.
        opset: version of the default operator set that the model imports.
        input_name: the picture input.
        output_names: every output, in the model's order.
        fixed_random: nodes that drew random numbers, or normalized by the batch, and were replaced.
    """

    path: Path | None
    sha256: str
    opset: int
    input_name: str
    output_names: tuple[str, ...]
    fixed_random: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """How an explanation was computed, apart from the method.

    Attributes:
        model: which model.
        preprocess: how the picture became the model's input.
        provider: the execution provider that was really used.
        versions: of onnxplain, ONNX Runtime and other software that affects the results.
        batching: in words, how many samples a run had and how many runs were parallel; empty for
            methods that change no samples.
        device: of the provider: its type, index and vendor, as far as they are known.
        provider_options: that were given.
        threads: the most threads that ran the model, if a number was given.
    """

    model: ModelFacts
    preprocess: Mapping[str, Any]
    provider: str
    versions: Mapping[str, str]
    batching: str = ""
    device: Mapping[str, Any] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True)
class ArrayFacts:
    """What an explained array is, where the sample is no picture that was prepared for the model.

    Attributes:
        kind: "scene" (rows and columns), "volume", "signal" or "row": how it is drawn.
        shape: of the sample as the model takes it, without the batch axis.
        dtype: of the values that were given.
        index: which sample of its file or array it is, from 0; None if there is only one.
        bands: the channels that are drawn, counted from 1.
        value_range: for each of them, the values that are drawn black and white.
        names: of the features of a row, in order; empty if they have none.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    index: int | None = None
    bands: tuple[int, ...] = ()
    value_range: tuple[tuple[float, float], ...] = ()
    names: tuple[str, ...] = ()


def stem_of(path: Path | None, array: ArrayFacts | None) -> str:
    """Return a name for files: that of the picture's file, and the index of a sample in it."""
    index = None if array is None else array.index
    name = path.stem if path else "picture"
    return name if index is None else f"{name}-{index}"


@dataclass(frozen=True, eq=False, kw_only=True)
class MapData:
    """The map of a picture or array for one target, and the facts that are needed to read it.

    Attributes:
        values: float32, signed, never rescaled, at the method's own resolution.
        method: its name.
        target: what was explained.
        score: the target's score for this picture; NaN if no target was requested.
        score_kind: what the score is: a logit, a probability, a cosine similarity, or the single
            output of a model that ends without an activation, whose meaning is not known.
        score_tensor: the tensor that the score was read from.
        parameters: every option of the method, including defaults.
        provenance: model, preprocessing, provider and versions.
        layers: the tensors that were explained; none for methods that explain the input.
        diagnostics: what the method reports about its own accuracy.
        picture_path: the picture's file, or None for a picture that was given as an array.
        address: where a picture comes from that has no file of its own, such as an archive.
        array: what an array is; None for a picture.
        name: the first part of the names of its files; None for the name of the picture's file.
        predicted: the class with the largest score; None if the answer has no classes.
    """

    values: FloatArray = field(repr=False)
    method: str
    target: ExplainedTarget
    score: float
    score_kind: str
    score_tensor: str
    parameters: Mapping[str, Any]
    provenance: Provenance
    layers: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    picture_path: Path | None = None
    address: str | None = None
    array: ArrayFacts | None = None
    name: str | None = None
    predicted: int | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Return rows and columns of the picture, or the sizes of the places of an array."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """Return what is drawn: "picture", or the kind of an array."""
        return "picture" if self.array is None else self.array.kind

    @property
    def is_picture(self) -> bool:
        """Return whether `picture` can be drawn as it is: a picture, or a scene in colors."""
        return self.kind in PICTURES

    @property
    def source(self) -> str:
        """Return the file, and which of its samples, in words."""
        index = None if self.array is None else self.array.index
        nth = "" if index is None else f", sample {index}"
        return f"{self.picture_path or self.address or 'no picture'}{nth}"

    @property
    def stem(self) -> str:
        """Return the first part of the names of its files."""
        return self.name or stem_of(self.picture_path, self.array)

    @property
    def layer(self) -> str | None:
        """Return the tensor that was explained, several separated by commas, or None."""
        return ",".join(self.layers) or None

    @property
    def looked_at(self) -> str:
        """Return the layers in words; if there are many, only their number."""
        many = len(self.layers) > _LAYERS_NAMED
        return f"{len(self.layers)} layers" if many else f"layer {self.layer}"

    @property
    def scored(self) -> str:
        """Return kind and value of the score as text; empty if no target was requested."""
        return score_in_words(self.score_kind, self.score)

    @property
    def passes(self) -> str:
        """Return the number of passes through the model, such as "51 forwards, 50 backwards".

        Methods whose diagnostics have no count need one forward pass.
        """
        return passes_in_words(self.diagnostics)

    @property
    def values_range(self) -> tuple[float, float]:
        """Return the smallest and the largest raw value."""
        return float(np.min(self.values)), float(np.max(self.values))


@dataclass(frozen=True, eq=False, kw_only=True)
class ValuesOnly(MapData):
    """A map that is not drawn; `places` is its `size`."""

    places: tuple[int, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """See `MapData`."""
        return self.places


@dataclass(frozen=True, eq=False, kw_only=True)
class ExplanationData(MapData):
    """The explanation of one picture or array for one target: all that files and drawings show.

    Attributes besides those of `MapData`:
        heatmap: float32 (H, W), 0 to 1, on the pixels of the original picture; of an array on its
            places: (depth, rows, columns), (length,) or, of a row, (features,).
        heatmap_range: the raw values that heat 0 and heat 1 represent.
        picture: uint8 (H, W, 3), RGB, the original picture; of an array what is drawn at its
            places, with one more axis: uint8 colors, or the values of a signal and of a row.
        seen: bool (H, W), False where the model did not see the picture; None if it saw all of it.
        sheet: uint8 (h, w, 3), RGB, drawn instead of the overlay for methods whose result is not
            one map, such as `feature_maps`.
        quality: metrics of the map by name, each with its `value`; empty if none were measured.

    Raises:
        MapError: the heatmap is not finite, is outside [0, 1] or does not have the picture's size.
    """

    heatmap: FloatArray = field(repr=False)
    heatmap_range: tuple[float, float]
    picture: Array = field(repr=False)
    seen: Array | None = field(default=None, repr=False)
    sheet: Array | None = field(default=None, repr=False)
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.heatmap.shape != self.picture.shape[:-1]:
            raise MapError(
                f"The heatmap of {self.method} has the shape {self.heatmap.shape}, but the picture"
                f" has {self.picture.shape[:-1]}; a heatmap must cover its picture pixel by pixel."
            )
        # If any value is NaN, min and max are NaN, and a comparison with NaN is False.
        if not (self.heatmap.min() >= 0 and self.heatmap.max() <= 1):
            raise MapError(
                f"The heatmap of {self.method} has values that are not finite or outside 0 to 1,"
                " so it would be misleading; try another layer or method."
            )

    @property
    def size(self) -> tuple[int, ...]:
        """See `MapData`."""
        return self.picture.shape[:-1]

    @property
    def quality_in_words(self) -> str:
        """Return the metrics with a value, such as "deletion 0.0487"; empty if there are none."""
        known = {name: own["value"] for name, own in self.quality.items()}
        shown = [f"{name} {value:.3g}" for name, value in known.items() if value is not None]
        return ", ".join(shown).replace("_", " ")


def score_in_words(kind: str, score: float) -> str:
    """Kind and value of a score, such as "logit 2.31"; empty if it is NaN."""
    return "" if np.isnan(score) else f"{kind} {score:.4g}"


def passes_in_words(diagnostics: Mapping[str, Any]) -> str:
    """The number of passes through the model, such as "51 forwards, 50 backwards"."""
    kinds = "forward", "head", "backward"
    counts = {name: diagnostics.get(f"{name}_passes") for name in kinds}
    known = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(known) or "1 forward"
