"""Handwritten digits on photographs, with marks that are no digits; each digit's box is known.

A scene is drawn only with integer sums and float64, so that a seed gives the same pixels on
every machine. The digits are from the UCI set that scikit-learn ships: 8 x 8, values 0..16.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .pictures import Box, decode
from .sources import SCIKIT_IMAGE, SCIKIT_LEARN, Member

SIDE = 64
CLASSES = 10
DIGITS = Member(SCIKIT_LEARN, "sklearn/datasets/data/digits.csv.gz")
HELD_OUT = 397
"""How many digits, the last ones of the file, are not in the training set."""

SEEN_PHOTOS = ("astronaut", "rocket", "camera", "brick", "grass", "gravel")
UNSEEN_PHOTOS = ("chelsea", "coffee")
JPEGS = ("rocket",)

MARKS_DRAWN = 400
GLYPH = 8
UPSAMPLED = 4
CONTRAST = 90
"""The least difference of luma between a digit and the mean of its background."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Stroke = tuple[tuple[float, float], ...]

# Polylines (x, y) in the unit square.
MARKS: tuple[tuple[Stroke, ...], ...] = (
    (((0.1, 0.1), (0.9, 0.9)), ((0.9, 0.1), (0.1, 0.9))),
    (((0.5, 0.05), (0.5, 0.95)), ((0.05, 0.5), (0.95, 0.5))),
    (((0.5, 0.1), (0.95, 0.9), (0.05, 0.9), (0.5, 0.1)),),
    (((0.05, 0.1), (0.28, 0.9), (0.5, 0.3), (0.72, 0.9), (0.95, 0.1)),),
    (((0.05, 0.5), (0.95, 0.5)), ((0.6, 0.15), (0.95, 0.5), (0.6, 0.85))),
    (((0.2, 0.05), (0.2, 0.95)), ((0.8, 0.05), (0.8, 0.95)), ((0.2, 0.5), (0.8, 0.5))),
    (((0.1, 0.3), (0.9, 0.3)), ((0.1, 0.7), (0.9, 0.7))),
    (((0.5, 0.05), (0.5, 0.95)), ((0.1, 0.25), (0.9, 0.75)), ((0.9, 0.25), (0.1, 0.75))),
)


@dataclass(frozen=True)
class Material:
    """What scenes are made of.

    `glyphs` and `marks` are (count, side, side) with ink 0..1, `classes` holds the digit of each
    glyph, and each of `photos` is one photograph at several sizes.
    """

    glyphs: Floats
    classes: NDArray[np.int64]
    marks: Floats
    photos: tuple[tuple[Floats, ...], ...]


@dataclass(frozen=True)
class Scene:
    """RGB `pixels` (side, side, 3) and the digits in it, each a class and the box of its ink."""

    pixels: Pixels
    digits: tuple[tuple[int, Box], ...]


@dataclass(frozen=True)
class Recipe:
    """How many digits and at most how many marks a scene has, and how tall they are in pixels.

    `backdrop` is the fraction of the photograph's contrast that is left; 0 makes it a plain color.
    `side` is the scene's height and width in pixels.
    """

    digits: int = 1
    marks: int = 3
    size: tuple[float, float] = (20.0, 40.0)
    backdrop: float = 1.0
    side: int = SIDE


ONE = Recipe(digits=1, marks=3, size=(22, 42), backdrop=0.6)
TWO = Recipe(digits=2, marks=2, size=(22, 42), backdrop=0.6)
"""Scenes on which the shipped model works well, and is evaluated."""

HARD = (Recipe(digits=1, marks=3), Recipe(digits=2, marks=2))
"""Small digits, hard to tell from photographs at full contrast."""


def material(cache: Path, *, unseen: bool) -> Material:
    """The digits and photographs of the training set, or of the test set."""
    table = np.loadtxt(gzip.decompress(DIGITS.read(cache)).decode().splitlines(), delimiter=",")
    chosen = table[-HELD_OUT:] if unseen else table[:-HELD_OUT]
    rng = np.random.default_rng(int(unseen))
    return Material(
        smooth(chosen[:, :-1].reshape(-1, GLYPH, GLYPH)),
        chosen[:, -1].astype(np.int64),
        smooth(np.array([_mark(rng) for _ in range(MARKS_DRAWN)])),
        tuple(_sizes(_photo(name, cache)) for name in (UNSEEN_PHOTOS if unseen else SEEN_PHOTOS)),
    )


def _photo(name: str, cache: Path) -> Pixels:
    suffix = "jpg" if name in JPEGS else "png"
    return decode(Member(SCIKIT_IMAGE, f"skimage/data/{name}.{suffix}").read(cache))[..., ::-1]


def _sizes(photo: Pixels) -> tuple[Floats, ...]:
    """The photograph reduced by 1, 2, 3, ... while it is still as large as a scene."""
    return tuple(_shrunk(photo, factor) for factor in range(1, min(photo.shape[:2]) // SIDE + 1))


def _shrunk(photo: Pixels, factor: int) -> Floats:
    height, width = (length // factor for length in photo.shape[:2])
    whole = photo[: height * factor, : width * factor].astype(np.int64)
    small: Floats = whole.reshape(height, factor, width, factor, 3).sum((1, 3)) / factor**2
    return small


def smooth(ink: Floats) -> Floats:
    """Glyphs (count, 8, 8) of 0..16 four times finer, with a margin: ink 0..1 with soft edges."""
    padded = np.pad(ink / 16, ((0, 0), (2, 2), (2, 2)))
    fine = _upsampler(padded.shape[-1], UPSAMPLED)
    wide = np.einsum("ij,njk,lk->nil", fine, padded, fine)
    edged: Floats = np.clip((wide - 0.35) / 0.25, 0, 1)
    return edged


def _upsampler(side: int, factor: int) -> Floats:
    """The matrix (side * factor, side) of cubic B-spline weights: smooth and without ringing."""
    at = (np.arange(side * factor) + 0.5) / factor - 0.5
    distance = np.abs(at[:, None] - np.arange(side))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)


def draw(rng: np.random.Generator, source: Material, recipe: Recipe) -> Scene:
    """A scene of `recipe` from `source`."""
    pixels = _background(rng, source.photos, recipe.backdrop, recipe.side)
    chosen = _different(rng, source.classes, recipe.digits)
    extra = rng.choice(len(source.marks), rng.integers(recipe.marks + 1))
    boxes: list[Box] = []
    for glyph in [*source.glyphs[chosen], *source.marks[extra]]:
        ink = _turned(rng, glyph, rng.uniform(*recipe.size))
        free = _free(rng, ink.shape, boxes, recipe.side)
        if free:
            _paint(rng, pixels, ink, free)
            boxes.append(free)
        elif len(boxes) < recipe.digits:
            return draw(rng, source, recipe)
    noisy = pixels + rng.normal(0, rng.uniform(0, 6), pixels.shape)
    return Scene(
        np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
        tuple((int(source.classes[one]), box) for one, box in zip(chosen, boxes, strict=False)),
    )


def _different(rng: np.random.Generator, classes: NDArray[np.int64], count: int) -> Sequence[int]:
    """`count` digits of different classes, by index."""
    wanted = rng.permutation(CLASSES)[:count]
    return [int(rng.choice(np.flatnonzero(classes == one))) for one in wanted]


def _background(
    rng: np.random.Generator, photos: Sequence[Sequence[Floats]], contrast: float, side: int
) -> Floats:
    """A crop of a photograph with changed colors."""
    sizes = photos[int(rng.integers(len(photos)))]
    sizes = [photo for photo in sizes if min(photo.shape[:2]) >= side]
    photo = sizes[int(rng.integers(len(sizes)))]
    top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    crop = photo[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    colored = crop[..., rng.permutation(3)] * rng.uniform(0.7, 1.2, 3) + rng.uniform(-25, 25)
    plain = colored.mean((0, 1))
    faded: Floats = np.clip(plain + contrast * (colored - plain), 0, 255)
    return faded


def _mark(rng: np.random.Generator) -> Floats:
    """One of the marks, jittered, made like a digit: drawn on 32 x 32 and counted 4 by 4."""
    strokes = MARKS[rng.integers(len(MARKS))]
    width = rng.uniform(0.06, 0.1)
    y, x = (np.mgrid[:32, :32] + 0.5) / 32
    ink = np.zeros((32, 32), bool)
    for stroke in strokes:
        points = np.array(stroke) * 0.8 + 0.1 + rng.uniform(-0.05, 0.05, (len(stroke), 2))
        for start, end in pairwise(points):
            along = end - start
            share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along)
            share = np.clip(share, 0, 1)
            nearest = start[:, None, None] + share * along[:, None, None]
            ink |= (x - nearest[0]) ** 2 + (y - nearest[1]) ** 2 < width**2
    counted: Floats = ink.reshape(GLYPH, 4, GLYPH, 4).sum((1, 3)).astype(np.float64)
    return counted


def _turned(rng: np.random.Generator, glyph: Floats, size: float) -> Floats:
    """`glyph` with its 8 x 8 core `size` pixels tall, leaning, and cut to its ink."""
    angle, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)
    stretch = rng.uniform(0.85, 1.15)
    side = int(size * 1.5)
    y, x = (np.mgrid[:side, :side] + 0.5 - side / 2) * (GLYPH * UPSAMPLED / size)
    cosine, sine = np.cos(angle), np.sin(angle)
    rows = cosine * y - sine * x
    columns = (sine * y + cosine * x) * stretch + shear * y
    ink = _sampled(glyph, rows, columns)
    inside = np.argwhere(ink > 0.5)
    (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
    return ink[top:bottom, left:right]


def _sampled(glyph: Floats, rows: Floats, columns: Floats) -> Floats:
    """`glyph` interpolated linearly, at positions counted from its center."""
    edge = len(glyph) - 1
    at = [np.clip(values + edge / 2, 0, edge - 1e-9) for values in (rows, columns)]
    low = [values.astype(np.int64) for values in at]
    share = [values - whole for values, whole in zip(at, low, strict=True)]
    (top, left), (down, across) = low, share
    upper = glyph[top, left] * (1 - across) + glyph[top, left + 1] * across
    lower = glyph[top + 1, left] * (1 - across) + glyph[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def _free(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    taken: Sequence[Box],
    side: int,
    tries: int = 20,
) -> Box | None:
    """A place for ink of `shape` (height, width) outside the boxes in `taken`, if one is found."""
    height, width = shape
    for _ in range(tries):
        left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
        box = left, top, left + width, top + height
        if not any(_overlap(box, other) for other in taken):
            return box
    return None


def _overlap(one: Box, other: Box) -> bool:
    return not (
        one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    )


def _paint(rng: np.random.Generator, pixels: Floats, ink: Floats, box: Box) -> None:
    """Draws ink of one color on `pixels`, lighter or darker than the background."""
    left, top, right, bottom = box
    under = pixels[top:bottom, left:right]
    luma = under.mean()
    lighter, darker = luma + CONTRAST, luma - CONTRAST
    light = lighter <= 255 and (darker < 0 or rng.random() < 0.5)
    bounds = (lighter, 255.0) if light else (0.0, max(darker, 0.0))
    tint = rng.uniform(-40, 40, 3)
    color = np.clip(rng.uniform(*bounds) + tint - tint.mean(), 0, 255)
    under += (ink * rng.uniform(0.85, 1))[..., None] * (color - under)
