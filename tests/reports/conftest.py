"""Pictures of digits, marked or not, on backgrounds that are made by a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from onnxplain.cli.app import execute
from tools.build_models.marked_scenes import RECIPE, save_pictures, with_marks
from tools.build_models.scenes import HELD_OUT, Material, Scene, draw, smooth

MODELS = Path(__file__).parents[2] / "models"
DIGITS = 0, 2, 3, 7
EACH = 12


def _background(rng: np.random.Generator) -> np.ndarray:
    small = rng.uniform(60, 200, (6, 6, 3)).astype(np.float32)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC).astype(np.float64)


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Scenes of a few digits that the models have not seen, `EACH` of every one."""
    data, rng = load_digits(), np.random.default_rng(0)
    source = Material(
        smooth(data.images[-HELD_OUT:]),
        data.target[-HELD_OUT:].astype(np.int64),
        np.zeros((1, 48, 48)),
        tuple((_background(rng),) for _ in range(6)),
    )
    found: dict[int, list[Scene]] = {digit: [] for digit in DIGITS}
    while min(map(len, found.values())) < EACH:
        scene = draw(rng, source, replace(RECIPE, marks=0))
        digit = scene.digits[0][0]
        if len(found.get(digit, [None] * EACH)) < EACH:
            found[digit].append(scene)
    return [scene for own in found.values() for scene in own]


@pytest.fixture(scope="session")
def folders(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clean` and `marked`, with a folder of pictures for each digit, and boxes.json."""
    root = tmp_path_factory.mktemp("digits")
    save_pictures(root / "clean", scenes)
    save_pictures(root / "marked", with_marks(scenes))
    return root


@pytest.fixture(scope="session")
def maps(folders: Path) -> Callable[..., Path]:
    """The folder of the maps of a model for pictures, which `onnxplain run` made."""

    def made(model: str, pictures: str, formats: str = "npy,json") -> Path:
        out = folders / f"maps_{model}_{pictures}_{formats}"
        if not out.exists():
            arguments = "-r", "-q", "-m", "gradcam", "-f", formats, "--provider", "cpu"
            named = str(MODELS / f"{model}.onnx"), str(folders / pictures), "-o", str(out)
            assert execute(["run", *named, *arguments]) == 0
        return out

    return made
