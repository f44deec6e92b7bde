"""The Node program gives the numbers of Python."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest

import onnxplain

from .conftest import CATS, COFFEE, EXAMPLES, LABELS, MODELS, shown_in

pytestmark = pytest.mark.native

# Writes the numbers of an explanation to files.
DRIVER = """
import { writeFileSync } from "node:fs";
import { argv } from "node:process";
import { explain } from "./explain.mjs";

const [model, picture, target, folder] = argv.slice(2);
const { answer, values, heatmap, overlay, ...rest } = await explain(model, picture, target);
const shapes = {};
for (const [name, { data, dims }] of Object.entries({ answer, values, heatmap, overlay })) {
  writeFileSync(`${folder}/${name}`, data);
  shapes[name] = dims;
}
console.log(JSON.stringify({ ...rest, shapes }));
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The folder of the program, with what it needs installed as its README says."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("explain.mjs", "package.json"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    (folder / "driver.mjs").write_text(DRIVER, encoding="utf-8")
    done = run("npm", "install", "--ignore-scripts", "--prefix", folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("picture", ["coffee.png", "rocket.jpg"])
@pytest.mark.parametrize("target", [-1, 504, 1000])
def test_numbers(program, drawn, tmp_path, picture, target):
    path = MODELS / "pictures" / picture
    expected = drawn.run([target], picture=cv2.imread(str(path))[..., ::-1])
    done = run("node", program / "driver.mjs", drawn.path, path, target, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected["answer"] = expected["prob"]
    for name, shape in found["shapes"].items():
        array = np.fromfile(tmp_path / name, expected[name].dtype).reshape(shape)
        # A number that is rounded to a gray level may be next to the border between two.
        tolerance = 1 if name == "overlay" else 2e-6 * max(1, np.abs(expected[name]).max())
        np.testing.assert_allclose(array.astype(float), expected[name], atol=tolerance)
    assert found["status"] == expected["status"]
    assert found["explained"] == expected["explained"]
    assert found["labels"] == LABELS


def test_what_the_command_prints_and_draws(program, drawn, tmp_path):
    expected = drawn.run([-1], picture=cv2.imread(str(COFFEE))[..., ::-1])
    done = run("node", program / "explain.mjs", drawn.path, COFFEE, tmp_path / "overlay.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == shown_in(EXAMPLES / "node")
    overlay = cv2.imread(str(tmp_path / "overlay.png"))[..., ::-1].astype(int)
    np.testing.assert_allclose(overlay, expected["overlay"], atol=1)


def test_a_segmenter_where_its_class_is_predicted(program, segmenter, tmp_path):
    picture = cv2.imread(str(COFFEE))[..., ::-1]
    region = np.zeros((1, *picture.shape[:2]), np.uint8)
    expected = segmenter[True].run([1], picture=picture, region=region)
    done = run("node", program / "driver.mjs", segmenter[True].path, COFFEE, 1, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["explained"]) == (0, 1)
    heatmap = np.fromfile(tmp_path / "heatmap", np.float32).reshape(found["shapes"]["heatmap"])
    np.testing.assert_allclose(heatmap, expected["heatmap"], atol=2e-6)


def test_a_file_with_one_target(program, tmp_path):
    model = tmp_path / "cats.onnx"
    onnxplain.export(
        MODELS / "squeezenet1_1.onnx", model, "gradcam", target="281-282", with_overlay=True
    )
    done = run("node", program / "explain.mjs", model, COFFEE, tmp_path / "overlay.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"explained: {CATS}\nstatus: 0, the map shows something\n")
    done = run("node", program / "explain.mjs", model, COFFEE, tmp_path / "overlay.png", 3)
    assert done.returncode == 1
    assert done.stderr == f"The file explains only one target, {CATS}: name no other.\n"


def test_the_program_says_what_is_wrong(program, plain, drawn, tmp_path):
    model, text = MODELS / "squeezenet1_1.onnx", MODELS / "README.md"
    for file, given, sentence in (
        (model, [COFFEE], f"{model} is not a file of onnxplain export."),
        (text, [COFFEE], f"{text} is not a file of onnxplain export."),
        (plain.path, [COFFEE], "does not take a picture: export it with --with-overlay."),
        (drawn.path, [COFFEE, "cup"], "cup is not the index of a class."),
    ):
        picture, *target = given
        done = run("node", program / "explain.mjs", file, picture, tmp_path / "o.png", *target)
        assert done.returncode == 1
        assert done.stderr.endswith(sentence + "\n")
    assert run("node", program / "explain.mjs").returncode == 2
