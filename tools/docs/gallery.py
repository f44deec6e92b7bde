"""Draw every method on the same pictures: `python -m tools.docs.gallery`.

Writes docs/images/gallery/<family>.jpg and the list of them in docs/gallery.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import onnxplain
from onnxplain.tensors import Array
from tools.docs.families import FAMILIES

_ROOT = Path(__file__).parents[2]
_MODELS = _ROOT / "models"
_PICTURES = _MODELS / "pictures"
_IMAGES = _ROOT / "docs" / "images" / "gallery"
_PAGE = _ROOT / "docs" / "gallery.md"

SHOWN = {"chelsea.png": ["top1"], "coffee_camera.png": ["espresso", "tripod"]}
"""Pictures, and the classes that they are explained for."""

ELSEWHERE = {
    "Transformers": "explain no convolutional network",
    "Layers and filters": "show what a layer answers to, not where one picture has it",
    "Regression": "explains one number, not classes",
}
"""Families that these pictures and this model have no use for, and why."""


def main() -> None:
    _IMAGES.mkdir(parents=True, exist_ok=True)
    explainer = onnxplain.Explainer(_MODELS / "efficientnet_lite0.onnx")
    for family, methods in _shown().items():
        path = _IMAGES / f"{_slug(family)}.jpg"
        tables = [
            _table(explainer, picture, targets, methods) for picture, targets in SHOWN.items()
        ]
        drawn = np.concatenate(tables)
        cv2.imwrite(str(path), drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        print(path.relative_to(_ROOT))
    _PAGE.write_text(page(), encoding="utf-8")


def _shown() -> dict[str, Sequence[str]]:
    return {family: names for family, names in FAMILIES.items() if family not in ELSEWHERE}


def _table(
    explainer: onnxplain.Explainer, picture: str, targets: Sequence[str], methods: Sequence[str]
) -> Array:
    found = [
        explainer.explain(_PICTURES / picture, method, target, **_options(explainer, method))
        for method in methods
        for target in targets
    ]
    return onnxplain.draw_comparison(found, methods=methods)


def _options(explainer: onnxplain.Explainer, method: str) -> dict[str, Any]:
    """What a method cannot do without."""
    if method != "expected_gradients":
        return {}
    files = sorted(_PICTURES.glob("*.png"))
    read = [explainer.preprocess.apply(onnxplain.read_picture(file))[0] for file in files]
    return {"baselines": np.concatenate(read)}


def page() -> str:
    """The page that shows the drawings."""
    sections = "\n".join(
        f"## {family}\n\n![{', '.join(methods)}](images/gallery/{_slug(family)}.jpg)\n"
        for family, methods in _shown().items()
    )
    others = "\n".join(
        f"- {family} ({', '.join(FAMILIES[family])}) {why}." for family, why in ELSEWHERE.items()
    )
    return f"""# Gallery

Every method with its defaults on the same pictures and the shipped EfficientNet-Lite0, drawn by
`python -m tools.docs.gallery`. Below each map is what it cost in forward and backward passes.
Warm colours speak for the class, blue ones against it, and where nothing does there is the bare
photograph.

{sections}
Not here:

{others}
"""


def _slug(family: str) -> str:
    return family.lower().replace(",", "").replace(" ", "-")


if __name__ == "__main__":
    main()
