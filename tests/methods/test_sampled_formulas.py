"""Every sampled method's formula over numpy in float64, on scores that are polynomials.

S_t(x) = Σ w_t x³, with the gradient 3 w_t x². The layer is the input itself. A few lines here
reduce the samples, instead of the package's own runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from formulas.nodes import from_nodes, wide
from methods.masks import flat, masks_of
from numpy.testing import assert_allclose
from references.perturbation import scorecam as reference_scorecam
from references.sensitivity import drawn, hsic, sobol

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import Layout
from onnxplain.execution import wants
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.formulas.noise import normal
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import AdaptiveMethod, SampledMethod, SinglePassMethod
from onnxplain.methods.blur import Scales
from onnxplain.methods.registry import METHODS, make_method

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(3)
X = RANDOM.uniform(0.2, 1, (1, 3, 4, 5)).astype(np.float32)
TOKENS = RANDOM.uniform(0.2, 1, (1, 7, 5)).astype(np.float32)
ABSENT, *STARTS = RANDOM.uniform(0, 0.5, (5, *X.shape)).astype(np.float32)
W, HEADS = RANDOM.normal(size=(2, *X.shape[1:])), RANDOM.normal(size=(2, *TOKENS.shape[1:]))
COPIES = 6


def scores(points: Array) -> Array:
    """Those of both targets, (2, points)."""
    weights = W if points.ndim == 4 else HEADS
    return weights.reshape(2, -1) @ flat(points.astype(np.float64) ** 3).T


def gradients(points: Array) -> Array:
    return 3 * W[:, None] * points.astype(np.float64) ** 2


def changed(sampling: Sampling, x: Array) -> tuple[Array, Array]:
    """All changed samples, and the masks that made them."""
    made = sampling.made
    if isinstance(made, Given):
        return made.make(slice(0, made.count)), np.zeros((made.count, 1))
    masks = masks_of(made.mask, made.feeds.make(slice(None)), x.shape).astype(np.float64)
    absent = made.baseline if isinstance(made, Blend) else np.zeros_like(x)
    return masks * x + (1 - masks) * absent, masks


def found(
    sampling: Sampling, points: Array, masks: Array, part: slice
) -> dict[type[wants.Want], Array]:
    """Everything that may be wanted from some changed samples."""
    weights = sampling.weights(part) if sampling.weights else flat(masks[part])
    given = {wants.SampleScores: scores(points[part]), wants.SampleWeights: weights}
    given[wants.SampleIndices] = np.arange(len(points))[part]
    if points.ndim == 4:
        g = gradients(points[part])
        given |= {wants.InputGradient: g, wants.LayerGradient: g}
        given |= {wants.FirstGradient: gradients(points[:1])}
        given |= {wants.Activation: points[None, part].astype(np.float64)}
    return given


def prepared(name: str) -> tuple[SampledMethod, Original, Sequence[Sampling]]:
    """A method, the sample that it explains, and how the sample is changed."""
    method = make_method(name, OPTIONS[name])
    assert isinstance(method, SampledMethod)
    x, layout, planes = X, Layout("NCHW", (4, 5)), X[0]
    if name == "vit_reciprocam":
        x, layout, planes = TOKENS, Layout("NTC", (2, 3), prefix=1), TOKENS[0, 1:].T
    layer = Layer("a", "a", "Relu", x.shape, layout, whole=True)
    at = (layer, planes.reshape(len(planes), -1).astype(np.float64))
    scene = Scene(x, 1, tuple(range(2, x.ndim)), None)
    known = Original(scene, scores(x), 0 * scores(x), at if hasattr(method, "layer") else None)
    samplings = method.sampling(known)
    absent = [
        scores(start[None])
        for sampling in samplings
        if sampling.references
        for start in sampling.references.make(slice(None))
    ]
    return method, replace(known, absent=np.mean(absent or [0 * scores(x)], axis=0)), samplings


def computed(name: str, size: int) -> Array:
    """The formula's map of all changed samples, `size` of them at a time."""
    method, original, samplings = prepared(name)
    sums: dict[str, Any] = {}
    for sampling in samplings:
        points, masks = changed(sampling, original.scene.x)
        for start in range(0, len(points), size):
            part = slice(start, min(start + size, len(points)))
            given = found(sampling, points, masks, part)
            wanted = [given[type(want)] for want in method.wants]
            for term_name, term in method.terms(NUMPY, original, *wanted).items():
                sums[term_name] = sums.get(term_name, 0) + term
    return method.map(NUMPY, original, sums)


def noisy_gradients(noise: float = 0.15) -> tuple[Array, Array]:
    copies = X + np.float32(noise * np.ptp(X)) * normal(NUMPY, 0, X.shape[1:])(np.arange(COPIES))
    return copies.astype(np.float64), gradients(copies)


def smooth_gradcam() -> Array:
    copies, g = noisy_gradients()
    a, first, second, third = copies.mean(0), *((g**power).mean(1) for power in (1, 2, 3))
    below = 2 * second + a.sum(axis=(1, 2), keepdims=True) * third
    weights = (second / below * np.maximum(first, 0)).sum(axis=(2, 3), keepdims=True)
    return np.maximum((weights * a).sum(axis=1), 0)


def expected_gradients() -> Array:
    random = np.random.default_rng(0)
    drawn = random.integers(len(STARTS), size=COPIES)
    shares = random.random(COPIES, np.float32)
    parts = [
        (X - STARTS[i]) * gradients(STARTS[i] + share * (X - STARTS[i]))[:, 0]
        for i, share in zip(drawn, shares, strict=True)
    ]
    return np.mean(parts, axis=0)


def rise(name: str = "rise") -> Array:
    method = make_method(name, OPTIONS[name])
    assert isinstance(method, SampledMethod)
    (sampling,) = method.sampling(Original(Scene(X, 1, (2, 3), None), scores(X), scores(X)))
    points, masks = changed(sampling, X)
    each = scores(points)[:, :, None, None] * masks[None, :, 0]
    return flat(each.sum(axis=1) / (COPIES * 0.5))


def sensitivity(reference: Callable[..., Array], name: str) -> Array:
    """Each pixel is a cell."""
    options, own = OPTIONS[name], [lambda x, t=t: scores(x)[t, 0] for t in range(2)]
    design = drawn(options["samples"], 40 if name == "sobol" else 20, seed=0)
    labels = np.arange(20).reshape(4, 5)
    return np.stack([reference(X, ABSENT, labels, score, design) for score in own])


def scorecam() -> Array:
    own = [lambda x, t=t: scores(x)[t, 0] for t in range(2)]
    return np.stack([reference_scorecam(X[0], X, ABSENT, score) for score in own])


def ablationcam() -> Array:
    parts = (W * X.astype(np.float64) ** 3).sum(axis=(2, 3))
    weights = parts / parts.sum(axis=1, keepdims=True)
    return np.maximum(np.tensordot(weights, X[0].astype(np.float64), 1), 0)


def vit_reciprocam() -> Array:
    cubes = (HEADS * TOKENS[0].astype(np.float64) ** 3).sum(axis=2)
    near = [np.array([[2, 1, 0], [1, 2, 1], [0, 1, 2]])[:n, :n] / 4 for n in (2, 3)]
    return cubes[:, :1] + cubes[:, 1:] @ np.kron(*near).T ** 3


def above(start: Array) -> Array:
    """The contribution of each element to S(x) − S(start)."""
    return W * (X.astype(np.float64) ** 3 - start.astype(np.float64) ** 3)[0]


OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": COPIES},
    "smoothgrad_squared": {"samples": COPIES},
    "vargrad": {"samples": COPIES},
    "smooth_gradcam++": {"samples": COPIES},
    "integrated_gradients": {"steps": 2, "baseline": ABSENT},
    "blur_ig": {"steps": 40, "max_sigma": 2.0},
    "expected_gradients": {"samples": COPIES, "baselines": np.concatenate(STARTS)},
    "occlusion": {"window": 1, "stride": 1, "fill": ABSENT},
    "rise": {"samples": COPIES, "grid": 2, "baseline": ABSENT},
    "drise": {"samples": COPIES, "grid": 3, "baseline": ABSENT},
    "sobol": {"samples": 3, "baseline": ABSENT},
    "hsic": {"samples": 15, "baseline": ABSENT},
    "scorecam": {"baseline": ABSENT},
    "ablationcam": {},
    "reciprocam": {},
    "vit_reciprocam": {},
}

EXPECTED: dict[str, Callable[[], Array]] = {
    "smoothgrad": lambda: noisy_gradients()[1].mean(axis=1),
    "smoothgrad_squared": lambda: (noisy_gradients()[1] ** 2).mean(axis=1),
    "vargrad": lambda: noisy_gradients()[1].var(axis=1),
    "smooth_gradcam++": smooth_gradcam,
    "integrated_gradients": lambda: above(ABSENT),
    "blur_ig": lambda: above(Scales(Scene(X, 1, (2, 3), None), 2.0).start),
    "expected_gradients": expected_gradients,
    "occlusion": lambda: flat(above(ABSENT).sum(axis=1)),
    "rise": rise,
    "drise": lambda: rise("drise"),
    "sobol": lambda: sensitivity(sobol, "sobol"),
    "hsic": lambda: sensitivity(hsic, "hsic"),
    "scorecam": scorecam,
    "ablationcam": ablationcam,
    "reciprocam": lambda: flat((W * X.astype(np.float64) ** 3).sum(axis=1)),
    "vit_reciprocam": vit_reciprocam,
}


@pytest.mark.parametrize("kind", METHODS.values(), ids=lambda kind: kind.name)
def test_every_method_is_of_one_of_three_kinds(kind: type) -> None:
    kinds = [SinglePassMethod, SampledMethod, AdaptiveMethod]
    assert sum(issubclass(kind, one) for one in kinds) == 1


SAMPLED = [kind.name for kind in METHODS.values() if issubclass(kind, SampledMethod)]


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("name", SAMPLED)
def test_the_formula_gives_the_closed_form_in_batches_of_any_size(name: str, size: int) -> None:
    values, expected = computed(name, size), EXPECTED[name]()
    assert values.dtype == np.float64
    # Points, shares and masks are made in float32.
    assert_allclose(values.reshape(expected.shape), expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", SAMPLED)
def test_nodes_give_what_numpy_gives(name: str) -> None:
    method, original, (sampling, *_) = prepared(name)
    points, masks = changed(sampling, original.scene.x)
    given = found(sampling, points, masks, slice(0, len(points)))
    layer, activation = original.at or (None, np.ones((1, 1)))

    def both(xp: Any, score: Any, absent: Any, a: Any, *wanted: Any) -> dict[str, Any]:
        own = replace(original, score=score, absent=absent, at=layer and (layer, a))
        return {"map": method.map(xp, own, method.terms(xp, own, *wanted))}

    arrays = [original.score, original.absent, activation]
    arrays += [wide(given[type(want)]) for want in method.wants]
    expected, written = both(NUMPY, *arrays)["map"], from_nodes(both, *arrays)["map"]
    assert_allclose(written, expected, atol=5e-6 * np.abs(expected).max())


def test_a_small_variance_survives_a_large_mean() -> None:
    method = make_method("vargrad", {"samples": 4})
    assert isinstance(method, SampledMethod)
    g = 1e9 + np.array([0.0, 1, 2, 4]).reshape(1, 4, 1)
    original = Original(Scene(X, 1, (2, 3), None), scores(X), scores(X))
    terms = method.terms(NUMPY, original, g, g[:, :1])
    assert_allclose(method.map(NUMPY, original, terms), [[35 / 16]], rtol=1e-12)
