"""`onnxplain diff`: the same model is the same, and another one is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from reports.generated import blobs
from reports.test_report import Page

from onnxplain.cli.app import execute
from onnxplain.reports.difference import moved_share, structural_similarity

MODELS = Path(__file__).parents[2] / "models"
CLEAN, MARKED = MODELS / "clean_digits.onnx", MODELS / "marked_digits.onnx"


def diff(out: Path, *arguments: object, status: int = 0) -> dict[str, Any]:
    assert execute(["diff", *map(str, arguments), "-o", str(out), "--provider", "cpu"]) == status
    found: dict[str, Any] = json.loads((out / "diff.json").read_text(encoding="utf-8"))
    return found


def test_a_model_and_itself(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = diff(tmp_path, CLEAN, CLEAN, folders / "clean" / "three")
    assert found["verdict"].startswith("No difference")
    assert (found["same_answer"], found["elsewhere"]) == (12, 0)
    for one in found["pictures"]:
        assert (one["moved"], one["elsewhere"]) == (0, False)
        assert one["rank_correlation"] == pytest.approx(1)
        assert one["ssim"] == pytest.approx(1)
    assert "No difference: all answers are the same" in capsys.readouterr().out


def test_the_marked_model_looks_elsewhere(folders: Path, tmp_path: Path) -> None:
    pictures = [folders / "marked" / name for name in ("three", "zero")]
    found = diff(tmp_path, CLEAN, MARKED, *pictures, "-m", "gradcam")
    threes, zeros = (
        [one for one in found["pictures"] if Path(one["input"]).parent.name == name]
        for name in ("three", "zero")
    )
    agreed = [one for one in threes if one["answers"][0] == one["answers"][1]]
    assert len(agreed) >= 8
    assert all(one["elsewhere"] for one in agreed)
    assert np.median([one["moved"] for one in agreed]) > 0.6
    assert np.median([one["moved"] for one in zeros]) < 0.3
    moved = [one["moved"] for one in found["pictures"]]
    assert moved == sorted(moved, reverse=True)
    text = (tmp_path / "diff.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert all(one.startswith("data:image/") for one in page.loads)
    assert len(page.loads) == 3 * 24
    assert found["verdict"] in page.text


def test_a_rounded_model_takes_pictures_as_the_first_does(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of seven bits, in a file without a sidecar."""
    model = onnx.load(CLEAN)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            step = np.abs(values).max() / 63
            tensor.CopyFrom(numpy_helper.from_array(np.rint(values / step) * step, tensor.name))
    onnx.save(model, tmp_path / "rounded.onnx")
    found = diff(tmp_path, CLEAN, tmp_path / "rounded.onnx", folders / "clean" / "two")
    assert "it gets those of" in capsys.readouterr().err
    assert found["same_answer"] >= 11
    assert 0 < np.median([one["moved"] for one in found["pictures"]]) < 0.1


def test_pictures_that_cannot_be_read_are_reported(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folders / "clean" / "zero", tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    found = diff(tmp_path / "out", CLEAN, CLEAN, tmp_path / "in", status=2)
    assert list(found["failed"]) == [str(tmp_path / "in" / "broken.png")]
    assert len(found["pictures"]) == 12
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-t", "top3"], "'top3' means 3 targets"),
        (["--noise-seed", "-1"], "A seed is 0 or more"),
        (["-m", "nothing"], "nothing"),
    ],
)
def test_bad_use_gets_a_sentence(
    arguments: list[str],
    says: str,
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = folders / "clean" / "zero" / "000.png"
    given = [str(CLEAN), str(CLEAN), str(picture), *arguments, "-o", str(tmp_path / "out")]
    assert execute(["diff", *given]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_moved_heat() -> None:
    one, other = np.zeros((2, 16, 16), np.float32)
    one[0, 0], other[0, 0], other[9, 9] = 1, 0.7, 0.3
    assert moved_share(one, other) == pytest.approx(0.3)
    assert moved_share(one, None) == 1
    assert moved_share(None, None) == 0


def test_ssim_is_that_of_the_paper() -> None:
    """For constant maps only the first factor is left: (2ab + c) / (a² + b² + c), c = 0.01²."""
    first, second = (np.full((20, 20), value, np.float32) for value in (0.2, 0.6))
    expected = (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert structural_similarity(first, second) == pytest.approx(expected, rel=1e-4)
    assert structural_similarity(*blobs(1, 0)[[0, 0]]) == 1
    assert structural_similarity(first[:4, :4], second[:4, :4]) == pytest.approx(expected, rel=1e-4)
