"""The digit models' part of `models/`: what says how to use them, and scenes for them to see.

The models themselves are trained by `digit_vit` and `digit_detector`, and are not rebuilt here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import CC0, encode_png
from .scenes import DIGITS, ONE, SIDE, TWO, Recipe, Scene, draw, material
from .sources import SCIKIT_IMAGE, SCIKIT_LEARN

NAME = "digit_vit"
SCENES_FOLDER = "scenes"
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CC_BY = "CC-BY-4.0"

FACTS = {
    "name": "Digit ViT, trained here as an example",
    "licence": "Apache-2.0",
    "source": "tools/build_models/digit_vit.py, trained on UCI's handwritten digits "
    f"({CC_BY}, E. Alpaydin and C. Kaynak) on photographs of {SCIKIT_IMAGE.requirement}",
}
"""The facts that are in both the model file and its sidecar."""

SIDECAR = {
    "preprocess": {
        "size": (SIDE, SIDE),
        "layout": "NCHW",
        "channels": "RGB",
        "fit": "stretch",
        "interpolation": "area",
        "scale": 1.0,
        "mean": (127, 127, 127),
        "std": (64, 64, 64),
    },
    "labels": LABELS,
    **FACTS,
}


DETECTOR_SIDE = 128
DETECTOR_STRIDES = (8, 16)

DETECTOR_METADATA = {
    "description": "Digit detector, trained here as an example",
    "author": "onnxplain",
    "license": "Apache-2.0",
    "source": "tools/build_models/digit_detector.py, trained on UCI's handwritten digits "
    f"({CC_BY}, E. Alpaydin and C. Kaynak) on photographs of {SCIKIT_IMAGE.requirement}",
    "task": "detect",
    "stride": str(max(DETECTOR_STRIDES)),
    "batch": "1",
    "imgsz": str([DETECTOR_SIDE, DETECTOR_SIDE]),
    "names": str(dict(enumerate(LABELS))),
}
"""As Ultralytics writes it. The detector has no sidecar, because this says all that one would."""


@dataclass(frozen=True)
class Example:
    """A shipped scene: drawn from `seed`, of digits and photographs not in the training set."""

    name: str
    seed: int
    recipe: Recipe
    photo: str

    def draw(self, cache: Path) -> Scene:
        """The scene itself."""
        return draw(np.random.default_rng(self.seed), material(cache, unseen=True), self.recipe)


EXAMPLES = (
    Example("two.png", 5, ONE, "coffee"),
    Example("six.png", 47, ONE, "chelsea"),
    Example("six_two.png", 31, TWO, "coffee"),
    Example("nine_three.png", 16, TWO, "coffee"),
)


def files(cache: Path) -> Iterator[tuple[Path, bytes | dict[str, Any]]]:
    """Every generated file: its path below `models/`, and its bytes or its content for JSON."""
    yield Path(f"{NAME}.onnxplain.json"), SIDECAR
    folder = Path(SCENES_FOLDER)
    facts = {}
    for example in EXAMPLES:
        scene = example.draw(cache)
        yield folder / example.name, encode_png(scene.pixels[..., ::-1])
        facts[example.name] = {
            "objects": [{"class": digit, "box": box} for digit, box in scene.digits],
            "licence": f"{CC_BY} AND {CC0}",
            "source": f"{SCIKIT_LEARN.requirement}: {DIGITS.path}; "
            f"{SCIKIT_IMAGE.requirement}: skimage/data/{example.photo}.png",
        }
    yield folder / "scenes.json", facts
