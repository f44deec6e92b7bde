"""The shipped detector has the form of Ultralytics' files, and finds the digits of its scenes."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import onnxplain

MODELS = Path(__file__).parents[1] / "models"
FILE = MODELS / "digit_detector.onnx"
README = (MODELS / "README.md").read_text(encoding="utf-8")
SCENES = {
    f"{folder}/{name}": [(item["class"], item["box"]) for item in facts["objects"]]
    for folder in ("scenes", "detector_scenes")
    for name, facts in json.loads((MODELS / folder / "scenes.json").read_text("utf-8")).items()
}
OWN = [name for name in SCENES if name.startswith("detector_scenes/")]
SIDE, STRIDES = 128, (8, 16)
CELLS = sum((SIDE // stride) ** 2 for stride in STRIDES)
# What a digit in a scene is taken for, where the README says that it is a mistake.
MISTAKES = {("detector_scenes/nine_zero.png", 9): 3}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(FILE)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(FILE, options, providers=["CPUExecutionProvider"])


def read_rgb(name: str) -> np.ndarray:
    return np.asarray(Image.open(MODELS / name).convert("RGB"))


def tensor(name: str) -> np.ndarray:
    """The picture at the model's size (1, 3, 128, 128), 0..1: the README's preprocessing."""
    resized = cv2.resize(read_rgb(name), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two boxes left, top, right, bottom."""
    shared = np.prod(np.clip(np.minimum(one, other)[2:] - np.maximum(one, other)[:2], 0, None))
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def found(output: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Class and box of each detection: NMS at IoU 0.5 of the rows above 0.25, the surest first."""
    cx, cy, w, h = output[:4]
    boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    sure, classes = output[4:].max(0), output[4:].argmax(0)
    kept: list[tuple[int, np.ndarray]] = []
    for cell in np.argsort(-sure):
        if sure[cell] >= 0.25 and all(iou(boxes[cell], box) <= 0.5 for _, box in kept):
            kept.append((int(classes[cell]), boxes[cell]))
    return kept


def test_the_graph_is_what_the_readme_says(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == ("images", "output0")
    sizes = [
        [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]
        for info in (taken, given)
    ]
    assert sizes == [["batch", 3, SIDE, SIDE], ["batch", 4 + len(DIGITS), CELLS]]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert all(node.name.startswith("/model/") for node in model.graph.node)
    # The exporter would store file names of the machine that trained the model.
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert FILE.stat().st_size < 1e6


def test_the_metadata_is_as_ultralytics_writes_it(model: onnx.ModelProto) -> None:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert {"description", "author", "license", "source"} < metadata.keys()
    assert (metadata["task"], metadata["batch"], metadata["stride"]) == ("detect", "1", "16")
    assert ast.literal_eval(metadata["imgsz"]) == [SIDE, SIDE]
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(DIGITS))


def test_onnxplain_needs_no_sidecar() -> None:
    explainer = onnxplain.Explainer(FILE, provider="cpu")
    assert explainer.labels is not None
    assert explainer.labels.names == dict(enumerate(DIGITS))
    assert (explainer.labels.origin, len(explainer.labels)) == ("model metadata", 10)


def test_a_batch_gives_what_single_pictures_give(session: onnxruntime.InferenceSession) -> None:
    tensors = [tensor(name) for name in OWN[:2]]
    singles = [session.run(None, {"images": one})[0] for one in tensors]
    (batch,) = session.run(None, {"images": np.concatenate(tensors)})
    assert singles[0].shape == (1, 4 + len(DIGITS), CELLS)
    assert batch.shape == (2, 4 + len(DIGITS), CELLS)
    np.testing.assert_allclose(batch, np.concatenate(singles), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", SCENES)
def test_cells_are_in_the_order_of_the_grids(
    session: onnxruntime.InferenceSession, name: str
) -> None:
    output = session.run(None, {"images": tensor(name)})[0][0]
    assert output[4:].min() >= 0
    assert output[4:].max() <= 1
    centers, first = [], 0
    for stride in STRIDES:
        side = SIDE // stride
        index = np.arange(side**2)
        centers.append(np.stack([index % side, index // side]) * stride + stride / 2)
        first += side**2
    # A distance is at most 7 strides, and a box contains the center of its cell.
    apart = np.abs(output[:2] - np.concatenate(centers, 1))
    assert np.all(apart <= output[2:4] / 2 + 1e-3)


@pytest.mark.parametrize("name", SCENES)
def test_it_finds_the_digits_of_its_scenes(
    session: onnxruntime.InferenceSession, name: str
) -> None:
    scale = SIDE / read_rgb(name).shape[0]
    right = {digit: scale * np.array(box) for digit, box in SCENES[name]}
    detections = found(session.run(None, {"images": tensor(name)})[0][0])
    best, box = detections[0]
    assert iou(box, right[best]) >= 0.5

    answers = {MISTAKES.get((name, digit), digit): box for digit, box in right.items()}
    assert sorted(digit for digit, _ in detections) == sorted(answers)
    assert all(iou(box, answers[digit]) >= 0.5 for digit, box in detections)


@pytest.mark.parametrize("name", OWN)
def test_the_readme_knows_every_scene_by_its_hash(name: str) -> None:
    digest = hashlib.sha256((MODELS / name).read_bytes()).hexdigest()
    assert f"| `{name}` | `{digest}` |" in README
