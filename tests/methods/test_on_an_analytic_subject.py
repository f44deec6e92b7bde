"""Methods are numpy code: here the score is a formula, with no model and no session."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from methods.masks import flat, masks_of
from numpy.testing import assert_allclose
from references.perturbation import scorecam as reference_scorecam

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import Layout
from onnxplain.errors import MapError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import LayerMasks
from onnxplain.execution.sample import Sample
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.wants import SampleScores, SampleWeights, Want
from onnxplain.explainer.sampled import explain_by_samples
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import LayerMethod, SampledMethod
from onnxplain.methods.cam import CAM, EigenCAM, FeatureMaps
from onnxplain.methods.occlusion import Occlusion
from onnxplain.methods.perturb_layer import AblationCAM, ReciproCAM
from onnxplain.methods.rise import RISE
from onnxplain.methods.scorecam import ScoreCAM

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(0)
GRADIENTS = RANDOM.normal(size=(2, 1, 3, 6, 8)).astype(np.float32)
HEADS = RANDOM.normal(size=(2, 4, 2, 3)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Counting(Scene):
    """A scene whose baseline is always that of its subject, whatever its name."""

    subject: Any = None

    def baseline(self, spec: Any, seed: int = 0) -> Array:
        self.subject._count("baseline")
        return self.subject.absent


class Linear:
    """Two targets, S_t(x) = <gradient_t, x>, and at a layer S_t(A) = <head_t, A>.

    The batches hold three samples. `calls` counts the calls.
    """

    def __init__(self) -> None:
        self.x = RANDOM.normal(size=(1, 3, 6, 8)).astype(np.float32)
        self.shown = RANDOM.normal(size=(4, 2, 3)).astype(np.float32)
        self.absent = RANDOM.normal(size=self.x.shape).astype(np.float32)
        self.calls: dict[str, int] = {}
        self.spent: Counter[str] = Counter()
        self.at_input, self.at_layer = True, False

    @property
    def scores(self) -> Array:
        return self._scores(self.x if self.at_input else self.shown[None])[0]

    @property
    def originals(self) -> list[Original]:
        layer = Layer("a", "a", "Relu", (1, 4, 2, 3), Layout("NCHW", (2, 3)), whole=True)
        at = (layer, self.shown.reshape(4, 6).astype(np.float64)) if self.at_layer else None
        return [
            Original(
                Counting(self.x, 1, (2, 3), None, subject=self),
                self.scores[:, None],
                np.zeros((2, 1)),
                at,
            )
        ]

    def scores_of(self, x: Array) -> Array:
        self._count("scores_of")
        return self._scores(x)[0]

    def found(
        self, sampling: Sampling, wants: Sequence[Want], targets: Sequence[int]
    ) -> Iterator[tuple[int, Sequence[int], list[Array]]]:
        made, x, absent = sampling.made, self.x, self.absent
        if isinstance(made, LayerMasks):
            x, absent = self.shown[None], np.zeros((1, *self.shown.shape), np.float32)
        masks = masks_of(made.mask, made.feeds.make(slice(None)), x.shape)
        for part in self._parts(len(masks)):
            self._count("samples", part.stop - part.start)
            given = {
                SampleScores: self._scores(absent + masks[part] * (x - absent))[:, targets].T,
                SampleWeights: sampling.weights(part) if sampling.weights else flat(masks[part]),
            }
            yield 0, targets, [given[type(want)] for want in wants]

    def _scores(self, samples: Array) -> Array:
        weights = GRADIENTS[:, 0] if samples.shape[1] == 3 else HEADS
        return np.einsum("nchw,tchw->nt", samples, weights)

    def _parts(self, count: int) -> Iterator[slice]:
        for start in range(0, max(count, 1), 3):
            yield slice(start, min(start + 3, count))

    def _count(self, what: str, number: int = 1) -> None:
        if number:
            self.calls[what] = self.calls.get(what, 0) + number


def explain(method: SampledMethod, **changes: Any) -> tuple[Array, Linear]:
    subject = Linear()
    for name, value in changes.items():
        setattr(subject, name, value)
    subject.at_layer = isinstance(method, LayerMethod)
    return explain_by_samples(method, cast(Sample, subject)).values, subject


def test_occlusion_of_a_linear_score() -> None:
    found, subject = explain(Occlusion(window=1, stride=1))
    pull = (GRADIENTS * (subject.x - subject.absent)).sum(axis=2)
    assert_allclose(found, np.repeat(pull, 3, axis=1), atol=1e-4)
    assert subject.calls == {"baseline": 1, "samples": 6 * 8}


def test_scorecam_asks_for_the_baseline_once_and_for_no_constant_channel() -> None:
    shown = RANDOM.normal(size=(4, 2, 3)).astype(np.float32)
    shown[2] = 0.3
    found, subject = explain(ScoreCAM(), shown=shown)
    for t, gradient in enumerate(GRADIENTS):
        score = partial(np.vdot, gradient)
        expected = reference_scorecam(shown, subject.x, subject.absent, score)
        assert_allclose(found[t], expected, rtol=1e-4, atol=1e-5)
    assert subject.calls == {"baseline": 1, "scores_of": 1, "samples": 3}


def test_scorecam_of_nothing_but_constants_is_their_mean() -> None:
    shown = np.broadcast_to(np.array([1, 2, 3, 6], np.float32)[:, None, None], (4, 2, 3))
    found, subject = explain(ScoreCAM(), shown=shown)
    assert_allclose(found, np.full((2, 2, 3), 3), rtol=1e-6)
    assert "samples" not in subject.calls


def test_ablationcam_of_a_linear_head() -> None:
    found, subject = explain(AblationCAM(), at_input=False)
    parts = (HEADS * subject.shown).sum(axis=(2, 3))
    weights = parts / parts.sum(axis=1, keepdims=True)
    expected = np.maximum(np.einsum("tc,chw->thw", weights, subject.shown), 0)
    assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert subject.calls == {"samples": 4}


def test_ablationcam_cannot_divide_by_a_score_of_zero() -> None:
    with pytest.raises(MapError, match="exactly 0"):
        explain(AblationCAM(), at_input=False, shown=np.zeros((4, 2, 3), np.float32))


def test_reciprocam_of_a_linear_head() -> None:
    found, subject = explain(ReciproCAM(), at_input=False)
    assert_allclose(found, (HEADS * subject.shown).sum(axis=1), atol=1e-5)
    assert subject.calls == {"samples": 2 * 3}


def test_cam_weights_channels_by_the_rows_of_the_classes() -> None:
    a = RANDOM.normal(size=(2, 4, 2, 3)).astype(np.float32)
    rows = np.array([[0, 2, 0, -1], [1, 0, 0, 0]], np.float32)[:, :, None, None]
    found = CAM().map(NUMPY, rows, a)
    assert_allclose(found, [2 * a[0, 1] - a[0, 3], a[1, 0]], rtol=1e-6)


def test_eigencam_is_positive_on_the_whole() -> None:
    pattern = np.array([[1.0, -2, -3], [-1, 0, -1]])
    shown = np.array([3, 0, -4, 0])[:, None, None] * pattern
    assert_allclose(EigenCAM().map(NUMPY, shown[None]), [-5 * pattern], atol=1e-5)
    assert_allclose(EigenCAM().report(NUMPY, shown[None])["explained_variance"], [1])


def test_feature_maps_are_the_activation_and_their_heat_is_one_channel_or_the_mean() -> None:
    shown = RANDOM.normal(size=(4, 2, 3)).astype(np.float32)
    assert_allclose(FeatureMaps().map(NUMPY, shown[None]), [shown])
    assert_allclose(FeatureMaps().heat(shown, (2, 3)), shown.mean(axis=0))
    assert_allclose(FeatureMaps(channel=2).heat(shown, (2, 3)), shown[2])
    sheet = FeatureMaps(channel=2).sheet(shown)
    assert sheet is not None
    assert_allclose(sheet, shown[2:3])


def test_rise_weights_each_mask_by_its_score() -> None:
    # Masks of ones: every score is that of x, and the map is S(x) / p.
    found, subject = explain(RISE(samples=5, keep=1.0))
    expected = subject.scores[:, None, None, None] * np.ones((2, 3, 6, 8))
    assert_allclose(found, expected, rtol=1e-5)
    assert subject.calls == {"baseline": 1, "samples": 5}
