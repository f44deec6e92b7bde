"""The shipped transformer classifies its scenes, and methods find the digit, whose box is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import onnxplain

MODELS = Path(__file__).parents[1] / "models"
FOLDER = MODELS / "scenes"
SCENES = json.loads((FOLDER / "scenes.json").read_text(encoding="utf-8"))
DIGITS = [
    (name, item["class"], tuple(item["box"]))
    for name, facts in SCENES.items()
    for item in facts["objects"]
]
PAIRS = [name for name, facts in SCENES.items() if len(facts["objects"]) == 2]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        MODELS / "digit_vit.onnx", options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def explainer() -> onnxplain.Explainer:
    return onnxplain.Explainer(MODELS / "digit_vit.onnx", provider="cpu")


def read_rgb(name: str) -> np.ndarray:
    return np.asarray(Image.open(FOLDER / name).convert("RGB"))


def chances(session: onnxruntime.InferenceSession, rgb: np.ndarray) -> np.ndarray:
    """Probabilities (10,), from the preprocessing that the README states."""
    tensor = ((rgb.astype(np.float32) - 127) / 64).transpose(2, 0, 1)[None]
    logits = session.run(None, {"image": np.ascontiguousarray(tensor)})[0][0]
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def test_the_graph_is_what_the_readme_says() -> None:
    model = onnx.load(MODELS / "digit_vit.onnx")
    onnx.checker.check_model(model, full_check=True)
    (taken,), (given,) = model.graph.input, model.graph.output
    sizes = [
        [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]
        for info in (taken, given)
    ]
    assert sizes == [["N", 3, 64, 64], ["N", 10]]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert [node.op_type for node in model.graph.node].count("Softmax") == 4
    assert {"name", "licence", "source"} == {entry.key for entry in model.metadata_props}
    # The exporter would store file names of the machine that trained the model.
    assert not any(node.metadata_props for node in model.graph.node)


@pytest.mark.parametrize("name", SCENES)
def test_it_names_the_digits_of_its_scenes(session: Any, name: str) -> None:
    digits = {item["class"] for item in SCENES[name]["objects"]}
    best = np.argsort(chances(session, read_rgb(name)))[::-1]
    assert set(best[: len(digits)].tolist()) == digits


@pytest.mark.parametrize(("name", "digit", "box"), DIGITS)
def test_a_digit_is_named_for_what_is_in_its_box(
    session: Any, name: str, digit: int, box: tuple[int, int, int, int]
) -> None:
    rgb = read_rgb(name).copy()
    whole = chances(session, rgb)[digit]
    left, top, right, bottom = box
    around = np.ones(rgb.shape[:2], bool)
    around[top:bottom, left:right] = False
    rgb[~around] = rgb[around].mean(0)
    assert chances(session, rgb)[digit] < whole / 3


def test_it_is_explained_at_the_normalized_tokens_before_the_last_attention(
    explainer: onnxplain.Explainer,
) -> None:
    layer = explainer.layer()
    assert (layer.op, layer.layout.axes, layer.grid) == ("LayerNormalization", "NTC", (8, 8))
    assert layer.layout.prefix == 1


# A map of noise points at about one of the six digits; at four of them once in 150 times.
POINTING: list[tuple[str, dict[str, Any], int]] = [
    ("lrp", {}, 6),
    ("occlusion", {"window": 16, "stride": 4}, 6),
    ("eigengradcam", {}, 4),
    ("layercam", {}, 4),
    ("hirescam", {}, 4),
    ("legrad", {}, 4),
]


@pytest.mark.parametrize(("method", "options", "least"), POINTING)
def test_the_hottest_pixel_is_on_the_digit(
    explainer: onnxplain.Explainer, method: str, options: dict[str, Any], least: int
) -> None:
    found = 0
    for name, digit, (left, top, right, bottom) in DIGITS:
        heat = explainer.explain(FOLDER / name, method, digit, **options).heatmap
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        found += left <= column < right and top <= row < bottom
    assert found >= least


@pytest.mark.parametrize("name", [name for name in SCENES if name not in PAIRS])
def test_attention_leads_to_the_digit(explainer: onnxplain.Explainer, name: str) -> None:
    ((left, top, right, bottom),) = (item["box"] for item in SCENES[name]["objects"])
    heat = explainer.explain(FOLDER / name, "attention_rollout").heatmap
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert left <= column < right
    assert top <= row < bottom
