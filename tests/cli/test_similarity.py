"""Similarities on the command line: `--target similar:FILE`, `pair`, and models without classes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from .conftest import IDENTITY, color_nodes


@pytest.fixture
def pictures(paint, tmp_path):
    """A folder with two pictures: one has green added to the red square, so it is no gray one."""
    paths = [
        paint(f"photos/{name}.png", rows) for name, rows in (("a", slice(2, 5)), ("b", slice(4)))
    ]
    for i, path in enumerate(paths):
        colors = cv2.imread(str(path))
        colors[:, : 2 + 3 * i, 1] = 200
        cv2.imwrite(str(path), colors)
    return paths


@pytest.fixture
def other(tmp_path, pictures):
    """A reference whose name has a comma, a space and "@"."""
    path = tmp_path / "other, 1@2.png"
    colors = cv2.imread(str(pictures[0]))
    colors[3:, 3:, 0] = 90
    cv2.imwrite(str(path), colors)
    return path


def mean(path):
    return cv2.imread(str(path)).astype(np.float64).mean(axis=(0, 1))


def cosine(one, other):
    a, b = mean(one), mean(other)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def embedding(build):
    """Colors, and scores that a linear layer makes of them: `f` is an embedding."""
    *nodes, flat = color_nodes()
    flat.output[0] = "f"
    return build(
        [*nodes, flat, helper.make_node("MatMul", ["f", "m"], ["y"])],
        weights=(IDENTITY, ("m", np.eye(3, dtype=np.float32))),
    )


def test_a_folder_is_compared_with_one_picture(cli, model, pictures, other):
    outcome = cli(
        "run", model, "photos", "-t", f"similar:{other.name}", "-m", "occlusion", "--json"
    )
    assert outcome.status == 0, outcome.err
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [one["picture"] for one in found] == ["photos/a.png", "photos/b.png"]
    for one, path in zip(found, pictures, strict=True):
        assert one["score"]["kind"] == "cosine similarity"
        assert one["score"]["value"] == pytest.approx(cosine(path, other), abs=1e-5)
        (reference,) = one["target"]["references"]
        assert reference == {"path": other.name, "elements": 3, "text": None, "text_model": None}
        assert one["target"]["label"] == f"similarity to {other.name}"
        manifest = json.loads(Path(one["files"][-1]).read_text())
        assert manifest["target"] == one["target"]
        names = [file.rsplit("/", 1)[-1] for file in one["files"]]
        assert all(
            name.startswith(f"{path.stem}.occlusion.similar_other_1@2.png~") for name in names
        )


def test_the_line_of_a_similarity(cli, model, pictures):
    outcome = cli("run", model, "photos/a.png", "-t", "similar:photos/b.png", "-m", "gradcam")
    score = f"{cosine(*pictures):.4g}"
    assert outcome.out.startswith("photos/a.png: similar_b.png~"), outcome.out
    assert (
        f", cosine similarity {score}, layer planes -> onnxplain-out/a.gradcam.similar_b.png~"
        in outcome.out
    )


def test_a_folder_that_holds_the_reference(cli, model, pictures):
    """A gradient shows nothing of a picture and itself; the other pictures are explained."""
    outcome = cli("run", model, "photos", "-t", "similar:photos/b.png", "-m", "hirescam")
    assert outcome.status == 2
    assert "photos/b.png: The score of 'similarity to b.png' is already at its limit" in outcome.err
    assert outcome.out.startswith("photos/a.png: ")


def test_several_references(cli, model, pictures, other):
    given = ("similar:photos/b.png", f"similar:{other}", f"similar:photos/b.png - similar:{other}")
    flags = [flag for target in given for flag in ("-t", target)]
    outcome = cli("run", model, "photos/a.png", *flags, "-m", "occlusion", "--json")
    scores = [json.loads(line)["score"]["value"] for line in outcome.out.splitlines()]
    one, two = cosine(*pictures), cosine(pictures[0], other)
    np.testing.assert_allclose(scores, [one, two, one - two], atol=1e-5)


@pytest.mark.parametrize("name", ["none.png", "none.npy"])
def test_a_reference_that_is_none(cli, model, pictures, name):
    outcome = cli("run", model, "photos/a.png", "-t", f"similar:{name}", "-m", "occlusion")
    assert outcome.status == 2
    assert outcome.sentence.startswith(f"The reference {name} cannot be used: ")


def test_a_pair(cli, model, pictures, tmp_path):
    outcome = cli("pair", model, "photos/a.png", "photos/b.png", "-m", "occlusion", "-o", "maps")
    assert outcome.status == 0, outcome.err
    first, second, drawn = outcome.out.splitlines()
    assert first.startswith("photos/a.png: similar_b.png~")
    assert second.startswith("photos/b.png: similar_a.png~")
    assert drawn == "-> maps/a.b.pair.occlusion.png"
    names = sorted(path.name for path in (tmp_path / "maps").glob("*.png"))
    pair, one, two = (cv2.imread(str(tmp_path / "maps" / name)) for name in names)
    assert pair.shape[1] == one.shape[1] + two.shape[1]
    np.testing.assert_array_equal(pair[:, : one.shape[1]], one)
    np.testing.assert_array_equal(pair[:, one.shape[1] :], two)


def test_a_pair_of_one_picture(cli, model, pictures):
    sentence = cli("pair", model, "photos/a.png", "photos/a.png").sentence
    assert sentence == "A pair is two different pictures, and both are photos/a.png."


def test_a_pair_is_what_run_saves(cli, model, pictures, tmp_path):
    cli("pair", model, *pictures, "-m", "gradcam", "-o", "pair", "-f", "npy")
    cli(
        "run",
        model,
        pictures[0],
        "-t",
        f"similar:{pictures[1]}",
        "-m",
        "gradcam",
        "-o",
        "run",
        "-f",
        "npy",
    )
    (file,) = (tmp_path / "run").iterdir()
    np.testing.assert_array_equal(np.load(tmp_path / "pair" / file.name), np.load(file))


def test_a_pair_as_json(cli, model, pictures):
    outcome = cli("pair", model, *pictures, "-m", "occlusion", "--json")
    *found, drawn = (json.loads(line) for line in outcome.out.splitlines())
    assert [one["picture"] for one in found] == [str(path) for path in pictures]
    assert drawn == {"file": "onnxplain-out/a.b.pair.occlusion.png"}


def test_a_pair_is_two_pictures(cli, model, pictures, paint):
    paint("photos/c.png")
    for other in (pictures[0], "photos"):
        outcome = cli("pair", model, pictures[0], other)
        assert outcome.status == 2
        assert outcome.sentence.startswith("A pair is two different pictures")


def test_a_pair_with_a_picture_that_cannot_be_read(cli, model, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    outcome = cli("pair", model, pictures[0], "broken.png", "-m", "occlusion")
    assert outcome.status == 2
    assert outcome.sentence.startswith("The reference broken.png cannot be used: ")


def test_an_embedding_has_no_classes(cli, build, pictures):
    model = embedding(build)
    for target in ([], ["-t", "3"], ["-t", "red wolf"]):
        outcome = cli("run", model, pictures[0], "--output", "f", *target)
        assert outcome.status == 2
        assert "is an embedding (the layer MatMul 'y' comes after it)" in outcome.sentence
        assert "--target similar:PICTURE" in outcome.sentence
    assert cli("run", model, pictures[0], "--output", "f", "-m", "eigencam").status == 0
    assert cli("run", model, pictures[0], "--output", "f", "-t", "element:1").status == 0
    assert cli("run", model, pictures[0], "-t", "green snake").status == 0


def test_inspect_tells_an_embedding(cli, build):
    model = embedding(build)
    facts = json.loads(cli("inspect", model, "--output", "f", "--json").out)
    assert facts["embedding"] == {"sign": "the layer MatMul 'y' comes after it"}
    assert facts["labels"] is None
    assert json.loads(cli("inspect", model, "--json").out)["embedding"] is None
    text = cli("inspect", model, "--output", "f").out
    assert "comes after it; explain it with --target similar:PICTURE" in text
