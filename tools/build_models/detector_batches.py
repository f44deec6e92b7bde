"""The batches that the detector is trained on, drawn in another process."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .digits import DETECTOR_RECIPES, DETECTOR_SIDE
from .scenes import ONE, TWO, Material, Scene, draw, material

BATCH = 32

SHARES = (0.4, 0.4, 0.2)
"""How often a scene of training has one, two and three digits."""
ENLARGED = 0.4
"""How often a scene of training is one of the transformer's, enlarged twice."""
BACKDROPS = (0.0, 0.9)
"""The range of the contrast of photographs in training."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """RGB `pixels` (batch, side, side, 3), and for each scene up to three digits.

    `classes` is (batch, 3), -1 where there is none, and `boxes` is (batch, 3, 4): left, top, right,
    bottom.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: Floats


def batch_of(scenes: list[Scene]) -> Batch:
    """The scenes as arrays."""
    classes = np.full((len(scenes), len(DETECTOR_RECIPES)), -1)
    boxes = np.zeros((len(scenes), len(DETECTOR_RECIPES), 4), np.float32)
    for row, scene in enumerate(scenes):
        for column, (digit, box) in enumerate(scene.digits):
            classes[row, column] = digit
            boxes[row, column] = box
    return Batch(np.stack([scene.pixels for scene in scenes]), classes, boxes)


def enlarged(scene: Scene) -> Scene:
    """A scene of the transformer at twice its size, as the preprocessing would enlarge it."""
    size = (DETECTOR_SIDE, DETECTOR_SIDE)
    factor = DETECTOR_SIDE // scene.pixels.shape[0]
    pixels = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_LINEAR)
    digits = [
        (digit, (factor * left, factor * top, factor * right, factor * bottom))
        for digit, (left, top, right, bottom) in scene.digits
    ]
    return Scene(np.asarray(pixels, np.uint8), tuple(digits))


class Scenes:
    """The batches of training, the same for a step whenever it is drawn."""

    source: Material

    @classmethod
    def open(cls, cache: Path) -> None:
        """Read what scenes are made of, once in the process that draws."""
        cls.source = material(cache, unseen=False)

    @classmethod
    def batch(cls, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng((0, step))
        return batch_of([cls.scene(rng) for _ in range(BATCH)])

    @classmethod
    def scene(cls, rng: np.random.Generator) -> Scene:
        """One scene of training."""
        contrast = rng.uniform(*BACKDROPS)
        if rng.random() < ENLARGED:
            recipe = (ONE, TWO)[int(rng.random() < 0.5)]
            return enlarged(draw(rng, cls.source, replace(recipe, backdrop=contrast)))
        recipe = DETECTOR_RECIPES[int(rng.choice(len(SHARES), p=SHARES)) + 1]
        return draw(rng, cls.source, replace(recipe, backdrop=contrast))


def batches(cache: Path, first: int, last: int, ahead: int = 12) -> Iterator[Batch]:
    """The batches of the steps from `first` to `last`, drawn in another process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=Scenes.open, initargs=(cache,)) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in range(first, last):
            waiting.append(pool.submit(Scenes.batch, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """The scenes as input of the network: v / 255, (batch, 3, side, side)."""
    # `permute` leaves the channels last in memory, which is the faster order on a CPU.
    return (torch.from_numpy(pixels).float() / 255).permute(0, 3, 1, 2)
