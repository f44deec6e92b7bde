"""The C++ programs build, and give the numbers of Python."""

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
from tiny import tiny

import onnxplain

from .conftest import CATS, COFFEE, EXAMPLES, LABELS, MODELS, prepared, shown_in

pytestmark = pytest.mark.native

SOURCE = EXAMPLES / "cpp"


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def build(*command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of the programs, built as their README says."""
    folder = tmp_path_factory.mktemp("cpp")
    runtime = os.environ.get("ONNXRUNTIME_ROOT", folder / "onnxruntime")
    if "ONNXRUNTIME_ROOT" not in os.environ:
        build("sh", SOURCE / "onnxruntime_from_packages.sh", runtime, sys.executable)
    build("cmake", "-S", SOURCE, "-B", folder / "build", f"-DONNXRUNTIME_ROOT={runtime}")
    build("cmake", "--build", folder / "build")
    return folder / "build"


def explain(program, model, picture, folder, *target):
    """What a program prints, its overlay and its heatmap."""
    done = run(program, model, picture, folder / "overlay.png", *target)
    assert done.returncode == 0, done.stderr
    overlay = cv2.imread(str(folder / "overlay.png"))[..., ::-1]
    heatmap = cv2.imread(str(folder / "overlay.heatmap.tiff"), cv2.IMREAD_UNCHANGED)
    return done.stdout.splitlines(), overlay, heatmap


def printed(found):
    """What a program must print for outputs of an exported file."""
    scores, index = found["prob"][0], int(found["explained"][0])
    words = {0: "the map shows something", 3: "there is no such class or box"}
    status = int(found["status"][0])
    return [
        *(f"{scores[c]:10.6f}  {c} {LABELS[c]}" for c in np.argsort(-scores)[:5]),
        f"explained: {index}" + (f" {LABELS[index]}" if index < len(LABELS) else ""),
        f"status: {status}, {words[status]}",
    ]


@pytest.mark.parametrize("target", [-1, 504, 1000])
def test_a_file_with_an_overlay(programs, drawn, tmp_path, target):
    expected = drawn.run([target], picture=cv2.imread(str(COFFEE))[..., ::-1])
    lines, overlay, heatmap = explain(programs / "explain", drawn.path, COFFEE, tmp_path, target)
    assert lines == printed(expected)
    np.testing.assert_allclose(heatmap, expected["heatmap"][0], atol=2e-6)
    np.testing.assert_array_equal(overlay, expected["overlay"])


def test_the_readme_shows_what_is_printed(programs, drawn, tmp_path):
    lines, _, _ = explain(programs / "explain", drawn.path, COFFEE, tmp_path)
    assert shown_in(SOURCE) == lines


@pytest.mark.parametrize("target", [-1, 504, 1000])
def test_a_file_that_takes_a_prepared_picture(programs, plain, tmp_path, target):
    x, placement = plain.prepared(COFFEE)
    expected = plain.run([target], data=x)
    lines, overlay, heatmap = explain(programs / "explain", plain.path, COFFEE, tmp_path, target)
    assert lines == printed(expected)
    np.testing.assert_allclose(heatmap, placement.to_picture(expected["heatmap"][0]), atol=2e-6)
    assert overlay.shape == (400, 600, 3)


def test_a_file_with_one_target(programs, cats, tmp_path):
    x, placement = cats.prepared(COFFEE)
    expected = cats.run(None, data=x)
    lines, _, heatmap = explain(programs / "explain", cats.path, COFFEE, tmp_path)
    assert lines[-2:] == [f"explained: {CATS}", "status: 0, the map shows something"]
    np.testing.assert_allclose(heatmap, placement.to_picture(expected["heatmap"][0]), atol=2e-6)


def test_opencv_alone(programs, plain, cats, tmp_path):
    program = programs / "explain_dnn"
    done = run(program, plain.path, COFFEE, tmp_path / "overlay.png", 504)
    if done.returncode == 1:
        assert re.search(r"^OpenCV 4\.\S+ cannot read .*: take OpenCV 5", done.stderr, re.MULTILINE)
        pytest.skip("this OpenCV for C++ is older than 5, and the program says so")
    x, placement = plain.prepared(COFFEE)
    expected = plain.run([504], data=x)
    lines, _, heatmap = explain(program, plain.path, COFFEE, tmp_path, 504)
    assert lines == printed(expected)
    np.testing.assert_allclose(heatmap, placement.to_picture(expected["heatmap"][0]), atol=1e-5)
    lines, _, _ = explain(program, cats.path, COFFEE, tmp_path)
    assert lines[-2:] == [f"explained: {CATS}", "status: 0, the map shows something"]


def test_a_segmenter_where_its_class_is_predicted(programs, segmenter, tmp_path):
    x, placement = segmenter[False].prepared(COFFEE)
    expected = segmenter[False].run([1], x=x, region=np.zeros((1, 48, 64), np.uint8))
    lines, _, heatmap = explain(programs / "explain", segmenter[False].path, COFFEE, tmp_path, 1)
    assert lines == ["explained: 1 b", "status: 0, the map shows something"]
    np.testing.assert_allclose(heatmap, placement.to_picture(expected["heatmap"][0]), atol=2e-6)

    picture = cv2.imread(str(COFFEE))[..., ::-1]
    region = np.zeros((1, *picture.shape[:2]), np.uint8)
    expected = segmenter[True].run([1], picture=picture, region=region)
    lines, overlay, _ = explain(programs / "explain", segmenter[True].path, COFFEE, tmp_path, 1)
    assert lines == ["explained: 1 b", "status: 0, the map shows something"]
    np.testing.assert_array_equal(overlay, expected["overlay"])


# For a picture of 96 x 128 pixels, of which none has two nearest pixels.
SETTINGS = [
    {"size": [48, 64], "interpolation": "area", "channels": "BGR", "mean": [104, 117, 123]},
    {"size": [192, 256], "interpolation": "bicubic", "scale": 1 / 255, "std": [0.25]},
    {"size": [48, 48], "fit": "crop", "resize": 48, "mean": [1, 2, 3], "std": [50, 60, 70]},
    {"size": [160, 160], "fit": "crop", "resize": [192, 256], "interpolation": "nearest"},
    {"size": [64, 80], "fit": "crop", "resize": 48, "pad": 7, "interpolation": "lanczos"},
    {"size": [41, 45], "fit": "crop", "resize": 50},
    {"size": [64, 64], "fit": "letterbox", "pad": 114},
    {"size": [50, 37], "fit": "letterbox", "interpolation": "area"},
    {"size": [64, 64], "fit": "letterbox", "channels": "GRAY", "mean": [3], "std": 2},
    {"size": [48, 64], "layout": "NHWC", "resize": None},
]


@pytest.mark.parametrize("settings", SETTINGS, ids="-".join)
def test_pictures_are_prepared_as_in_python(programs, tmp_path, settings):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    x, placement = prepared(tmp_path / "picture.png", settings)
    channel = 3 if settings.get("layout") == "NHWC" else 1
    # The heatmap of this file is the mean of the channels of its input.
    echo = tiny(
        """scores = ReduceMean<keepdims=0>(x, OTHERS)
        heatmap = ReduceMean<keepdims=0>(x, CHANNEL)
        status = Sub(target, target)  explained = Identity(target)""",
        f"float{list(x.shape)} x, int64[N] target",
        "float[N,C] scores, float[N,H,W] heatmap, int64[N] status, int64[N] explained",
        opset=18,
        OTHERS=np.array([axis for axis in (1, 2, 3) if axis != channel]),
        CHANNEL=np.array([channel]),
    )
    about = {"version": "0", "names": "{}", "target": "a class", "preprocess": json.dumps(settings)}
    for key, value in about.items():
        echo.metadata_props.add(key=f"onnxplain.{key}", value=value)
    onnx.save(echo, tmp_path / "echo.onnx")
    lines, _, heatmap = explain(
        programs / "explain", tmp_path / "echo.onnx", tmp_path / "picture.png", tmp_path, 0
    )
    expected = placement.to_picture(x[0].mean(axis=channel - 1))
    np.testing.assert_allclose(heatmap, expected, atol=2e-6 * np.abs(x).max())
    scores = {int(name): float(score) for score, name in map(str.split, lines[:-2])}
    means = x[0].mean(axis=tuple(axis - 1 for axis in (1, 2, 3) if axis != channel))
    assert scores == pytest.approx(dict(enumerate(means)), rel=1e-5, abs=1e-5)
    assert lines[-2:] == ["explained: 0", "status: 0, the map shows something"]


def test_the_formats_that_python_saves(programs, tmp_path):
    explainer = onnxplain.Explainer(MODELS / "squeezenet1_1.onnx")
    explanation = explainer.explain(COFFEE, method="gradcam")
    explanation.save(tmp_path, ["npy", "heatmap", "png", "tiff", "png16", "yml", "json"])
    done = run(programs / "read_formats", *sorted(tmp_path.iterdir()))
    assert done.returncode == 0, done.stderr
    heatmap, values = explanation.heatmap, explanation.values
    overlay = cv2.imread(str(tmp_path / "coffee.gradcam.967_espresso.png"))
    whole = np.rint(heatmap.astype(float) * 65535).astype(np.uint16)
    expected = {
        ".heatmap.npy": (heatmap, 1, 32),
        ".heatmap16.png": (whole, 1, 16),
        ".npy": (values, 1, 32),
        ".png": (overlay, 3, 8),
        ".tiff": (heatmap, 1, 32),
        ".yml values": (values, 1, 32),
        ".yml heatmap": (heatmap, 1, 32),
    }
    stem = re.escape(str(tmp_path / "coffee.gradcam.967_espresso"))
    line = rf"^{stem}(\.[^:]+): (\d+) x (\d+), channels (\d), bits (\d+), sum (\S+)$"
    found = {name: numbers for name, *numbers in re.findall(line, done.stdout, re.MULTILINE)}
    assert found.keys() == expected.keys()
    for name, (array, channels, bits) in expected.items():
        shape = [str(number) for number in (*array.shape[:2], channels, bits)]
        assert found[name][:4] == shape, name
        assert float(found[name][4]) == pytest.approx(array.sum(dtype=float), rel=1e-6), name
    assert "yml: method gradcam, target 967_espresso\n" in done.stdout
    assert "json: method gradcam, target 967_espresso, files 6\n" in done.stdout


def test_arrays_of_numpy(programs, tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4), }".ljust(299) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values.tobytes()
    file = tmp_path / "values.npy"
    for content, sentence in (
        (data, f"{file}: 2 x 3 x 4, channels 1, bits 32, sum 276"),
        (data[:-4], f"{file} is not complete."),
        (data.replace(b"<f4", b"<f8"), f"{file} does not hold float32 in C order."),
        (b"\x93NUMPY\x02\x00" + data[8:], f"{file} is not a .npy file of version 1."),
    ):
        file.write_bytes(content)
        done = run(programs / "read_formats", file)
        assert done.stdout + done.stderr == sentence + "\n"
    np.save(file, values[0, 0])
    # A matrix has two axes before OpenCV 5.
    assert re.search(r"npy: 4( x 1)?,", run(programs / "read_formats", file).stdout)


@pytest.mark.parametrize("program", ["explain", "explain_dnn"])
def test_programs_say_what_is_wrong(programs, plain, cats, tmp_path, program):
    model = MODELS / "squeezenet1_1.onnx"
    overlay = tmp_path / "overlay.png"
    for file, given, sentence in (
        (model, [COFFEE, overlay], "The model is not a file of `onnxplain export`."),
        (plain.path, ["no.png", overlay], "no.png is not a picture that OpenCV can read."),
        (plain.path, [model, overlay], f"{model} is not a picture that OpenCV can read."),
        (plain.path, [COFFEE, overlay, "cup"], "cup is not the index of a class."),
        (cats.path, [COFFEE, overlay, "3"], f"only one target, {CATS}: name no other."),
    ):
        done = run(programs / program, file, *given)
        assert done.returncode == 1
        assert done.stderr.endswith(sentence + "\n")
        assert not overlay.exists()
    assert run(programs / program, model).returncode == 2
