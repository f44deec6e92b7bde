"""Concepts of one picture: a model whose concepts, and what they matter, are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import tiny

from onnxplain import Explainer
from onnxplain.cli.app import execute
from onnxplain.errors import LayerError, MapError, OptionError, TargetError
from onnxplain.jobs import extras
from onnxplain.reports.picture_concepts import PictureConcepts, picture_concepts
from onnxplain.results.render.concepts import COLORS, draw_concepts
from onnxplain.results.render.frame import Caption

pytest.importorskip("sklearn")

SETTINGS = {"layout": "NCHW", "scale": 1, "mean": 0, "std": 1}
NODES = "a = Relu(x) p = GlobalAveragePool(a) f = Flatten(p) y = MatMul(f, W)"
WEIGHTS = np.array([[3, 1], [1, 2], [0, 1]], np.float32)


def red_and_green() -> np.ndarray:
    """The left third is red, and a part of the right side green."""
    picture = np.zeros((6, 6, 3), np.uint8)
    picture[:, :2, 0] = 100
    picture[3:, 4:, 1] = 200
    return picture


def explainer(nodes: str = NODES) -> Explainer:
    return Explainer(
        tiny(nodes, "float[N,3,6,6] x", "float[N,2] y", W=WEIGHTS), preprocess=SETTINGS
    )


def found(target: int | str = 0, **options: object) -> PictureConcepts:
    own = explainer()
    return picture_concepts(own, own.take(red_and_green()), target, **options)  # type: ignore[arg-type]


def test_two_colors_are_two_concepts() -> None:
    """The score is 3 · 33.3 m₁ + 16.7 · 1 m₂: each index is a square's share of their sum."""
    concepts = found(0, count=2, layer="a")
    picture = red_and_green().astype(np.float32)
    assert_allclose(concepts.values[0], picture[..., 0], atol=0.5)
    assert_allclose(concepts.values[1], picture[..., 1], atol=0.5)
    assert_allclose(concepts.parts, np.eye(3)[:2], atol=5e-3)
    terms = np.array([3 * 100 / 3, 1 * 200 / 6]) ** 2
    assert_allclose(concepts.importance, terms / terms.sum(), atol=0.1)
    assert concepts.explained > 0.9999
    assert concepts.score == pytest.approx(100 + 200 / 6)
    assert concepts.score_of_concepts == pytest.approx(concepts.score, rel=1e-2)


def test_the_most_important_concept_of_another_class_is_first() -> None:
    """The score of class 1 is 33.3 m₁ + 2 · 33.3 m₂."""
    concepts = found(1, count=2, layer="a")
    assert concepts.target.index == 1
    assert_allclose(concepts.values[0], red_and_green()[..., 1], atol=0.5)
    assert_allclose(concepts.importance, [0.8, 0.2], atol=0.1)


@pytest.mark.peers
def test_the_maps_are_those_of_pytorch_grad_cam() -> None:
    pytest.importorskip("torch")
    from tools.peers.maps import peer_dff

    theirs = peer_dff(red_and_green().astype(np.float32).transpose(2, 0, 1), 2)
    theirs = theirs / theirs.max((1, 2), keepdims=True)
    ours = found(0, count=2, layer="a").values
    ours = ours / ours.max((1, 2), keepdims=True)
    likeness = np.abs(ours[:, None] - theirs[None]).max((2, 3))
    assert likeness.min(1).max() < 0.01


def test_what_has_no_concepts_is_refused() -> None:
    own = explainer()
    taken = own.take(red_and_green())
    for count in (0, 11):
        with pytest.raises(OptionError, match="has 1 to 10 concepts"):
            picture_concepts(own, taken, 0, count=count)
    with pytest.raises(TargetError, match="one class"):
        picture_concepts(own, taken, "top2")
    with pytest.raises(MapError, match="no concepts"):
        picture_concepts(own, own.take(np.zeros((6, 6, 3), np.uint8)), 0, layer="a")
    beside = explainer(
        f"{NODES.replace('y = MatMul', 'z = MatMul')} q = GlobalMaxPool(x)"
        " r = Flatten(q) s = MatMul(r, W) y = Add(z, s)"
    )
    with pytest.raises(LayerError, match="not computed from 'a' alone"):
        picture_concepts(beside, beside.take(red_and_green()), 0, layer="a")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(OptionError, match=r"Finding concepts needs .*'onnxplain\[report\]'"):
        found(0)


def test_the_command_writes_a_drawing_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny(NODES, "float[N,3,6,6] x", "float[N,2] y", W=WEIGHTS)
    Path("m.onnx").write_bytes(model.SerializeToString())
    cv2.imwrite("a.png", red_and_green()[..., ::-1])
    Path("b.png").write_bytes(b"no picture")
    flags = ["--layout", "NCHW", "--scale", "1", "--mean", "0", "--std", "1"]
    command = ["concepts", "m.onnx", "a.png", "b.png", "--count", "2", "-l", "a", "-t", "0"]
    assert execute([*command, *flags, "--json"]) == 2
    shown = capsys.readouterr()
    assert "b.png" in shown.err
    facts = json.loads(shown.out)
    stem = "onnxplain-out/a.concepts.0"
    assert facts["files"] == [f"{stem}{end}" for end in (".png", ".npy", ".channels.npy", ".json")]
    written = json.loads(Path(f"{stem}.json").read_text())
    assert written == {name: fact for name, fact in facts.items() if name != "files"}
    assert written["options"] == {"count": 2, "layer": "a", "seed": 0}
    assert np.load(f"{stem}.npy").shape == (2, 6, 6)
    assert np.load(f"{stem}.channels.npy").shape == (2, 3)
    assert cv2.imread(f"{stem}.png") is not None


def test_a_region_has_the_color_of_its_largest_concept() -> None:
    """On black, a color at 65 % where a concept is strongest, and half of that at half of it."""
    picture = np.zeros((384, 384, 3), np.uint8)
    first, second = np.zeros((2, 384, 384), np.float32)
    first[:, :192], second[:, 192:] = 4, 2
    drawn = draw_concepts(picture, [first, second], ["one", "two"], Caption("title", "", ""))
    strong, weak = np.rint(0.65 * np.array(COLORS[0])), np.rint(0.325 * np.array(COLORS[1]))
    for color in (strong, weak):
        assert (drawn == color.astype(np.uint8)).all(-1).sum() == 384 * 192
