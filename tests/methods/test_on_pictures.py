"""Two objects of different classes in one picture: each class's map is on its own object."""

import json
from typing import Any

import numpy as np
import pytest

from tools.cases.models import CASES, MODELS

PICTURES = json.loads((MODELS / "pictures" / "pictures.json").read_text(encoding="utf-8"))
PAIRS = {name: facts["objects"] for name, facts in PICTURES.items() if len(facts["objects"]) == 2}

FAST: list[tuple[str, dict[str, Any]]] = [
    ("ablationcam", {}),
    ("reciprocam", {}),
    ("cam", {}),
    ("occlusion", {"window": 56, "stride": 28}),
]
SLOW: list[tuple[str, dict[str, Any]]] = [
    ("occlusion", {}),
    ("rise", {"samples": 500}),
    # With the probability, a softmax over a thousand channels weights them almost equally.
    ("scorecam", {"score": "logit"}),
]


@pytest.mark.parametrize("model", ["efficientnet", "squeezenet"])
@pytest.mark.parametrize("picture", PAIRS)
@pytest.mark.parametrize(
    ("method", "options"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_heat_lies_on_the_object(
    model: str, picture: str, method: str, options: dict[str, Any]
) -> None:
    objects = PAIRS[picture]
    explainer = CASES[model]().explainer
    path = MODELS / "pictures" / picture
    classes = [item["classes"][0] for item in objects]
    for item, found in zip(
        objects, explainer.explain_each(path, method, classes, **options), strict=True
    ):
        left, top, right, bottom = item["box"]
        box = np.zeros(found.heatmap.shape, bool)
        box[top:bottom, left:right] = True
        row, column = np.unravel_index(found.heatmap.argmax(), box.shape)
        assert box[row, column], f"the hottest pixel, {column}, {row}, is not on {found.target}"
        hot = found.heatmap >= np.quantile(found.heatmap[found.seen], 0.9)
        assert (hot & box).sum() > 0.75 * hot.sum(), f"the hottest tenth is not on {found.target}"
