"""`onnxplain run` for arrays, from file to file."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from explainer.formulas import linear, noise
from numpy.testing import assert_allclose

WEIGHTS = noise(2, 5, 6, 7)
ROW_WEIGHTS = noise(2, 7)


@pytest.fixture
def scenes(tmp_path):
    """A model that is linear in five bands."""
    onnx.save(linear("5,6,7", WEIGHTS), tmp_path / "scenes.onnx")
    return "scenes.onnx"


@pytest.fixture
def rows(tmp_path):
    """A model that is linear in seven features."""
    onnx.save(linear("7", ROW_WEIGHTS), tmp_path / "rows.onnx")
    return "rows.onnx"


def test_a_scene_from_a_tiff_file(cli, scenes):
    tifffile = pytest.importorskip("tifffile")
    raw = np.random.default_rng(0).integers(0, 3000, (6, 7, 5), np.uint16)
    tifffile.imwrite("x.tif", raw, photometric="minisblack", planarconfig="contig")
    flags = ["--bands", "3,2,1", "--value-range", "0,3000", "--scale", "0.001"]
    done = cli("run", scenes, "x.tif", "-m", "input_x_gradient", "-t", "0", *flags)
    assert done.status == 0, done.err
    assert done.out.startswith("x.tif: 0, logit ")
    values = np.load("onnxplain-out/x.input_x_gradient.0.npy")
    assert_allclose(values, WEIGHTS[0] * np.moveaxis(raw, -1, 0) / 1000, rtol=1e-4)
    manifest = json.loads(Path("onnxplain-out/x.input_x_gradient.0.json").read_text())
    assert manifest["array"] == {
        "path": "x.tif",
        "kind": "scene",
        "shape": [5, 6, 7],
        "dtype": "uint16",
        "index": None,
        "bands": [3, 2, 1],
        "value_range": [[0, 3000]] * 3,
        "names": [],
    }
    assert "picture" not in manifest
    assert manifest["preprocess"]["scale"] == 0.001


def test_several_rows_in_one_file_become_several_results(cli, rows):
    x = noise(3, 7, seed=1)
    np.save("x.npy", x)
    np.save("x-1.npy", x[0])  # whose name one of the samples has, too
    done = cli("run", rows, "x.npy", "x-1.npy", "-t", "0", "--names", "a,b,c,d,e,f,g", "--json")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["array"] for line in lines] == ["x.npy"] * 3 + ["x-1.npy"]
    names = [Path(line["files"][0]).name for line in lines]
    expected = ["x-0", "x-1", "x-2", "x-1-2"]
    assert names == [f"{name}.occlusion.0.npy" for name in expected]
    for line, row in zip(lines, [*x, x[0]], strict=True):
        assert_allclose(np.load(line["files"][0]), ROW_WEIGHTS[0] * row, atol=1e-5)
    manifest = json.loads(Path("onnxplain-out/x-2.occlusion.0.json").read_text())
    assert manifest["array"]["index"] == 2
    assert manifest["array"]["names"] == list("abcdefg")


def test_a_folder_without_pictures_means_its_arrays(cli, rows, paint):
    Path("rows").mkdir()
    for i in range(2):
        np.save(f"rows/{i}.npy", noise(7, seed=i))
    done = cli("run", rows, "rows")
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["rows/0.npy", "rows/1.npy"]
    paint("rows/picture.png")
    assert "is no picture" in cli("run", rows, "rows").err


def test_a_file_that_does_not_fit_does_not_stop_the_others(cli, rows):
    np.save("good.npy", noise(7))
    np.save("bad.npy", noise(8))
    Path("text.npy").write_text("text")
    done = cli("run", rows, "bad.npy", "text.npy", "good.npy")
    assert done.status == 2
    assert done.out.startswith("good.npy: ")
    bad, text, *_ = done.err.splitlines()
    assert "bad.npy: Samples of the input 'x' are of shape (7), and those" in bad
    assert "text.npy is not a .npy file" in text


def test_a_picture_among_arrays_is_named(cli, rows, picture):
    np.save("good.npy", noise(7))
    np.save("empty.npy", np.zeros((0, 7)))
    done = cli("run", rows, picture, "empty.npy", "good.npy")
    assert done.status == 2
    assert done.out.startswith("good.npy: ")
    first, second, *_ = done.err.splitlines()
    assert f"{picture}: The input 'x' takes (N, 7) float32, which is no picture" in first
    assert "empty.npy holds no sample" in second


def test_a_background_of_rows(cli, rows):
    train, x = noise(50, 7, seed=3), noise(7, seed=1)
    np.save("train.npy", train)
    np.save("x.npy", x)
    done = cli("run", rows, "x.npy", "-t", "0", "-m", "expected_gradients", "--background", "t.npy")
    assert "did you mean --baselines?" in done.err
    flags = ["-m", "expected_gradients", "--baselines", "train.npy", "--samples", "100"]
    assert cli("run", rows, "x.npy", "-t", "0", *flags).status == 0
    drawn = np.random.default_rng(0).integers(50, size=100)
    values = np.load("onnxplain-out/x.expected_gradients.0.npy")
    assert_allclose(values, ROW_WEIGHTS[0] * (x - train[drawn].mean(axis=0)), atol=1e-4)


def test_the_default_says_first_what_many_features_cost(cli, tmp_path):
    """A run without change, and one for each feature."""
    onnx.save(linear("2100", noise(2, 2100)), tmp_path / "wide.onnx")
    np.save("x.npy", noise(2100))
    done = cli("run", "wide.onnx", "x.npy", "-f", "npy")
    assert done.status == 0, done.err
    assert done.err.startswith("Note: occlusion runs the model 2,100 times for one ")


def test_rows_are_no_pictures_for_drawings_side_by_side(cli, rows, scenes):
    """The kind of the input is checked before any method runs, once for each file."""
    np.save("x.npy", noise(3, 7, seed=1))
    np.save("one.npy", noise(7, seed=1))
    done = cli("compare", rows, "x.npy", "one.npy", "-m", "gradcam,occlusion")
    assert done.status == 2
    assert [
        line.partition(": Maps are drawn side by side")[0] for line in done.err.splitlines()
    ] == [
        "Error: x.npy",
        "Error: one.npy",
    ]
    assert "and this is a row: draw one explanation at a time" in done.err
    assert "this is a row" in cli("sanity", rows, "one.npy", "-m", "occlusion").sentence
    sentence = cli("sanity", rows, "x.npy", "-m", "occlusion").sentence
    assert sentence.startswith("x.npy holds 3 samples, and the check takes one")


def test_each_scene_of_a_file_is_compared(cli, scenes):
    np.save("two.npy", noise(2, 5, 6, 7, seed=1))
    done = cli(
        "compare", scenes, "two.npy", "-m", "gradient,input_x_gradient", "-t", "0", "-o", "m"
    )
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "two.npy, sample 0: 0 -> m/two-0.compare.png",
        "two.npy, sample 1: 0 -> m/two-1.compare.png",
    ]


def test_the_time_of_arrays_is_for_each_sample(cli, rows, model, picture):
    np.save("x.npy", noise(3, 7, seed=1))
    assert cli("run", rows, "x.npy", "-t", "0").err.rstrip().endswith(" s for each sample.")
    assert cli("run", model, picture, "-t", "0").err.rstrip().endswith(" s for each picture.")
