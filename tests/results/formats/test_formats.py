"""Each format is read back with the library that its readers would use."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OptionError
from onnxplain.results.formats import DEFAULT_FORMATS, FORMATS
from onnxplain.results.formats.manifest import plain
from onnxplain.targets.described import ExplainedTarget

STEM = "chelsea.scorecam.282_tiger_cat"


def saved(explanation, folder, *formats):
    return {path.name.removeprefix(STEM): path for path in explanation.save(folder, formats)}


def test_the_default_files(explanation, tmp_path):
    names = [path.name.removeprefix(STEM) for path in explanation.save(tmp_path)]
    assert names == [".npy", ".heatmap.npy", ".png", ".json"]


def test_npy(explanation, tmp_path):
    fortran = replace(explanation, values=np.asfortranarray(explanation.values))
    files = saved(fortran, tmp_path, "npy", "heatmap")
    for ending, array in ((".npy", explanation.values), (".heatmap.npy", explanation.heatmap)):
        read = np.load(files[ending], allow_pickle=False)
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, array)


def test_npy_is_the_raw_values_alone(explanation, tmp_path):
    assert list(saved(explanation, tmp_path, "npy", "json")) == [".npy", ".json"]


def test_tiff_is_exact_in_opencv_and_in_pillow(explanation, tmp_path):
    path = saved(explanation, tmp_path, "tiff")[".tiff"]
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, explanation.heatmap)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), explanation.heatmap)


def test_png16_is_the_nearest_of_65536_levels(explanation, tmp_path):
    path = saved(explanation, tmp_path, "png16")[".heatmap16.png"]
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert (read.min(), read.max()) == (0, 65535)
    np.testing.assert_allclose(read / 65535, explanation.heatmap, rtol=0, atol=0.501 / 65535)


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 3, 4, 5), (6, 4, 3)])
def test_yml_keeps_rank_and_every_bit(explanation, tmp_path, shape):
    values = np.resize(explanation.values, shape)
    path = saved(replace(explanation, values=values), tmp_path, "yml")[".yml"]
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    read = storage.getNode("values").mat()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(storage.getNode("heatmap").mat(), explanation.heatmap)


def test_yml_is_an_n_dimensional_matrix_of_one_channel_to_cplusplus(explanation, tmp_path):
    """Python's reader makes channels an axis, so check the values that a `cv::Mat` is made from."""
    path = saved(explanation, tmp_path, "yml")[".yml"]
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    node = storage.getNode("values")
    sizes = node.getNode("sizes")
    assert [sizes.at(i).real() for i in range(sizes.size())] == [3, 5, 7]
    assert node.getNode("dt").string() == "f"


def test_yml_facts(explanation, tmp_path):
    target = ExplainedTarget.of_class(282, 'tiger "cat": 虎猫\n#1')
    path = replace(explanation, target=target, layers=("L" * 9000,)).save(tmp_path, ["yml"])[0]
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    assert storage.getNode("target_label").string() == 'tiger "cat": 虎猫\n#1'
    assert storage.getNode("target_index").real() == 282
    assert storage.getNode("score").real() == 12.8125
    assert storage.getNode("score_kind").string() == "logit"
    assert storage.getNode("heatmap_high").real() == 3.5
    assert set(storage.getNode("layer").string()) == {"L"}


def test_yml_leaves_out_what_is_missing(explanation, tmp_path):
    path = saved(replace(explanation, layers=()), tmp_path, "yml")[".yml"]
    assert cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ).getNode("layer").empty()


def test_png_is_in_true_colors(explanation, tmp_path):
    """A pure red sheet must come back red: channels in the wrong order would make it blue."""
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    path = saved(replace(explanation, sheet=red), tmp_path, "png")[".png"]
    read = np.asarray(Image.open(path).convert("RGB"))
    assert (read == (255, 0, 0)).all(axis=-1).sum() == 64 * 64


def test_png_takes_the_colormap(explanation, tmp_path):
    (default,) = explanation.save(tmp_path / "default", ["png"])
    (jet,) = explanation.save(tmp_path / "jet", ["png"], colormap="jet")
    assert cv2.imread(str(default)).shape == cv2.imread(str(jet)).shape
    assert (cv2.imread(str(default)) != cv2.imread(str(jet))).any()


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_manifest_lists_the_other_files_whatever_the_order_asked_for(explanation, tmp_path):
    paths = explanation.save(tmp_path, ["json", *reversed(list(FORMATS)), "npy"])
    *others, last = paths
    assert last.name == f"{STEM}.json"
    listed = strict_json(last)["files"]
    assert [file["name"] for file in listed] == [path.name for path in others]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    for file, path in zip(listed, others, strict=True):
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["bytes"] == path.stat().st_size


def test_manifest_tells_everything(explanation, tmp_path):
    content = strict_json(saved(explanation, tmp_path, "json")[".json"])
    values = explanation.values
    expected = {
        "onnxplain": {"manifest": 1},
        "model": {
            "path": "model.onnx",
            "sha256": "ab" * 32,
            "opset": 17,
            "input": "pixels",
            "outputs": ["logits", "features"],
            "fixed_random": [],
        },
        "picture": {"path": str(Path("pictures/chelsea.png")), "width": 40, "height": 30},
        "preprocess": {"crop": [16, 0, 224, 224], "mean": 0.5},
        "method": "scorecam",
        "layers": ["/head/Conv"],
        "target": {
            "name": "282_tiger_cat",
            "index": 282,
            "label": "tiger cat",
            "region": None,
            "boxes": [],
            "references": [],
            "read": None,
            "output": None,
            "box": None,
        },
        "score": {"kind": "logit", "value": 12.8125, "tensor": "/classifier/Gemm_output_0"},
        "parameters": {"relu": True, "fill": "black"},
        "diagnostics": {"session_runs": 41},
        "values": {"shape": [3, 5, 7], "range": [float(values.min()), float(values.max())]},
        "heatmap": {"shape": [30, 40], "range": [-0.25, 3.5]},
        "provider": "CPUExecutionProvider",
        "device": {"type": "cpu", "index": 0, "vendor": "AMD"},
        "provider_options": {"arena": "1"},
        "threads": 2,
        "batching": "",
        "versions": {"onnxplain": "0.1.0"},
        "files": [],
    }
    assert content.pop("conventions").keys() >= {"values", "heatmap", "score"}
    assert content == expected


def test_manifest_survives_what_json_cannot_say(explanation, tmp_path):
    odd = replace(
        explanation,
        score=float("nan"),
        picture_path=Path("not utf-8 \udcff.png"),
        diagnostics={"gap": np.float32("inf"), 3: {1}, "label": "虎猫"},
        parameters={"baseline": np.zeros((3, 224, 224), np.float32), "steps": np.int64(50)},
    )
    (path,) = odd.save(tmp_path, ["json"])
    content = strict_json(path)
    assert content["score"]["value"] is None
    assert content["picture"]["path"] == "not utf-8 \udcff.png"
    assert content["diagnostics"] == {"gap": None, "3": "{1}", "label": "虎猫"}
    assert "虎猫" in path.read_text(encoding="utf-8")
    assert content["parameters"]["steps"] == 50
    assert content["parameters"]["baseline"] == {
        "shape": [3, 224, 224],
        "dtype": "float32",
        "sha256": hashlib.sha256(bytes(4 * 3 * 224 * 224)).hexdigest(),
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.array(2), 2),
        (np.bool_(True), True),
        ((1, [2.0, float("-inf")]), [1, [2.0, None]]),
        (Path("a"), "a"),
        (None, None),
    ],
)
def test_plain(value, expected):
    assert plain(value) == expected


@pytest.mark.parametrize(
    "option", [{"formats": ["npy", "pgn"]}, {"formats": ["npy"], "colormap": "rainbow"}]
)
def test_an_unknown_name_lists_the_known_ones_and_writes_nothing(explanation, tmp_path, option):
    with pytest.raises(
        OptionError, match=r"'(pgn|rainbow)'.*(npy, heatmap, png, tiff|inferno, magma)"
    ):
        explanation.save(tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_the_default_formats_are_formats():
    assert set(DEFAULT_FORMATS) <= set(FORMATS)
    assert list(FORMATS)[-1] == "json"
