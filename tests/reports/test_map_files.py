"""The maps of a folder, where the model saw only a part of the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain.errors import OptionError
from onnxplain.images.preprocess import Preprocess
from onnxplain.reports.analysis import read_maps
from onnxplain.reports.map_files import read_folder


def write(folder: Path, name: str, values: np.ndarray, **facts: Any) -> None:
    """A map of a picture of 40 × 100, of which the model sees the middle 40 × 40."""
    preprocess = Preprocess(size=(20, 20), fit="crop", resize=20).to_dict()
    manifest = {
        "onnxplain": {"manifest": 1},
        "model": {"path": "m.onnx", "sha256": "a" * 64},
        "picture": {"path": "pets/cat.png", "width": 100, "height": 40},
        "preprocess": preprocess,
        "method": "gradcam",
        "layers": ["relu"],
        "target": {"name": "1_cat", "label": None, "index": 1},
        "score": {"kind": "logit", "value": None},
        "heatmap": {"range": [0, 1]},
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(manifest | facts))
    np.save(folder / f"{name}.npy", values.astype(np.float32))


def nothing(done: int, total: int) -> None:
    """No progress."""


def test_corners_are_those_of_what_the_model_saw(tmp_path: Path) -> None:
    values = np.zeros((10, 10))
    values[0, 9], values[5, 5] = 3, -2
    write(tmp_path, "cat", values)
    maps = read_maps(read_folder(tmp_path), None, nothing)
    (file,) = maps.files
    assert (file.class_name, file.class_index, file.score, file.label) == ("1_cat", 1, None, "pets")
    assert file.seen == (slice(0, 40), slice(30, 70))
    assert maps.places["upper right corner"][0] == pytest.approx(1, abs=0.01)
    heat = file.heat()
    assert heat.shape == (40, 100)
    assert np.unravel_index(heat.argmax(), heat.shape) == (0, 69)
    assert not heat[:, :30].any()
    assert not heat[:, 70:].any()


def test_a_heatmap_is_read_with_its_range(tmp_path: Path) -> None:
    write(tmp_path, "cat", np.zeros((10, 10)), heatmap={"range": [-1, 3]})
    heatmap = np.full((40, 100), 0.25, np.float32)
    heatmap[:10, 30:40], heatmap[30:, 30:40] = 1, 0
    np.save(tmp_path / "cat.heatmap.npy", heatmap)
    (file,) = read_folder(tmp_path).maps
    assert file.heat().max() == 3
    assert file.heat().sum() == pytest.approx(300)


def test_models_are_not_mixed_and_damaged_manifests_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "cat", np.ones((4, 4)))
    write(tmp_path, "dog", np.ones((4, 4)), target=None)
    write(tmp_path, "text", np.ones((4, 4)), picture={})
    (tmp_path / "other.json").write_text('{"other": 1}')
    found = read_folder(tmp_path)
    assert (len(found.maps), sum(found.left_out.values()), found.model) == (1, 2, "m.onnx")
    write(tmp_path, "bird", np.ones((4, 4)), model={"path": None, "sha256": "b" * 64})
    with pytest.raises(OptionError, match="several models"):
        read_folder(tmp_path)
