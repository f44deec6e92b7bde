"""`onnxplain export` and `onnxplain verify`, from file to file."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest


@pytest.fixture
def photo(paint):
    return paint("photos/a.png", slice(1, 5))


def test_from_model_to_file_to_verified(cli, model, photo):
    outcome = cli("export", model, "-m", "gradcam")
    assert outcome.status == 0
    assert outcome.out.startswith("-> model.gradcam.onnx (0.0 MB)")
    assert not outcome.err
    assert not cli("export", model, "-m", "gradcam", "--quiet").out
    session = ort.InferenceSession("model.gradcam.onnx")
    assert [one.name for one in session.get_inputs()][-1] == "target"
    assert [one.name for one in session.get_outputs()][-4:] == [
        "values",
        "heatmap",
        "status",
        "explained",
    ]
    outcome = cli("verify", "model.gradcam.onnx", model, photo)
    assert outcome.status == 0
    assert outcome.out.splitlines()[0].split("  ")[0] == "picture"
    (found,) = json.loads(cli("verify", "model.gradcam.onnx", model, photo, "--json").out)
    assert found["picture"] == str(photo)
    assert max(found["outputs"], found["values"], found["heatmap"]) < 1e-5
    assert found["problem"] == ""


def test_a_picture_in_and_an_overlay_out(cli, model, photo):
    assert cli("export", model, "-m", "gradcam", "--with-overlay", "-o", "there/f.onnx").status == 0
    picture = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    session = ort.InferenceSession("there/f.onnx")
    overlay, heatmap = session.run(
        ["overlay", "heatmap"], {"picture": picture, "target": np.array([0])}
    )
    assert overlay.shape == picture.shape
    assert overlay.dtype == np.uint8
    assert heatmap.shape == (1, *picture.shape[:2])
    assert cli("verify", "there/f.onnx", model, photo).status == 0


def test_the_options_of_a_method_are_in_the_file(cli, model, photo):
    flags = "-m", "gradcam", "--no-relu", "--counterfactual", "-t", "red fox - green snake"
    assert cli("export", model, *flags, "-o", "f.onnx", "--json").status == 0
    facts = {entry.key: entry.value for entry in onnx.load("f.onnx").metadata_props}
    options = json.loads(facts["onnxplain.options"])
    assert (options["relu"], options["counterfactual"]) == (False, True)
    assert facts["onnxplain.fixed_target"] == "red fox - green snake"
    assert cli("verify", "f.onnx", model, photo).status == 0


def test_a_file_that_differs_is_a_failure(cli, model, photo):
    """One weight of the file is changed after it was made."""
    cli("export", model, "-m", "gradcam", "-o", "f.onnx")
    changed = onnx.load("f.onnx")
    weight = next(t for t in changed.graph.initializer if len(t.dims) == 4)
    values = np.array(onnx.numpy_helper.to_array(weight))
    values[0] *= 1.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(changed, "f.onnx")
    outcome = cli("verify", "f.onnx", model, photo)
    assert outcome.status == 1
    assert "larger than --allow" in outcome.out
    assert cli("verify", "f.onnx", model, photo, "--allow", "10").status == 0


def test_a_map_that_shows_nothing_is_none_in_both(cli, model, tmp_path):
    cv2.imwrite("black.png", np.zeros((8, 8, 3), np.uint8))
    cli("export", model, "-m", "gradcam", "-o", "f.onnx")
    outcome = cli("verify", "f.onnx", model, "black.png")
    assert outcome.status == 0
    assert "no map" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "MODEL", "-m", "guided_ig"], "so it cannot be one graph"),
        (["export", "MODEL", "-m", "gradcam", "-o", "MODEL"], "belongs to the model itself"),
        (["export", "MODEL", "-m", "gradcam", "-o", "MODEL/f.onnx"], "is a file, not a folder"),
        (["export", "MODEL", "-m", "gradcam", "-t", "top1"], "another one in each picture"),
        (["verify", "MODEL", "MODEL", "PHOTO"], "was not made by `onnxplain export`"),
        (["verify", "f.onnx", "OTHER", "PHOTO"], "was made from another model (model.onnx)"),
        (["export", "f.onnx", "-m", "gradcam"], "explains already"),
    ],
)
def test_what_is_refused(cli, model, photo, arguments, words):
    assert cli("export", model, "-m", "gradcam", "-o", "f.onnx").status == 0
    other = onnx.load(model)
    other.doc_string = "another"
    onnx.save(other, "other.onnx")
    places = {"MODEL": str(model), "PHOTO": str(photo), "OTHER": "other.onnx"}
    for short, long in places.items():
        arguments = [one.replace(short, long) for one in arguments]
    outcome = cli(*arguments)
    assert outcome.status in (1, 2)
    assert words in outcome.sentence
    assert sorted(p.name for p in Path().glob("*.onnx")) == ["f.onnx", "model.onnx", "other.onnx"]
