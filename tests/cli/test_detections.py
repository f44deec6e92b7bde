"""The boxes of a detector on the command line."""

import json

import cv2
import numpy as np
import pytest
from square_detector import SIDE, detector
from square_detector import picture as squares


@pytest.fixture
def files(tmp_path):
    """A detector with its sidecar, and a picture."""
    model, image = tmp_path / "squares.onnx", tmp_path / "scene.png"
    model.write_bytes(detector(metadata=True).SerializeToString())
    settings = {"size": SIDE, "fit": "stretch", "interpolation": "nearest", "scale": 1 / 255}
    model.with_name("squares.onnxplain.json").write_text(json.dumps({"preprocess": settings}))
    cv2.imwrite(str(image), squares()[..., ::-1])
    return model, image


def test_inspect_says_how_boxes_are_held(cli, files):
    model, _ = files
    outcome = cli("inspect", model)
    line = next(line for line in outcome.out.splitlines() if line.startswith("boxes "))
    assert line.split(maxsplit=1)[1] == "layout ultralytics, found from the model's metadata"
    assert json.loads(cli("inspect", model, "--json").out)["boxes"]["layout"] == "ultralytics"


def test_inspect_lists_and_draws_what_is_detected(cli, files):
    model, image = files
    outcome = cli("inspect", model, "--picture", image, "--out", "out", "--json")
    found = json.loads(outcome.out)
    assert [box["target"] for box in found["boxes"]] == ["red", "green", "red#2"]
    assert [found["boxes"][1][side] for side in ("x", "y", "width", "height")] == [32, 16, 16, 16]
    drawn = cv2.imread(found["file"])
    assert (drawn == [120, 255, 90]).all(axis=2).sum() > 500  # BGR: the color of boxes
    lines = cli("inspect", model, "--picture", image, "--out", "out").out.splitlines()
    assert [line.split()[0] for line in lines] == ["red", "green", "red#2", "->"]


def test_every_listed_name_is_a_target(cli, files, tmp_path):
    model, image = files
    names = ["red", "green", "red#2"]
    outcome = cli("run", model, image, "-m", "gradient", "-t", ",".join(names), "-f", "json")
    assert outcome.status == 0, outcome.err
    boxes = {
        file.name: json.loads(file.read_text())["target"]["box"]
        for file in sorted(tmp_path.glob("onnxplain-out/*.json"))
    }
    found = {name.split(".")[2]: box["x"] for name, box in boxes.items()}
    assert found == {"0_red": 16, "0_red-2": 40, "1_green": 32}


def test_the_explained_box_is_drawn(cli, files, tmp_path):
    model, image = files
    assert cli("run", model, image, "-m", "occlusion", "-t", "green", "-f", "png").status == 0
    (file,) = tmp_path.glob("onnxplain-out/*.png")
    _, columns = np.nonzero((cv2.imread(str(file)) == [120, 255, 90]).all(axis=2))
    sides = np.flatnonzero(np.bincount(columns) > 120)
    # The picture of 64 pixels is enlarged to 512, and the box is 16 pixels wide.
    assert sides.max() - sides.min() == pytest.approx(16 * 8, abs=3)


def test_a_model_without_boxes_says_which_layouts_there_are(cli, model, picture):
    sentence = cli("inspect", model, "--picture", picture).sentence
    assert sentence.startswith("The outputs of this model are not known to hold boxes")
    assert "yolov5" in sentence
