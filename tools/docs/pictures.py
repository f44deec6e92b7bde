"""Draw the pictures of the documentation: `python -m tools.docs.pictures`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from onnx import numpy_helper, parser

import onnxplain
from onnxplain.cli.detections import drawn_boxes
from onnxplain.reports.picture_concepts import drawn, picture_concepts
from onnxplain.results.comparison import draw_comparison, draw_side_by_side
from onnxplain.tensors import Array

_ROOT = Path(__file__).parents[2]
_MODEL = _ROOT / "models" / "efficientnet_lite0.onnx"
_DETECTOR = _ROOT / "models" / "digit_detector.onnx"
_DIGITS = _ROOT / "models" / "detector_scenes" / "three_two_nine.png"
_PICTURES = _ROOT / "models" / "pictures"
_BOTH = _PICTURES / "coffee_camera.png"
_IMAGES = _ROOT / "docs" / "images"
_GAP = 12
_SMALLER = 0.65


def main() -> None:
    explainer = onnxplain.Explainer(_MODEL)
    _IMAGES.mkdir(exist_ok=True)
    for name, pictures in (
        ("coffee_camera", _two_targets(explainer, "ablationcam")),
        ("own_model", _two_targets(explainer, "hirescam")),
        ("rather", explainer.explain(_BOTH, "hirescam", "espresso - tripod").draw()),
        ("restored", _restored()),
        ("similar", _similar()),
        ("methods", _all_methods(explainer)),
        ("concepts", _concepts(explainer)),
        ("detected", _detected()),
        ("detector_methods", _methods_for_boxes()),
    ):
        path = _IMAGES / f"{name}.png"
        cv2.imwrite(str(path), cv2.cvtColor(pictures, cv2.COLOR_RGB2BGR))
        print(path.relative_to(_ROOT))


def _two_targets(explainer: onnxplain.Explainer, method: str) -> Array:
    found = explainer.explain_each(_BOTH, method, ["espresso", "tripod"])
    return tiled([explanation.draw() for explanation in found], columns=2)


def _concepts(explainer: onnxplain.Explainer) -> Array:
    taken = explainer.take(_PICTURES / "chelsea_camera.png")
    return drawn(picture_concepts(explainer, taken), taken)


def _restored() -> Array:
    """A model that smooths a picture: each pixel becomes the mean of 25 x 25 pixels around it."""
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[N,3,224,224] x) => (float[N,3,224,224] restored)"
        "{ restored = Conv<group=3, pads=[12,12,12,12]>(x, w) }"
    )
    weights = np.full((3, 1, 25, 25), 1 / 25**2, np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    explainer = onnxplain.Explainer(proto, preprocess={"scale": 1 / 255, "mean": 0, "std": 1})
    picture, places = _PICTURES / "chelsea.png", ["@224,110", "@box:150,150,100,40"]
    found = explainer.explain_each(picture, "input_x_gradient", places)
    return tiled([explanation.draw() for explanation in found], columns=2)


def _similar() -> Array:
    """What two pictures have in common, in each of them."""
    features = onnxplain.Explainer(_MODEL, output="flatten")
    pictures = _PICTURES / "chelsea.png", _PICTURES / "chelsea_camera.png"
    rows = [
        draw_side_by_side(
            [
                features.explain(one, method, features.similarity(other))
                for one, other in (pictures, pictures[::-1])
            ]
        )
        for method in ("hirescam", "occlusion")
    ]
    sheet = tiled(rows, columns=1)
    size = round(_SMALLER * sheet.shape[1]), round(_SMALLER * sheet.shape[0])
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA))


def _all_methods(explainer: onnxplain.Explainer) -> Array:
    names = ["scorecam", "ablationcam", "reciprocam", "cam", "eigencam", "occlusion", "rise"]
    picture = _PICTURES / "chelsea.png"
    return tiled([explainer.explain(picture, name).draw() for name in names], columns=3)


def _detected() -> Array:
    return drawn_boxes(_DIGITS, onnxplain.Explainer(_DETECTOR).detections(_DIGITS))


def _methods_for_boxes() -> Array:
    detector, names = (
        onnxplain.Explainer(_DETECTOR),
        ["hirescam", "layercam", "occlusion", "gradcam"],
    )
    found = [one for name in names for one in detector.explain_each(_DIGITS, name, ["two", "nine"])]
    return draw_comparison(found)


def tiled(images: Sequence[Array], columns: int) -> Array:
    """Images on a white sheet, each in a cell of the size of the largest."""
    height = max(image.shape[0] for image in images) + _GAP
    width = max(image.shape[1] for image in images) + _GAP
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


if __name__ == "__main__":
    main()
