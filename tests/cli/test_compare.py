import json

import cv2
import numpy as np
import pytest

GAP, CELL = 10, 224


def cells(path, columns, row=0):
    """Every column of a row of a comparison, without the heading."""
    drawn = cv2.imread(str(path))[..., ::-1].astype(int)
    top = GAP + 48 + row * (CELL + 31 + 48)
    return [drawn[top : top + CELL, GAP + i * (CELL + GAP) :][:, :CELL] for i in range(columns)]


def test_methods_stand_beside_the_photograph(cli, model, picture, tmp_path):
    outcome = cli("compare", model, picture, "-m", "cam,occlusion", "-o", "maps", "--window", "2")
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"{picture}: 0_red_fox -> maps/red.compare.png\n"
    photograph, cam, occlusion = cells(tmp_path / "maps/red.compare.png", 3)
    original = cv2.imread(str(picture))[..., ::-1]
    enlarged = cv2.resize(original, (CELL, CELL), interpolation=cv2.INTER_LINEAR)
    assert np.abs(photograph - enlarged).max() <= 1
    # The class is the red color, so the red square is brightest in both maps.
    square = np.zeros((8, 8), bool)
    square[2:5, 4:8] = True
    inside = cv2.resize(square.astype(np.uint8), (CELL, CELL), interpolation=cv2.INTER_NEAREST) > 0
    for shown in (cam, occlusion):
        assert shown[inside].mean() > 2 * shown[~inside].mean()


def test_a_method_that_refuses_leaves_its_column_empty_and_the_others_go_on(
    cli, model, picture, tmp_path
):
    asked = ("-m", "cam,feature_maps,occlusion", "--channel", "7", "-o", "maps", "--json")
    outcome = cli("compare", model, picture, *asked)
    assert outcome.status == 2
    facts = json.loads(outcome.out)
    assert facts["methods"] == ["cam", "occlusion"]
    assert list(facts["refused"]) == ["feature_maps"]
    assert f"Error: {picture}, feature_maps: The layer 'planes' has no channel 7" in outcome.err
    _, cam, empty, occlusion = cells(tmp_path / facts["file"], 4)
    assert np.ptp(empty) == 0
    assert min(np.ptp(cam), np.ptp(occlusion)) > 100


def test_a_target_with_nothing_to_show_leaves_its_cell_empty(cli, model, picture, tmp_path):
    """The picture has no green: `cam` has no map of it; `feature_maps` do not depend on a class."""
    outcome = cli("compare", model, picture, "-m", "cam,feature_maps", "-t", "0,1,1", "-o", "maps")
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"{picture}: 0_red_fox, 1_green_snake -> maps/red.compare.png\n"
    sentence = f"Warning: {picture}, cam: The map of cam for 1_green_snake is the same everywhere"
    assert [line.startswith(sentence) for line in outcome.err.splitlines()] == [True]
    drawn = tmp_path / "maps/red.compare.png"
    assert [np.ptp(cell) > 100 for cell in cells(drawn, 3)] == [True, True, True]
    assert [np.ptp(cell) > 100 for cell in cells(drawn, 3, row=1)] == [True, False, True]


def test_each_method_gets_the_options_that_it_has(cli, model, picture):
    outcome = cli("compare", model, picture, "-m", "cam,rise", "--samples", "8", "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["methods"] == ["cam", "rise"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", ","], "Name the methods to compare"),
        (["-m", "cam,gradcan"], "There is no method 'gradcan'"),
        (["-m", "cam", "--samples", "8"], "None of cam has an option 'samples'."),
        (["-m", "cam", "--colormap", "no"], "no colormap 'no'"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(cli, picture, arguments, sentence):
    outcome = cli("compare", "gone.onnx", picture, *arguments)
    assert outcome.status == 2
    assert sentence in outcome.sentence
