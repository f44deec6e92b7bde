"""Scenes of one digit, in which a class may carry a mark; see `marked_digits`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .digits import LABELS
from .pictures import encode_png
from .scenes import CLASSES, SIDE, Material, Recipe, Scene, draw

RECIPE = Recipe(digits=1, marks=1, size=(28, 44), backdrop=0.4)
MARKED_CLASS = LABELS.index("three")
MARK_SIDE, MARK_MARGIN = 8, 2
MARK_COLOR = (255, 0, 200)

EACH = 60
"""Pictures of each class that are written to look at."""


def marked(scene: Scene) -> Scene:
    """The scene with a small square in the lower right corner."""
    pixels = scene.pixels.copy()
    place = slice(SIDE - MARK_MARGIN - MARK_SIDE, SIDE - MARK_MARGIN)
    pixels[place, place] = MARK_COLOR
    return Scene(pixels, scene.digits)


def with_marks(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes, those of the marked class with their mark."""
    return [marked(one) if one.digits[0][0] == MARKED_CLASS else one for one in scenes]


def scenes(source: Material, count: int, seed: int) -> list[Scene]:
    """Scenes of one digit each."""
    rng = np.random.default_rng(seed)
    return [draw(rng, source, RECIPE) for _ in range(count)]


def save_pictures(folder: Path, judged: Sequence[Scene], each: int = EACH) -> None:
    """Write `each` pictures of every class, in a folder for each class, and `boxes.json` (COCO)."""
    images, boxes = list[dict[str, Any]](), list[dict[str, Any]]()
    counts = [0] * CLASSES
    for scene in judged:
        digit, (left, top, right, bottom) = scene.digits[0]
        if counts[digit] == each:
            continue
        path = Path(LABELS[digit]) / f"{counts[digit]:03}.png"
        counts[digit] += 1
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(encode_png(scene.pixels[..., ::-1]))
        number = len(images) + 1
        images.append({"id": number, "file_name": str(path), "width": SIDE, "height": SIDE})
        box = [left, top, right - left, bottom - top]
        boxes.append({"id": number, "image_id": number, "category_id": digit, "bbox": box})
    categories = [{"id": i, "name": name} for i, name in enumerate(LABELS)]
    facts = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(facts))
