"""The Node program gives the numbers of Python."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from .conftest import COFFEE, EXAMPLES, LABELS, MODELS

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
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert lines[0].endswith(" 967 espresso")
    assert lines[5:] == ["explained: 967 espresso", "status: 0, the map is good"]
    overlay = cv2.imread(str(tmp_path / "overlay.png"))[..., ::-1].astype(int)
    np.testing.assert_allclose(overlay, expected["overlay"], atol=1)


def test_a_file_without_a_picture_input_is_refused(program, plain, tmp_path):
    done = run("node", program / "explain.mjs", plain.path, COFFEE, tmp_path / "overlay.png")
    assert done.returncode == 1
    assert "does not take a picture: export it with --with-overlay" in done.stderr
    assert run("node", program / "explain.mjs").returncode == 2
