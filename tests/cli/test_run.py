import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from onnxplain.runtime import backend

# The red square of the picture, in the model's first channel.
SQUARE = np.zeros((8, 8), np.float32)
SQUARE[2:5, 4:8] = 1
SHARE = 12 / 64
SECONDS = r"[\d.e-]+ s for each picture\."


@pytest.fixture
def colorful(tmp_path):
    """A picture in which no color is constant; red scores highest, then green, then blue."""
    noise = np.random.default_rng(0).integers(0, 60, (8, 8, 3)) + np.array([0, 60, 120])
    cv2.imwrite(str(tmp_path / "colorful.png"), noise.astype(np.uint8))
    return tmp_path / "colorful.png"


def explained(outcome):
    assert outcome.status == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def manifest(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_saves_what_the_method_computed_and_prints_a_line(cli, model, picture, tmp_path):
    outcome = cli("run", model, picture, "-m", "cam", "-o", "maps")
    stem = "maps/red.cam.0_red_fox"
    assert outcome.status == 0
    assert outcome.out == (
        f"{picture}: 0 red fox, Vulpes vulpes, logit 0.1875, layer planes -> "
        f"{stem}{{.npy,.heatmap.npy,.png,.json}}\n"
    )
    assert re.fullmatch(rf"Ran on CPUExecutionProvider, {SECONDS}\n", outcome.err)
    np.testing.assert_array_equal(np.load(tmp_path / f"{stem}.npy"), SQUARE)
    np.testing.assert_array_equal(np.load(tmp_path / f"{stem}.heatmap.npy"), SQUARE)


def test_json_is_all_there_is_on_standard_output(cli, model, paint, monkeypatch):
    monkeypatch.setattr(backend, "cores", lambda: 2)
    pictures = [paint("one.png"), paint("two.png", slice(0, 2))]
    outcome = cli("run", model, *pictures, "-m", "reciprocam", "--json")
    found = explained(outcome)
    way = "in batches of the fastest size, up to 2 runs at the same time"
    assert [each["picture"] for each in found] == [str(path) for path in pictures]
    assert found[0] == {
        "picture": str(pictures[0]),
        "method": "reciprocam",
        "layers": ["planes"],
        "target": {
            "name": "0_red_fox",
            "index": 0,
            "label": "red fox, Vulpes vulpes",
            "region": None,
            "boxes": [],
            "references": [],
            "read": None,
            "output": None,
            "box": None,
        },
        "score": {"kind": "logit", "value": SHARE, "tensor": "y"},
        "provider": "CPUExecutionProvider",
        "batching": way,
        "files": [
            f"onnxplain-out/one.reciprocam.0_red_fox{ending}"
            for ending in (".npy", ".heatmap.npy", ".png", ".json")
        ],
    }
    assert all(Path(file).stat().st_size for each in found for file in each["files"])
    assert re.fullmatch(rf"Ran on CPUExecutionProvider, {way}, {SECONDS}\n", outcome.err)


def test_quiet_says_nothing(cli, build, picture):
    outcome = cli("run", build(sidecar=False), picture, "-m", "cam", "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_pictures_of_one_name_get_files_of_their_own(cli, model, paint):
    paint("a/cat.png"), paint("b/cat.png", slice(0, 2))
    found = explained(cli("run", model, "a", "b/*.png", "-m", "cam", "-f", "npy", "--json"))
    assert [each["files"][0] for each in found] == [
        "onnxplain-out/cat.cam.0_red_fox.npy",
        "onnxplain-out/cat-2.cam.0_red_fox.npy",
    ]
    assert [np.load(each["files"][0]).sum() for each in found] == [12, 8]


@pytest.mark.parametrize(
    ("targets", "indices"),
    [
        ([], [0]),
        (["top2"], [0, 1]),
        (["2"], [2]),
        (["0,2"], [0, 2]),
        (["2", "top1"], [2, 0]),
        (["green snake"], [1]),
        (["red fox, Vulpes vulpes"], [0]),
        (["red wolf, green snake"], [2, 1]),
        (["Vulpes vulpes,top1,0"], [0]),
    ],
)
def test_targets(cli, model, colorful, targets, indices):
    flags = [word for target in targets for word in ("-t", target)]
    found = explained(cli("run", model, colorful, "-m", "cam", "--json", *flags))
    assert [each["target"]["index"] for each in found] == indices


def test_indices_between_commas_name_one_element_where_classes_have_maps(cli, build, picture):
    segmenter = build([helper.make_node("Relu", ["x"], ["y"])], weights=(), output=("N", 3, 8, 8))
    found = explained(
        cli("run", segmenter, picture, "-m", "occlusion", "-t", "0,3,5", "--json", "--window", 1)
    )
    assert [each["target"]["name"] for each in found] == ["element 0,3,5"]
    lost = np.load(found[0]["files"][0])[0]
    assert (lost[3, 5], np.count_nonzero(lost)) == (1, 1)


@pytest.mark.parametrize(
    ("fill", "quarters"),
    [
        ("black", [[0, 8], [0, 4]]),
        ("white", [[-16, -8], [-16, -12]]),
        ("full.png", [[-16, -8], [-16, -12]]),
        ("twos.npy", [[-32, -24], [-32, -28]]),
    ],
)
def test_options_reach_the_method(cli, model, picture, paint, tmp_path, fill, quarters):
    paint("full.png", slice(None), slice(None))
    np.save(tmp_path / "twos.npy", np.full((1, 3, 8, 8), 2, np.float32))
    flags = ["-m", "occlusion", "--window", "4", "--stride", "4x4", "--fill", fill, "-f", "npy"]
    found = explained(cli("run", model, picture, *flags, "--json"))
    lost = np.load(found[0]["files"][0])[0]
    np.testing.assert_allclose(lost[::4, ::4], np.divide(quarters, 64), atol=1e-6)


def test_only_what_was_given_is_passed_on(cli, model, picture, tmp_path):
    cli("run", model, picture, "-m", "rise", "--samples", 20, "--keep", 0.4, "--score", "logit")
    assert manifest(tmp_path / "onnxplain-out")["parameters"] == {
        "score": "logit",
        "smooth": "none",
        "samples": 20,
        "grid": 7,
        "keep": 0.4,
        "seed": 0,
        "baseline": "black",
    }


def test_preprocessing_flags_replace_single_settings(cli, model, picture):
    found = explained(cli("run", model, picture, "-m", "cam", "--json", "--scale", "1", "--std", 2))
    assert found[0]["score"]["value"] == pytest.approx(255 / 2 * SHARE)


def test_other_inputs_labels_output_and_input_by_name(cli, build, picture, tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    path = build(nodes, weights=())
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("Mul", ["y", "gain"], ["louder"]))
    for place, name, shape in (
        (proto.graph.input, "gain", ("N", 1)),
        (proto.graph.output, "louder", ("N", 3)),
    ):
        place.append(helper.make_tensor_value_info(name, 1, shape))
    path.write_bytes(proto.SerializeToString())
    np.save(tmp_path / "gain.npy", np.array([[3]], np.float32))
    (tmp_path / "names.txt").write_text("rot\ngrün\nblau\n", encoding="utf-8")
    flags = ["--input", "gain=gain.npy", "--labels", "names.txt", "--output", "louder"]
    outcome = cli("run", path, picture, "-m", "occlusion", "--explain", "x", *flags, "--json")
    (found,) = explained(outcome)
    assert found["target"]["label"] == "rot"
    assert found["score"] == {"kind": "logit", "value": 3 * SHARE, "tensor": "louder"}


def test_labels_that_are_too_few_are_warned_of_in_one_line(cli, model, picture, tmp_path):
    (tmp_path / "names.txt").write_text("fox\nsnake\n")
    outcome = cli("run", model, picture, "-m", "occlusion", "--labels", "names.txt")
    assert outcome.status == 0
    (warning,) = [line for line in outcome.err.splitlines() if "labels" in line]
    assert warning.startswith("Warning: ")
    assert "The labels (names.txt) are a list of 2, and the model has 3 classes" in warning
    (tmp_path / "names.json").write_text('{"0": "fox", "2": "wolf"}')
    assert "labels" not in cli("run", model, picture, "-m", "cam", "--labels", "names.json").err


@pytest.mark.parametrize("command", [("run", "-m"), ("compare", "--methods")])
def test_the_same_warning_is_printed_once(cli, model, picture, tmp_path, command):
    (tmp_path / "names.txt").write_text("fox\nsnake\n")
    others = [tmp_path / name for name in ("second.png", "third.png")]
    for other in others:
        other.write_bytes(picture.read_bytes())
    name, flag = command
    outcome = cli(name, model, picture, *others, flag, "occlusion", "--labels", "names.txt")
    lines = outcome.err.splitlines()
    assert [line.startswith("Warning: ") for line in lines if "labels" in line] == [True]
    assert "Note: 2 more maps had one of these warnings." in lines


def test_an_inner_tensor_as_output(cli, build, picture):
    """The model rounds at its end: the logits 12/64, 0 and 0 are all 0 after rounding."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"], "conv"),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Round", ["flat"], ["y"], "round"),
    ]
    path = build(nodes)
    asked = ("run", path, picture, "-m", "input_x_gradient", "-t", "0")
    assert "explain 'flat', the tensor before it, as output" in cli(*asked).sentence
    (found,) = explained(cli(*asked, "--output", "flat", "--json"))
    assert found["score"] == {"kind": "logit", "value": SHARE, "tensor": "flat"}
    np.testing.assert_allclose(np.load(found["files"][0])[0], SQUARE / 64)
    facts = json.loads(Path(found["files"][-1]).read_text())["model"]
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["path"] == str(path)


def test_a_guess_is_announced_once_in_one_line_and_can_be_corrected(cli, build, paint):
    path = build(sidecar=False)
    pictures = paint("one.png"), paint("two.png", slice(0, 2))
    note, *others = cli("run", path, *pictures, "-m", "cam").err.splitlines()
    assert "the preprocessing is a guess" in note
    assert f"`onnxplain inspect {path} --write-sidecar`" in note
    assert not any("guess" in line.replace(str(path), "") for line in others)
    used = json.loads(cli("inspect", path, "--json").out)["preprocess"]

    assert cli("inspect", path, "--write-sidecar").status == 0
    again = cli("run", path, *pictures, "-m", "cam").err
    assert "is the guess that was written to" in again
    assert "remove its line 'origin'" in again
    sidecar = path.with_name("model.onnxplain.json")
    content = json.loads(sidecar.read_text())
    del content["preprocess"]["origin"]
    sidecar.write_text(json.dumps(content))
    assert "guess" not in cli("run", path, *pictures, "-m", "cam").err.replace(str(path), "")
    read = json.loads(cli("inspect", path, "--json").out)["preprocess"]
    assert {**read, "origin": ""} == {**used, "origin": ""}

    again = cli("inspect", path, "--write-sidecar")
    assert again.status == 2
    assert "exists: edit it" in again.err


def test_folders_in_folders_are_searched_on_request(cli, model, paint, tmp_path):
    inner = tmp_path / "photos" / "of cats"
    inner.mkdir(parents=True)
    paint("red.png").rename(inner / "red, cat.png")
    refused = cli("run", model, tmp_path / "photos", "-m", "cam")
    assert refused.status == 2
    assert "holds no pictures, and --recursive searches the folders in it" in refused.err
    out = tmp_path / "maps"
    assert cli("run", model, tmp_path / "photos", "-r", "-m", "cam", "-o", out).status == 0
    names = [path.name for path in (out / "of_cats").iterdir()]
    assert len(names) == 4
    assert all(name.startswith("red_cat.cam.") for name in names)


def test_many_runs_are_announced(cli, model, picture, tmp_path):
    def facts(samples):
        flags = "-m", "rise", "--samples", str(samples), "-o", tmp_path
        return cli("run", model, picture, *flags).err

    assert "Note: rise runs the model 2,001 times for one picture" in facts(2001)
    assert "Note" not in facts(2000)


def test_verbose_says_what_was_used_and_what_it_cost(cli, model, picture, tmp_path):
    text = cli("run", model, picture, "-m", "occlusion", "--window", "4", "-v", "-o", tmp_path).err
    assert "Preprocessing from: sidecar model.onnxplain.json." in text
    assert re.search(r"\d+ forwards; smooth=none, score=logit, window=4, ", text)


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        (("N", 3, 8, 8), "in batches of the fastest size"),
        ((1, 3, 8, 8), r"in batches of the fastest size \(the fixed batch of 1 rewritten\)"),
    ],
)
def test_says_how_samples_were_run(cli, build, picture, shape, how):
    outcome = cli("run", build(shape=shape, output=(shape[0], 3)), picture, "-m", "scorecam")
    assert re.search(rf"Ran on CPUExecutionProvider, {how}, {SECONDS}\n$", outcome.err)


def test_formats_and_colormap(cli, model, picture, tmp_path):
    cli("run", model, picture, "-m", "cam", "-f", "tiff, png16,yml,png", "-o", "a")
    cli("run", model, picture, "-m", "cam", "-f", "png", "--colormap", "jet", "-o", "b")
    endings = {path.name.removeprefix("red.cam.0_red_fox") for path in (tmp_path / "a").iterdir()}
    assert endings == {".tiff", ".heatmap16.png", ".yml", ".png"}
    overlays = [(tmp_path / f"{folder}/red.cam.0_red_fox.png").read_bytes() for folder in "ab"]
    assert overlays[0] != overlays[1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_with_total_and_rate_on_a_terminal_only(model, picture, tmp_path, terminal):
    pty = pytest.importorskip("pty")
    reader, writer = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "onnxplain", "run", model, picture, "-m", "rise", "--json"]
    done = subprocess.run(
        [*map(str, command), "--samples", "2000", "--batch-size", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=writer,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
        timeout=60,
        check=True,
    )
    os.close(writer)
    drawn = b"".join(iter(lambda: _read(reader), b""))
    os.close(reader)
    assert json.loads(done.stdout)["method"] == "rise"
    assert (b"/2000" in drawn, b"/s" in drawn, b"\x1b" in drawn) == (terminal,) * 3


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # raised at the end of a terminal
        return b""


def test_one_bad_picture_does_not_stop_the_others(cli, model, paint, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paint("black.png", slice(0))
    good = [paint("first.png"), paint("last.png", slice(0, 2))]
    outcome = cli("run", model, good[0], "broken.png", "black.png", good[1], "-m", "cam", "--json")
    assert outcome.status == 2
    assert [json.loads(line)["picture"] for line in outcome.out.splitlines()] == [
        str(path) for path in good
    ]
    broken, black, _ = outcome.err.splitlines()
    assert broken.startswith("Error: broken.png is not a picture")
    assert black.startswith("Error: black.png: The map of cam for 0_red_fox is the same")


def test_one_target_with_nothing_to_show_does_not_stop_the_others(cli, model, paint):
    """The picture is red, so that only the first class has a map."""
    pictures = [paint("one.png"), paint("two.png", slice(0, 2))]
    outcome = cli("run", model, *pictures, "-m", "cam", "-t", "top3,1", "--json")
    assert outcome.status == 2
    facts = [json.loads(line) for line in outcome.out.splitlines()]
    assert [one["picture"] for one in facts] == [str(path) for path in pictures]
    assert [one["target"]["index"] for one in facts] == [0, 0]
    assert all(Path(file).exists() for one in facts for file in one["files"])
    *errors, _ = outcome.err.splitlines()
    assert [error.split(" is the same everywhere (0)")[0] for error in errors] == [
        f"Error: {path}: The map of cam for {target}"
        for path in pictures
        for target in ("1_green_snake", "2_red_wolf")
    ]


def test_one_picture_too_small_for_the_model_does_not_stop_the_others(cli, build, paint, tmp_path):
    model = build(shape=("N", 3, "H", "W"))
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 9, np.uint8))
    last = paint("last.png")
    asked = ("-m", "ablationcam", "--size", "picture", "--json")
    outcome = cli("run", model, "dot.png", last, *asked)
    assert outcome.status == 2
    assert [json.loads(line)["picture"] for line in outcome.out.splitlines()] == [str(last)]
    assert outcome.err.startswith("Error: dot.png: No layer between the input and the score")


def test_regions_of_a_segmenter(cli, build, picture):
    """A class's score in a pixel is that pixel's color."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    segmenter = build(nodes, output=("N", 3, 8, 8))
    arguments = ["run", segmenter, picture, "-m", "occlusion", "--window", "1"]
    targets = ["-t", "red fox", "-t", "top1@4,2,0@box:3,0,2,8"]
    facts = [one["target"] for one in explained(cli(*arguments, *targets, "--json"))]
    places = ["predicted", "4,2", "box:3,0,2,8"]
    assert [one["region"]["where"] for one in facts] == places
    assert [one["region"]["pixels"] for one in facts] == [64, 1, 16]
    assert [one["name"] for one in facts][2] == "0_red_fox@box_3-0-2-8"
    line = cli(*arguments, "-t", "0@box:3,0,2,8").out  # three of its pixels are red
    assert "0 red fox, Vulpes vulpes @ box:3,0,2,8, 16 pixels, logit 0.1875 -> " in line


def test_auto_says_at_the_end_which_method_it_was_and_why(cli, model, picture, tmp_path):
    outcome = cli("run", model, picture, "-o", tmp_path)
    first, _ = outcome.err.splitlines()
    assert first == (
        "Method: hirescam, at the layer 'planes', whose grid is 8 x 8; --method names another."
    )
    assert list(tmp_path.glob("*.hirescam.*.json"))
    assert "Method" not in cli("run", model, picture, "-m", "cam", "-o", tmp_path).err


def test_a_sidecar_with_labels_alone_gets_the_guess_added(cli, build, picture):
    path = build(sidecar=False)
    sidecar = path.with_name("model.onnxplain.json")
    sidecar.write_text(json.dumps({"labels": ["a", "b", "c"]}))
    assert "writes it to a file" in cli("run", path, picture, "-m", "cam").err
    assert cli("inspect", path, "--write-sidecar").status == 0
    content = json.loads(sidecar.read_text())
    assert content["labels"] == ["a", "b", "c"]
    assert content["preprocess"]["fit"]
