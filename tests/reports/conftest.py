"""Pictures of digits, marked or not, on backgrounds that are made by a formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reports.generated import scenes_of

from onnxplain.cli.app import execute
from tools.build_models.marked_scenes import save_pictures, with_marks
from tools.build_models.scenes import HELD_OUT, Scene

MODELS = Path(__file__).parents[2] / "models"
DIGITS = 0, 2, 3, 7
EACH = 12


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Scenes of a few digits that the models have not seen, `EACH` of every one."""
    return scenes_of(DIGITS, EACH, slice(-HELD_OUT, None), seed=0)


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
