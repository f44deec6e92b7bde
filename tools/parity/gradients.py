"""Differences between our gradients, at and around a sample, and those of torch libraries.

At most points the two agree to the last digits. If the inputs of a Relu or MaxPool are within
rounding of its kink, it may take either slope, and then the gradient of a whole neighborhood
changes. The size of this effect is measured, too: the difference of the library from itself when
its inputs change by a millionth.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.methods.blur import Scales
from onnxplain.methods.smoothgrad import noisy
from tools.cases.models import CASES, Array, Case
from tools.parity.maps import Row, Sides, export_case
from tools.peers import gradients as peers
from tools.peers.exports import exported
from tools.peers.gradcam import fullgrad

SAMPLES = 6
STEPS = 12
CLASSES = {
    "net_r": (3, 0),
    "squeezenet": (285, 100),
    "efficientnet": (967, 100),
    "resnet18": (3, 0),
    "vit": (3, 0),
}
"""The top class, and another class."""

AsType = Callable[[Array], Array]


@dataclass(frozen=True)
class Comparison:
    """One of our methods, and the call of a library that should give the same.

    `call(module, typed)` gives the library arrays that `typed` makes. If a deviation is `undone`,
    it also takes `as_shipped`.
    """

    method: str
    library: str
    call: Callable[..., Array]
    options: dict[str, Any] = field(default_factory=dict)
    undone: str = ""

    @property
    def name(self) -> str:
        """The method, and the rule if there are several."""
        several = self.method == "integrated_gradients"
        return f"{self.method}, {self.options['rule']}" if several else self.method


@dataclass(frozen=True)
class GradientRow(Row):
    """A row that also holds the library's result for inputs that are changed by a millionth."""

    moved: Callable[[], Array] = lambda: np.zeros(())

    @property
    def kinks(self) -> float:
        """Largest difference of that from `theirs`, in units of their largest value."""
        return float(np.abs(self.theirs - self.moved()).max() / np.abs(self.theirs).max())

    @property
    def mean_deviation(self) -> float:
        """The mean difference, in units of the peer's mean magnitude."""
        return float(np.abs(self.ours - self.theirs).mean() / np.abs(self.theirs).mean())


def both_sides(model: str) -> tuple[Case, Any]:
    """A model of `CASES` or an export, and the torch module that ends in logits."""
    if model in CASES:
        sides = Sides.of(CASES[model](), "")
        return sides.case, sides.logits
    return export_case(model), exported(model).module


def gradient_rows(model: str, index: int) -> Iterator[GradientRow]:
    """Every method and peer for a class of a model."""
    case, module = both_sides(model)
    for each in comparisons(case, index):
        ours = case.explainer.attribute(case.x, each.method, index, **each.options)
        call = partial(each.call, module)
        yield GradientRow(
            each.name,
            each.library,
            ours.values[0],
            call(_float32),
            partial(call, _float32, as_shipped=True) if each.undone else partial(call, _float32),
            each.undone,
            partial(call, _moved),
        )


def comparisons(case: Case, index: int) -> Iterator[Comparison]:
    """What is compared; with saliency if it is installed."""
    yield from _at_the_sample(case, index)
    yield from _around_the_sample(case, index)
    yield from _from_baselines(case, index)
    if importlib.util.find_spec("saliency") is not None:
        yield from _other_paths(case, index)


def _at_the_sample(case: Case, index: int) -> Iterator[Comparison]:
    for method, peer in (
        ("gradient", peers.peer_gradient),
        ("input_x_gradient", peers.peer_input_x_gradient),
    ):
        yield Comparison(method, "captum", lambda m, t, peer=peer: peer(m, t(case.x), index))

    yield Comparison("fullgrad", "pytorch-grad-cam", lambda m, t: fullgrad(m, t(case.x), index))


def _around_the_sample(case: Case, index: int) -> Iterator[Comparison]:
    copies = noisy(Scene(case.x, 1, (2, 3), None), 0.15, SAMPLES, 0).make(slice(0, SAMPLES))
    noises = copies.astype(np.float64) - case.x
    for method, kind in (
        ("smoothgrad", "smoothgrad"),
        ("smoothgrad_squared", "smoothgrad_sq"),
        ("vargrad", "vargrad"),
    ):

        def call(module: Any, typed: AsType, kind: str = kind) -> Array:
            return peers.peer_noise(module, typed(case.x), index, kind, typed(noises))

        yield Comparison(method, "captum", call, {"samples": SAMPLES})


def _from_baselines(case: Case, index: int) -> Iterator[Comparison]:
    for rule in peers.CAPTUM_RULES:

        def integrated(module: Any, typed: AsType, rule: str = rule, **how: bool) -> Array:
            x, black = typed(case.x), typed(case.black)
            return peers.peer_integrated_gradients(module, x, black, index, rule, STEPS, **how)

        undone = "weights that add up to 1 - 1/steps" if rule == "riemann-trapezoid" else ""
        options = {"rule": rule, "steps": STEPS}
        yield Comparison("integrated_gradients", "captum", integrated, options, undone)

    starts = np.concatenate([case.black, -case.black, np.zeros_like(case.x)])
    random = np.random.default_rng(0)
    drawn = starts[random.integers(len(starts), size=SAMPLES)]
    shares = random.random(SAMPLES, np.float32)

    def expected(module: Any, typed: AsType) -> Array:
        return peers.peer_expected_gradients(
            module, typed(case.x), index, typed(drawn), typed(shares)
        )

    options = {"baselines": starts, "samples": SAMPLES}
    yield Comparison("expected_gradients", "captum", expected, options)


def _other_paths(case: Case, index: int) -> Iterator[Comparison]:
    def guided(module: Any, typed: AsType) -> Array:
        return peers.peer_guided_ig(module, typed(case.x), typed(case.black), index, STEPS)

    yield Comparison("guided_ig", "saliency", guided, {"steps": STEPS})

    def blur(picture: Array, sigma: float) -> Array:
        path = Scales(Scene(np.moveaxis(picture, -1, 0)[None], 1, (2, 3), None), 1.0)
        return np.moveaxis(path.blurred(sigma)[0], 0, -1)

    def blurred(module: Any, typed: AsType, **how: bool) -> Array:
        return peers.peer_blur_ig(module, typed(case.x), index, STEPS, blur, **how)

    undone = "zeros beyond the border, a sampled Gaussian, a difference as its derivative"
    options = {"steps": STEPS, "rule": "riemann-right"}
    yield Comparison("blur_ig", "saliency", blurred, options, undone)


def _float32(array: Array) -> Array:
    return array.astype(np.float32)


def _moved(array: Array) -> Array:
    noise = np.random.default_rng(0).standard_normal(array.shape)
    return _float32(array * (1 + 1e-6 * noise))
