"""Draw every method on the same pictures: `python -m tools.docs.gallery`.

Writes docs/images/gallery/<family>.jpg and the list of them in docs/gallery.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import onnxplain
from onnxplain.tensors import Array
from tools.docs.families import FAMILIES

_ROOT = Path(__file__).parents[2]
_MODELS = _ROOT / "models"
_IMAGES = _ROOT / "docs" / "images" / "gallery"
_PAGE = _ROOT / "docs" / "gallery.md"

_NO_PLACES = {
    "Layers and filters": "show what a layer responds to, not where it is in a picture",
    "Regression": "explains one number, not classes",
    "Detected boxes": "explain boxes, on the page on [detectors](detectors.md)",
}


@dataclass(frozen=True)
class Shown:
    """A model, the pictures in a folder that it is shown on, and the classes to explain there.

    `elsewhere` are families that are not drawn for this model, and why; `refused` are single
    methods.
    """

    model: str
    folder: str
    pictures: Mapping[str, Sequence[str]]
    elsewhere: Mapping[str, str]
    refused: frozenset[str] = frozenset()
    prefix: str = ""

    @property
    def families(self) -> Mapping[str, Sequence[str]]:
        """Methods to draw, by family."""
        return {
            family: [name for name in names if name not in self.refused]
            for family, names in FAMILIES.items()
            if family not in self.elsewhere
        }

    def image(self, family: str) -> str:
        """The drawing of a family, below the folder of drawings."""
        slug = family.lower().replace(",", "").replace(" ", "-")
        return f"{self.prefix}{slug}.jpg"

    def sections(self, heading: str) -> str:
        """The drawings as Markdown."""
        return "\n".join(
            f"{heading} {family}\n\n![{', '.join(methods)}](images/gallery/{self.image(family)})\n"
            for family, methods in self.families.items()
        )


CONVOLUTIONAL = Shown(
    "efficientnet_lite0.onnx",
    "pictures",
    {"chelsea.png": ["top1"], "coffee_camera.png": ["espresso", "tripod"]},
    {"Transformers": "explain no convolutional network", **_NO_PLACES},
)
TRANSFORMER = Shown(
    "digit_vit.onnx",
    "scenes",
    {"two.png": ["top1"], "six_two.png": ["six", "two"]},
    _NO_PLACES,
    refused=frozenset(["cam", "reciprocam"]),
    prefix="transformer-",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw every method on the same pictures.")
    parser.add_argument("families", nargs="*", help="draw only these, such as Perturbation")
    chosen = parser.parse_args().families or list(FAMILIES)
    _IMAGES.mkdir(parents=True, exist_ok=True)
    for shown in (CONVOLUTIONAL, TRANSFORMER):
        draw(shown, chosen)
    _PAGE.write_text(page(), encoding="utf-8")


def draw(shown: Shown, chosen: Collection[str]) -> None:
    """Write the drawings of one model, of the chosen families."""
    explainer = onnxplain.Explainer(_MODELS / shown.model)
    for family, methods in shown.families.items():
        if family not in chosen:
            continue
        tables = [
            _table(explainer, _MODELS / shown.folder / picture, targets, methods)
            for picture, targets in shown.pictures.items()
        ]
        path = _IMAGES / shown.image(family)
        drawn = np.concatenate(tables)[..., ::-1]
        cv2.imwrite(str(path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])
        print(path.relative_to(_ROOT))


def _table(
    explainer: onnxplain.Explainer, picture: Path, targets: Sequence[str], methods: Sequence[str]
) -> Array:
    found = [
        explainer.explain(picture, method, target, **_options(explainer, method, picture.parent))
        for method in methods
        for target in targets
    ]
    return onnxplain.draw_comparison(found, methods=methods)


def _options(explainer: onnxplain.Explainer, method: str, folder: Path) -> dict[str, Any]:
    """The options that a method requires."""
    if method != "expected_gradients":
        return {}
    files = sorted(folder.glob("*.png"))
    read = [explainer.preprocess.apply(onnxplain.read_picture(file))[0] for file in files]
    return {"baselines": np.concatenate(read)}


def page() -> str:
    """The page that shows the drawings."""
    others = "\n".join(
        f"- {family} ({', '.join(FAMILIES[family])}) {why}." for family, why in _NO_PLACES.items()
    )
    return f"""# Gallery

Every method with its defaults on the same pictures, drawn by `python -m tools.docs.gallery`. The
number of forward and backward passes for one target is below the name of each method. Warm colors
are evidence for the class, blue colors are evidence against it. Where there is neither, the
photograph is unchanged.

## A convolutional network

The shipped EfficientNet-Lite0.

{CONVOLUTIONAL.sections("###")}
## A transformer

The shipped digit ViT, a small example: four blocks, a class token, 8 x 8 patches. Its input is a
faded photograph with digits and other marks that are not digits. It classifies the digit. How often
each method points at the digit is [measured](methods/pointing.md).

{TRANSFORMER.sections("###")}
## Not here

{others}
- `cam` and `reciprocam` refuse a transformer: it has no global pooling, and tokens instead of
  rows and columns.
"""


if __name__ == "__main__":
    main()
