"""Where two forms of a model, such as float and int8, give the same answer and look elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxplain.errors import OnnxplainError, OptionError, attempted
from onnxplain.explainer import Explainer, Picture
from onnxplain.images.picture import as_uint8, read_pixels
from onnxplain.jobs.inputs import InputImage
from onnxplain.metrics.similarity import rank_correlation
from onnxplain.reports.extras import needed
from onnxplain.reports.places import evidence, shares
from onnxplain.results.comparison import require_picture
from onnxplain.results.explanation import Explanation
from onnxplain.runtime.batching import Progress
from onnxplain.targets import Target
from onnxplain.tensors import Array, FloatArray

LEAST_MOVED = 0.1
"""Less heat that moved is no difference, however little a model's own maps vary."""

NORMAL = 0.95
"""Share of the first model's own variations that a difference must exceed."""

DRAWN = 24
"""The pictures with the largest differences keep their maps, to be drawn."""

_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Pair:
    """How the maps of two models differ for one picture, both explaining the same target.

    Attributes:
        input: the picture.
        answers: what each model answers.
        target: what is explained: the answer of the first model.
        moved: the share of the heat that is in another cell: ½ Σ |p − q|, 0 to 1.
        own: the same of the first model's map and its map of the picture with noise.
        correlation: Spearman's rank correlation of the heatmaps, −1 to 1.
        ssim: their structural similarity (Wang 2004), at most 1.
        picture, heats: the picture and its maps, only of those that are drawn.
    """

    input: str
    answers: tuple[str, str]
    target: str
    moved: float
    own: float
    correlation: float
    ssim: float
    picture: Array | None = field(default=None, repr=False)
    heats: tuple[FloatArray, FloatArray] | None = field(default=None, repr=False)

    @property
    def agree(self) -> bool:
        """Whether both models give the same answer."""
        return self.answers[0] == self.answers[1]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The differences of two models on some pictures, the largest first.

    Attributes:
        models: their names.
        method: of all maps.
        pairs: a pair for each picture, with the most moved heat first.
        limit: a picture with more moved heat is one at which the models look differently: the
            share of heat that noise moves in fewer than one of twenty pictures, at least
            `LEAST_MOVED`.
        failed: why other pictures are not among them, by picture.
    """

    models: tuple[str, str]
    method: str
    pairs: Sequence[Pair]
    limit: float
    failed: Mapping[str, str]

    def differs(self, pair: Pair) -> bool:
        """Whether the models look differently at a picture."""
        return pair.moved > max(self.limit, pair.own)

    @property
    def elsewhere(self) -> list[Pair]:
        """The pictures with the same answer at which the models look differently."""
        return [pair for pair in self.pairs if pair.agree and self.differs(pair)]

    @property
    def disagree(self) -> list[Pair]:
        """The pictures with different answers."""
        return [pair for pair in self.pairs if not pair.agree]

    @property
    def verdict(self) -> str:
        """What was found, in a sentence or two."""
        total, pairs = len(self.pairs), self.elsewhere
        answers = (
            f"{total - len(self.disagree)} of {total} answers are the same."
            if self.disagree
            else f"All {total} answers are the same."
        )
        if not pairs and not self.disagree:
            return (
                "No difference: all answers are the same, and the models look at the same places."
            )
        if not pairs:
            return f"{answers} Where they are, the models look at the same places."
        return f"{answers} In {len(pairs)} of these the models look at different places."


def compare_models(
    models: tuple[Explainer, Explainer],
    names: tuple[str, str],
    images: Sequence[InputImage],
    method: str,
    options: tuple[Mapping[str, Any], Mapping[str, Any]],
    target: str,
    report: Progress,
    seed: int = 0,
) -> Comparison:
    """Explain pictures with both models, and the first model's pictures with noise once more.

    The noise changes each value of the picture by −1, 0 or 1 of 255.

    Args:
        models: the explainers.
        names: what they are called.
        images: the pictures.
        method: the name of a method.
        options: those of the method, for each model.
        target: as for `Explainer.targets`; it must mean one target.
        report: called with the pictures done and their number.
        seed: of the noise.

    Raises:
        OnnxplainError: no picture can be explained by both, or the method is no map of pictures.
    """
    rng = np.random.default_rng(seed)
    pairs, failed = list[Pair](), dict[str, str]()
    for start in range(0, len(images), _AT_ONCE):
        part = images[start : start + _AT_ONCE]
        compared = _compared(models, part, method, options, target, rng)
        for image, found in zip(part, compared, strict=True):
            if isinstance(found, OnnxplainError):
                failed[image.source] = str(found)
            else:
                pairs.append(found)
        pairs = _with_largest_drawn(pairs)
        report(start + len(part), len(images))
    if not pairs:
        raise OptionError(f"No picture could be explained: {next(iter(failed.values()))}")
    limit = max(LEAST_MOVED, float(np.quantile([pair.own for pair in pairs], NORMAL)))
    return Comparison(names, method, sorted(pairs, key=lambda pair: -pair.moved), limit, failed)


def _compared(
    models: tuple[Explainer, Explainer],
    images: Sequence[InputImage],
    method: str,
    options: tuple[Mapping[str, Any], Mapping[str, Any]],
    target: str,
    rng: np.random.Generator,
) -> Iterator[Pair | OnnxplainError]:
    """The pair of each picture, or why there is none."""
    first, second = models
    asked = [attempted(_asked, models, image, target) for image in images]
    good = [one for one in asked if not isinstance(one, OnnxplainError)]
    pictures, targets = [one.picture for one in good], [one.target for one in good]
    noisy: list[Picture] = [_with_noise(one, rng) for one in pictures]
    explained = zip(
        first.try_own(pictures, targets, method, **options[0]),
        second.try_own(pictures, targets, method, **options[1]),
        first.try_own(noisy, targets, method, **options[0]),
        strict=True,
    )
    for one in asked:
        yield one if isinstance(one, OnnxplainError) else _pair(one, *next(explained))


@dataclass(frozen=True, eq=False)
class _Asked:
    """A picture, uint8 (rows, columns, 3), the target to explain, and what the models answer."""

    source: str
    picture: Array
    target: Target
    answers: tuple[str, str]


def _asked(models: tuple[Explainer, Explainer], image: InputImage, target: str) -> _Asked:
    require_picture(models[0].kind_of(image.given))
    picture = as_uint8(read_pixels(image.path))
    found = [explainer.targets(picture, target) for explainer in models]
    for own in found:
        if len(own) != 1:
            raise OptionError(
                f"{target!r} means {len(own)} targets, and a comparison is of one: name a class, "
                "or use top1."
            )
    first, second = (own[0] for own in found)
    return _Asked(image.source, picture, first, _answers(models[0], first, second))


def _answers(explainer: Explainer, first: Target, second: Target) -> tuple[str, str]:
    """Both answers in words; classes are named by the first model's labels, as it may have more."""
    one, other = first.described, second.described
    if one.index is not None and one.index == other.index and one.region is None:
        return one.title, one.title
    label = (
        None
        if other.index is None or explainer.labels is None
        else (explainer.labels.name(other.index))
    )
    return one.title, label or other.title


def _with_noise(picture: Array, rng: np.random.Generator) -> Array:
    changed = picture.astype(np.int16) + rng.integers(-1, 2, picture.shape, np.int16)
    noisy: Array = changed.clip(0, 255).astype(np.uint8)
    return noisy


def _pair(
    asked: _Asked,
    first: Explanation | OnnxplainError,
    second: Explanation | OnnxplainError,
    noisy: Explanation | OnnxplainError,
) -> Pair | OnnxplainError:
    if isinstance(first, OnnxplainError):
        return first
    if isinstance(second, OnnxplainError):
        return second
    if isinstance(noisy, OnnxplainError):
        return noisy
    heats = _heat(first), _heat(second)
    window = _window(first.seen, heats[0].shape)
    grids = [shares(heat, window) for heat in (*heats, _heat(noisy))]
    moved, own = (moved_share(grids[0], other) for other in grids[1:])
    maps_seen = first.heatmap[window], second.heatmap[window]
    return Pair(
        asked.source,
        asked.answers,
        first.target.title,
        moved,
        own,
        rank_correlation(*maps_seen),
        structural_similarity(*maps_seen),
        asked.picture,
        heats,
    )


def _heat(explanation: Explanation) -> FloatArray:
    low, high = explanation.heatmap_range
    values = np.float32(low) + np.float32(high - low) * explanation.heatmap
    return evidence(values, explanation.method)


def _window(seen: Array | None, size: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a picture that the model saw."""
    if seen is None:
        return slice(size[0]), slice(size[1])
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def moved_share(first: FloatArray | None, second: FloatArray | None) -> float:
    """½ Σ |p − q| of two maps of sum 1, 0 to 1; a map without heat, None, differs from all others.

    It is the least share of the heat that must be moved to make one map of the other.
    """
    if first is None or second is None:
        return 0.0 if first is second else 1.0
    return float(np.abs(first - second).sum(dtype=np.float64) / 2)


def structural_similarity(first: FloatArray, second: FloatArray) -> float:
    """SSIM of two heatmaps (rows, columns) in [0, 1].

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004, with a window of seven pixels, or less where a map is smaller.
    """
    metrics = needed("skimage.metrics")
    window = min(7, *(side - 1 + side % 2 for side in first.shape))
    return float(metrics.structural_similarity(first, second, win_size=window, data_range=1.0))


def _with_largest_drawn(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, of which only `DRAWN` keep their pictures, so that memory stays bounded.

    Those with the same answer come first, as they are what is looked for.
    """
    order = sorted(pairs, key=lambda pair: (pair.agree, pair.moved), reverse=True)
    kept = {id(pair) for pair in order[:DRAWN]}
    return [one if id(one) in kept else replace(one, picture=None, heats=None) for one in pairs]
