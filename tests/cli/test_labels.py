"""`onnxplain run --target label`, and the pictures of COCO files."""

import json
import pickle

import cv2
import numpy as np
import pytest

from onnxplain.errors import OnnxplainError, PictureError
from onnxplain.explainer import Explainer
from onnxplain.jobs.cluster import Workers, _Sent, _Spec, _Worker
from onnxplain.jobs.job import LABEL, Job, Saving
from onnxplain.jobs.results import Results
from onnxplain.jobs.sources import find_all, names_a_set


@pytest.fixture
def photos(paint, tmp_path):
    """Pictures in the folders of their classes, one without a class, and one of no class."""
    for name in ("red fox/1.png", "unknown/3.png", "4.png"):
        paint(f"photos/{name}")
    green = np.zeros((8, 8, 3), np.uint8)
    green[5:, :2, 1] = 200
    (tmp_path / "photos/1").mkdir()
    cv2.imwrite(str(tmp_path / "photos/1/2.png"), green)
    return tmp_path / "photos"


def coco(path, objects, **named):
    """A COCO file of pictures by file name, each with the categories of its objects."""
    names = sorted({name for some in objects.values() for name in some})
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(objects)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"image_id": i, "category_id": names.index(name), "bbox": [0, 0, 1, 1]}
            for i, some in enumerate(objects.values())
            for name in some
        ],
    }
    path.write_text(json.dumps(content | named))
    return path


@pytest.mark.parametrize("formats", ["npy", "png", "map16"])
def test_each_picture_is_explained_for_its_folder(cli, model, photos, tmp_path, formats):
    asked = ("run", model, "photos", "-r", "-m", "cam", "-o", "maps", "-f", formats, "-t", "label")
    ended = cli(*asked)
    assert ended.status == 2
    found = {one.id: one for one in Results(tmp_path / "maps")}
    explained = {name: one.class_index for name, one in found.items() if one.error is None}
    assert explained == {"red_fox/1": 0, "1/2": 1}
    assert "unknown" in found["unknown/3"].error
    assert "has no label, which --target label explains" in found["4"].error
    again = cli(*asked).err
    assert "2 inputs had results" in again
    assert "2 inputs failed before" in again
    other = cli(*asked[:-1], "top1").err
    assert "holds another job, which differs in the targets" in other


def test_the_map_is_that_of_the_class(cli, model, photos, tmp_path):
    common = ("run", model, "photos", "-r", "-m", "cam", "-f", "npy")
    cli(*common, "-o", "own", "-t", "label")
    own = Results(tmp_path / "own")
    for name, index, channel in (("red_fox/1", 0, 2), ("1/2", 1, 1)):
        (values,) = own.maps([own.record(name)])
        picture = cv2.imread(str(photos / ("red fox/1.png" if index == 0 else "1/2.png")))
        np.testing.assert_allclose(values > 0, picture[..., channel] > 0)
        assert own.record(name).class_index == index


def test_pictures_of_a_coco_file(cli, model, paint, tmp_path):
    for name in ("train/1.png", "train/2.png"):
        paint(f"photos/{name}")
    objects = {
        "train/1.png": ["red fox", "red fox"],
        "train/2.png": ["red fox", "cat"],
        "train/gone.png": [],
    }
    coco(tmp_path / "boxes.json", objects)
    named = "boxes.json::photos"
    assert names_a_set(named)
    assert cli("run", model, named, "-m", "cam", "-o", "maps", "-f", "npy").status == 2
    found = {one.id: (one.input, one.label, one.error) for one in Results(tmp_path / "maps")}
    assert found["train/1"] == ("photos/train/1.png", "red fox", None)
    assert found["train/2"] == ("photos/train/2.png", None, None)
    assert "does not exist" in found["train/gone"][2]
    cli("run", model, named, "-m", "cam", "-o", "own", "-f", "npy", "-t", "label")
    own = {one.id: one.error for one in Results(tmp_path / "own")}
    assert own["train/1"] is None
    assert "has no label" in own["train/2"]


def test_a_coco_file_next_to_its_pictures(tmp_path):
    coco(tmp_path / "boxes.json", {"../a/1.png": ["cat"], "/etc/2.png": []})
    first, second = find_all([str(tmp_path / "boxes.json")])
    assert (first.path, first.id, first.label) == (tmp_path / "../a/1.png", "a/1", "cat")
    assert (second.id, second.label) == ("etc/2", None)


def test_coco_files_that_are_refused(tmp_path):
    for name, content, words in (
        ("empty.json", coco(tmp_path / "x.json", {}).read_text(), "names no pictures"),
        ("list.json", "[]", "is no COCO file"),
        ("gone.json", None, "does not exist"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(PictureError, match=words):
            find_all([str(tmp_path / name)])


def test_quality_needs_one_target(cli, model, photos):
    ended = cli("run", model, "photos", "-r", "-m", "cam", "--quality", "-t", "label")
    assert ended.status == 2
    assert "--quality needs one target for all pictures" in ended.err


def test_workers_of_a_cluster_get_the_labels(model, photos, tmp_path, monkeypatch):
    """What Ray sends and returns, without Ray: an input, and what a worker makes of it."""
    monkeypatch.chdir(tmp_path)
    job = Job(Explainer(model), "cam", [LABEL], Saving(tmp_path, ["npy"], "inferno"))
    spec = _Spec.of(job, Workers(least=1, most=1))
    sent = [_Sent.of(image) for image in find_all(["photos"], recursive=True)]
    found = _Worker(pickle.loads(pickle.dumps(spec))).explain(pickle.loads(pickle.dumps(sent)))
    assert not isinstance(found, OnnxplainError), found
    explained = {
        one.image.id: [data.target.index for data, _ in computed.found]
        for one, (computed, _) in zip(sent, found, strict=True)
    }
    assert explained == {"4": [], "1/2": [1], "red_fox/1": [0], "unknown/3": []}
