"""Text recognizers on the command line."""

import json

import cv2
import pytest
from column_recognizer import picture, recognizer

PREPROCESS = {"scale": 1 / 255, "interpolation": "nearest"}


@pytest.fixture
def files(tmp_path):
    """A recognizer with its characters in the sidecar, and a picture of "abbc"."""
    model, image = tmp_path / "reader.onnx", tmp_path / "line.png"
    model.write_bytes(recognizer().SerializeToString())
    sidecar = {"preprocess": PREPROCESS, "labels": ["a", "b", "c"]}
    model.with_name("reader.onnxplain.json").write_text(json.dumps(sidecar))
    cv2.imwrite(str(image), picture("aa-b-bc-")[..., ::-1])
    return model, image


def test_inspect_says_how_the_text_is_held(cli, files):
    model, _ = files
    outcome = cli("inspect", model)
    line = next(line for line in outcome.out.splitlines() if line.startswith("text "))
    assert line.split(maxsplit=1)[1] == (
        "recognizer (T, N, C), 4 classes, blank 0 (read at all steps of pictures of one color), "
        "3 characters"
    )
    assert "size 8 x auto" in outcome.out
    facts = json.loads(cli("inspect", model, "--json").out)
    assert (facts["text"]["blank"], facts["text"]["axes"]) == (0, "(T, N, C)")


def test_inspect_says_what_is_not_known(cli, tmp_path):
    model = tmp_path / "fixed.onnx"
    model.write_bytes(recognizer(width=32).SerializeToString())
    outcome = cli("inspect", model, "--scale", "1")
    assert "blank not known: --blank, characters not known: --labels FILE" in outcome.out


def test_inspect_lists_the_characters(cli, files):
    model, image = files
    lines = cli("inspect", model, "--picture", image).out.splitlines()
    assert lines[0].startswith("text  'abbc', log probability -")
    assert [line.split()[:2] for line in lines[1:]] == [
        ["char:1", "'a'"],
        ["char:2", "'b'"],
        ["char:3", "'b'"],
        ["char:4", "'c'"],
    ]
    assert [line.split(maxsplit=3)[3] for line in lines[1:]] == [
        "steps 0-1",
        "step 3",
        "step 5",
        "step 6",
    ]
    found = json.loads(cli("inspect", model, "--picture", image, "--json").out)
    assert (found["text"], found["steps"]) == ("abbc", 8)
    assert [one["class"] for one in found["characters"]] == [1, 2, 2, 3]


def test_every_listed_name_is_a_target(cli, files, tmp_path):
    model, image = files
    listed = json.loads(cli("inspect", model, "--picture", image, "--json").out)["characters"]
    names = ",".join(one["target"] for one in listed)
    outcome = cli(
        "run", model, image, "-m", "gradient", "-t", names, "-t", "step:2,1", "-f", "json"
    )
    assert outcome.status == 0, outcome.err
    read = {
        file.name: json.loads(file.read_text())["target"]["read"]
        for file in tmp_path.glob("onnxplain-out/*.json")
    }
    assert read["line.gradient.char1_a_steps_0-1_abbc.json"]["steps"] == [0, 1]
    assert read["line.gradient.step_2_class1_a_abbc.json"]["character"] is None
    assert len(read) == 5


def test_the_text_is_the_default(cli, files):
    model, image = files
    outcome = cli("run", model, image, "-m", "gradient", "-f", "json")
    assert 'line.png: text "abbc", mean logit of 4 characters' in outcome.out
    assert "Note: class 0 is taken for the blank, as it is read at all steps" in outcome.err
    given = cli("run", model, image, "-m", "gradient", "-f", "json", "--blank", "first")
    assert "blank" not in given.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-t", "char:9"], "There is no character 9 in this picture: the text 'abbc' has 4"),
        (["-t", "a"], "name what this text recognizer reads as text, char:3, step:4 or step:4,17"),
        (["-t", "step:3,4"], "There is no class 4: the answer has 4, 0 to 3."),
        (["--blank", "4"], "The blank is given as '4': it is first, last, or the index"),
        (["--size", "8xwide"], "HEIGHTxauto for a width that follows"),
        (["--size", "8xauto", "--fit", "crop"], "keep their proportions: use fit 'stretch'"),
    ],
)
def test_bad_use(cli, files, flags, words):
    model, image = files
    outcome = cli("run", model, image, "-m", "gradient", *flags)
    assert outcome.status == 2
    assert words in outcome.err


def test_the_blank_may_be_given_or_noted(cli, tmp_path, files):
    _, image = files
    model = tmp_path / "fixed.onnx"
    model.write_bytes(recognizer(width=32).SerializeToString())
    arguments = ["inspect", model, "--picture", image, "--json", "--scale", str(1 / 255)]
    assert "--blank first" in cli(*arguments).sentence
    assert json.loads(cli(*arguments, "--blank", "first").out)["text"] == "[1][2][2][3]"
    model.with_name("fixed.onnxplain.json").write_text(
        json.dumps({"blank": 0, "labels": ["", *"xyz"]})
    )
    assert json.loads(cli(*arguments).out)["text"] == "xyyz"


def test_compare_takes_characters(cli, files):
    model, image = files
    outcome = cli("compare", model, image, "--methods", "hirescam,gradient", "-t", "char:1,text")
    assert outcome.status == 0, outcome.err
    assert "char1_a_steps_0-1_abbc, text_abbc" in outcome.out


def test_a_sidecar_keeps_the_width_open(cli, tmp_path):
    model = tmp_path / "own.onnx"
    model.write_bytes(recognizer().SerializeToString())
    assert cli("inspect", model, "--write-sidecar").status == 0
    written = json.loads(model.with_name("own.onnxplain.json").read_text())
    assert written["preprocess"]["size"] == [8, None]
    assert "size 8 x auto" in cli("inspect", model).out
