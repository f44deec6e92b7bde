"""Activation maximization."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Following
from onnxplain.execution.subject import Structure, Subject
from onnxplain.methods.base import AdaptiveMethod, InputMethod, Maps, one_layer
from onnxplain.methods.cam import check_channel
from onnxplain.methods.fourier_image import Adam, FourierImage, RandomTransform
from onnxplain.methods.options import Channel, LayerName, Number, Option, Seed, Steps, Whole
from onnxplain.tensors import Array, FloatArray

_NOISE = 0.01

Ascent = Callable[[Following], Iterator[tuple[float, FloatArray]]]


@dataclass(frozen=True, kw_only=True)
class ActivationMaximization(InputMethod, AdaptiveMethod):
    """A picture made by gradient ascent that a class, or a channel of a layer, responds to most.

    With `channel`, the mean of that channel of `layer` is maximized, else the score of the target.
    The picture is given by Fourier coefficients in the correlated colors of photographs, between
    black and white. The optimizer is Adam, with `steps` steps of size `rate`. In each step the
    picture is moved by up to `jitter` pixels and zoomed by up to 1 ± `zoom`.
    `numpy.random.default_rng(seed)` draws these, and a little noise that is added at the start. The
    picture starts from the sample, or from gray if none is given. The values are the picture in the
    form of the model's input.

    Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009; the coefficients and
    the movements after Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017.
    """

    name = "activation_maximization"
    summary = "a picture that a class or a channel responds to most"
    paper = "Erhan 2009"
    cost = "1 + one and one backward per step (256)"
    needs_gradient = True
    makes_picture = True

    layer: LayerName = "auto"
    channel: Channel = None
    steps: Steps = 256
    rate: Annotated[Number, Option("NUMBER", "Size of a step of gradient ascent.")] = 0.05
    jitter: Annotated[Whole, Option("PIXELS", "How far the picture is shifted in each step.")] = 8
    zoom: Annotated[Number, Option("SHARE", "How far it is zoomed in and out.")] = 0.1
    seed: Seed = 0

    @property
    def needs_target(self) -> bool:
        """See `Method`; False if a channel is shown."""
        return self.channel is None

    @property
    def fixed_target(self) -> str | None:
        """See `Method`; the channel, which is shown whatever the target is."""
        return None if self.channel is None else f"channel_{self.channel}"

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layer of the channel; empty if no channel is shown."""
        if self.channel is None:
            if self.layer != "auto":
                raise OptionError(
                    "activation_maximization shows one channel of a layer: name it with channel, "
                    "or leave the layer out to show a class."
                )
            return ()
        layer = one_layer(structure, self.layer, self.name)
        check_channel(layer, self.channel)
        return [layer]

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        fits = min(self.steps, self.rate) > 0 and min(self.jitter, self.seed) >= 0
        self.require(fits, "steps >= 1, rate > 0, jitter >= 0 and seed >= 0")
        self.require(0 <= self.zoom < 1, f"0 <= zoom < 1, and was given {self.zoom}")
        if scene.colors is None or scene.channels is None:
            raise OptionError(
                f"{self.name} paints pictures, and this input of shape {scene.x.shape} is none: "
                "use gradient."
            )

    def maps(self, subject: Subject) -> Maps:
        """See `AdaptiveMethod`."""
        count = len(subject.scores)
        ascents: list[Ascent]
        if self.channel is not None:
            ascents = [functools.partial(subject.channel_gradients, self.channel)]
        else:
            ascents = [functools.partial(subject.gradients, target=i) for i in range(count)]
        painted = [self._painted(subject.scene, ascent) for ascent in ascents]
        pictures, before, after = zip(*painted * (count // len(painted)), strict=True)
        return Maps(
            np.stack(pictures),
            dict(subject.spent),
            [{"at_start": low, "at_end": high} for low, high in zip(before, after, strict=True)],
        )

    def _painted(self, scene: Scene, ascent: Ascent) -> tuple[FloatArray, float, float]:
        """The picture in the form of the input, and the maximized number before and after."""
        axes = tuple(axis - 1 for axis in scene.spatial)

        def planes(x: FloatArray) -> Array:
            return np.moveaxis(x[0], axes, (1, 2))

        def sample(picture: Array) -> FloatArray:
            placed = np.moveaxis(picture, (1, 2), axes)[None]
            return np.ascontiguousarray(placed, np.float32)

        image = FourierImage(
            *map(planes, (scene.x, scene.baseline("black"), scene.baseline("white")))
        )
        random = np.random.default_rng(self.seed)
        size = (scene.places[0], scene.places[1])
        view = RandomTransform.plain(size)
        found = ascent(Following(self.steps + 2, lambda _: sample(view.see(image.picture()))))
        before, _ = next(found)
        shape = (*image.coefficients.shape, 2)
        image.coefficients += (_NOISE * random.normal(size=shape)).view(np.complex128)[..., 0]
        adam = Adam(self.rate)
        for _ in range(self.steps):
            view = RandomTransform.drawn(size, self.jitter, self.zoom, random)
            _, gradient = next(found)
            slopes = planes(gradient).astype(np.float64)
            image.coefficients += adam.step(image.gradient(view.back(slopes)))
        view = RandomTransform.plain(size)
        after, _ = next(found)
        return sample(image.picture())[0], before, after
