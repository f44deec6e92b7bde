"""The digit models' part of `models/`: what says how to use them, and scenes for them to see.

The models themselves are trained by `digit_vit`, `digit_detector` and `marked_digits`, and are not
rebuilt here.
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


SMALL = {"clean_digits": False, "marked_digits": True}
"""Two small classifiers by name, and whether a class of their training set carries a mark."""


def small_facts(name: str) -> dict[str, str]:
    """The facts that are in the file and in the sidecar of a small classifier."""
    source = FACTS["source"].replace(NAME, "marked_digits")
    title = f"{name.replace('_', ' ').capitalize()}, trained here as an example"
    return FACTS | {"name": title, "source": source}


def small_sidecar(name: str) -> dict[str, Any]:
    """How a small classifier wants its pictures, and the names of its classes."""
    return SIDECAR | small_facts(name)


DETECTOR_SIDE = 128
DETECTOR_STRIDES = (8, 16)

DETECTOR_RECIPES = {
    1: Recipe(digits=1, marks=3, size=(24, 84), backdrop=0.6, side=DETECTOR_SIDE),
    2: Recipe(digits=2, marks=3, size=(24, 72), backdrop=0.6, side=DETECTOR_SIDE),
    3: Recipe(digits=3, marks=2, size=(24, 56), backdrop=0.6, side=DETECTOR_SIDE),
}
"""What the detector's scenes are, by their number of digits."""

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


EXAMPLES = {
    "scenes": (
        Example("two.png", 5, ONE, "coffee"),
        Example("six.png", 47, ONE, "chelsea"),
        Example("six_two.png", 31, TWO, "coffee"),
        Example("nine_three.png", 16, TWO, "coffee"),
    ),
    "detector_scenes": (
        Example("five.png", 103, DETECTOR_RECIPES[1], "coffee"),
        Example("six_two.png", 108, DETECTOR_RECIPES[2], "chelsea"),
        Example("nine_zero.png", 109, DETECTOR_RECIPES[2], "coffee"),
        Example("three_two_nine.png", 101, DETECTOR_RECIPES[3], "chelsea"),
    ),
}
"""The scenes for each model, by their folder below `models/`."""


def files(cache: Path) -> Iterator[tuple[Path, bytes | dict[str, Any]]]:
    """Every generated file: its path below `models/`, and its bytes or its content for JSON."""
    yield Path(f"{NAME}.onnxplain.json"), SIDECAR
    for name in SMALL:
        yield Path(f"{name}.onnxplain.json"), small_sidecar(name)
    for folder, examples in EXAMPLES.items():
        facts = {}
        for example in examples:
            scene = example.draw(cache)
            yield Path(folder) / example.name, encode_png(scene.pixels[..., ::-1])
            facts[example.name] = {
                "objects": [{"class": digit, "box": box} for digit, box in scene.digits],
                "licence": f"{CC_BY} AND {CC0}",
                "source": f"{SCIKIT_LEARN.requirement}: {DIGITS.path}; "
                f"{SCIKIT_IMAGE.requirement}: skimage/data/{example.photo}.png",
            }
        yield Path(folder) / "scenes.json", facts
