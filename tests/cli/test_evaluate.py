import json

import cv2
import numpy as np
import pytest

METRICS = "deletion,relevance_mass_accuracy,sparseness"
ASKED = ("-m", "cam,occlusion", "--window", "2", "--metric-option", "deletion.steps=8")


@pytest.fixture
def mask(picture, tmp_path):
    """The red square of the picture."""
    folder = tmp_path / "masks"
    folder.mkdir()
    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:5, 4:8] = 255
    size = cv2.imread(str(picture)).shape[:2]
    large = cv2.resize(drawn, size[::-1], interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(folder / f"{picture.stem}.png"), large)
    return folder


def test_the_table_is_printed_drawn_and_resumed(cli, model, picture, mask, tmp_path):
    asked = (
        "evaluate",
        model,
        picture,
        *ASKED,
        "--metrics",
        METRICS,
        "--annotations",
        mask,
        "-o",
        "ev",
    )
    outcome = cli(*asked)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == (
        "method deletion ↓ relevance_mass_accuracy ↑ sparseness forwards backwards seconds".split()
    )
    assert [line.split()[0] for line in lines[1:5]] == [
        "cam",
        "occlusion",
        "centered_blob",
        "noise",
    ]
    assert "With fewer than 6 inputs the sign test tells no two methods apart" in outcome.out
    assert "Recommended: " in outcome.out
    assert "Warning: deletion: a picture with removed places is unlike" in outcome.err
    facts = json.loads((tmp_path / "ev/evaluation.json").read_text())
    inside = facts["methods"]["cam"]["metrics"]["relevance_mass_accuracy"]["mean"]
    blob = facts["methods"]["centered_blob"]["metrics"]["relevance_mass_accuracy"]["mean"]
    assert inside > 0.5 > blob
    assert cv2.imread(str(tmp_path / "ev/evaluation.png")).shape[0] > 600
    records = (tmp_path / "ev/evaluation.jsonl").read_bytes()
    assert len(records.splitlines()) == 12
    again = cli(*asked, "--json")
    assert (tmp_path / "ev/evaluation.jsonl").read_bytes() == records
    assert json.loads(again.out)["methods"] == facts["methods"]


def test_a_metric_that_does_not_apply_is_reported_and_the_others_go_on(cli, model, picture):
    outcome = cli("evaluate", model, picture, *ASKED, "--metrics", "deletion,completeness,iou")
    assert outcome.status == 2
    assert "Error: cam, completeness: " in outcome.err
    assert "iou compares with where the object is: name its annotations" in outcome.err
    assert "deletion: " in outcome.out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--metrics", "delete"), "There is no metric 'delete'"),
        (("--metrics", ","), "Name metrics to use, such as --metrics deletion,road."),
        (("-m", ""), "Name methods to use"),
        (("-m", "nothing"), "There is no method 'nothing'"),
        (("--metric-option", "deletion.steps"), "takes METRIC.NAME=VALUE, not 'deletion.steps'"),
        (("--metric-option", "road.noise=1"), "which --metrics does not name"),
        (("--metric-option", "deletion.steps=many"), "takes a whole number as steps"),
        (("--metric-option", "deletion.size=3"), "deletion has no option 'size'"),
        (("--annotations", "nowhere.json"), "nowhere.json does not exist"),
        (("-m", "cam", "--metrics", "completeness"), "are not parts of a score"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence(cli, model, picture, asked, words):
    outcome = cli("evaluate", model, picture, *asked)
    assert outcome.status == 2
    assert words in outcome.sentence


def test_quality_is_in_the_manifest_and_in_the_caption(cli, model, picture, tmp_path):
    plain = cli("run", model, picture, "-m", "cam", "-o", "plain")
    outcome = cli("run", model, picture, "-m", "cam", "-o", "maps", "--quality")
    assert plain.status == outcome.status == 0, outcome.err
    (path,) = (tmp_path / "maps").glob("*.json")
    manifest = json.loads(path.read_text())
    assert list(manifest["quality"]) == ["deletion", "insertion", "max_sensitivity"]
    assert manifest["quality"]["deletion"]["better"] == "lower"
    assert manifest["quality"]["deletion"]["value"] < manifest["quality"]["insertion"]["value"]
    # The class is the mean of a color, so the map does not change more than the picture.
    assert 0 <= manifest["quality"]["max_sensitivity"]["value"] < 0.1
    (png,) = (tmp_path / "maps").glob("*.png")
    assert png.read_bytes() != (tmp_path / "plain" / png.name).read_bytes()
    values = path.with_suffix(".npy").name
    assert (tmp_path / "maps" / values).read_bytes() == (tmp_path / "plain" / values).read_bytes()
    assert "quality" not in json.loads((tmp_path / "plain" / path.name).read_text())


def test_quality_is_not_for_texts(cli, model):
    outcome = cli("run", model, "--text", "a b", "--quality")
    assert outcome.sentence == "--quality is for pictures and arrays, not for texts."
