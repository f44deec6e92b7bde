"""Exported files of a small real model, and how Python runs them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from explainer.formulas import noise
from tiny import tiny

import onnxplain
from onnxplain.images.picture import read_pixels
from onnxplain.images.preprocess import Preprocess

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MODELS = ROOT / "models"
COFFEE = MODELS / "pictures" / "coffee.png"
CATS = "281 tabby - 282 tiger cat"
LABELS = json.loads((MODELS / "imagenet_labels.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Exported:
    """An exported file, run by ONNX Runtime in Python."""

    path: Path

    def session(self):
        return ort.InferenceSession(self.path, providers=["CPUExecutionProvider"])

    def run(self, targets, **inputs):
        """All outputs by name; `targets` is None for a file with one target."""
        session = self.session()
        names = [output.name for output in session.get_outputs()]
        given = {} if targets is None else {"target": np.array(targets)}
        results = session.run(names, {**inputs, **given})
        return dict(zip(names, results, strict=True))

    def prepared(self, picture):
        """The input that the metadata asks for, and where the picture is in it."""
        metadata = self.session().get_modelmeta().custom_metadata_map
        return prepared(picture, json.loads(metadata["onnxplain.preprocess"]))


def shown_in(folder):
    """The lines that the README of a program shows as its output."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    return shown.splitlines()


def prepared(picture, settings):
    return Preprocess.from_dict(settings).apply(read_pixels(picture))


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """SqueezeNet with Grad-CAM, from a prepared picture."""
    path = tmp_path_factory.mktemp("exported") / "plain.onnx"
    onnxplain.export(MODELS / "squeezenet1_1.onnx", path, method="gradcam")
    return Exported(path)


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    """The same for one target, which is fixed in the file."""
    path = tmp_path_factory.mktemp("exported") / "cats.onnx"
    onnxplain.export(MODELS / "squeezenet1_1.onnx", path, method="gradcam", target="281-282")
    return Exported(path)


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory):
    """A segmenter with Grad-CAM, whose files have an input for a region: the file of an option."""
    made = tiny(
        "c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, first) r = Relu(c) y = Conv(r, classes)",
        "float[N,3,48,64] x",
        "float[N,4,24,32] y",
        first=noise(6, 3, 3, 3),
        classes=noise(4, 6, 1, 1, seed=1),
    )
    preprocess = Preprocess(size=(48, 64), scale=1 / 255)
    explainer = onnxplain.Explainer(made, preprocess=preprocess, labels=["a", "b", "c", "d"])
    folder = tmp_path_factory.mktemp("segmenter")
    return {
        with_overlay: Exported(
            onnxplain.export(
                explainer,
                folder / f"{with_overlay}.onnx",
                "gradcam",
                layer="r",
                with_overlay=with_overlay,
            )
        )
        for with_overlay in (False, True)
    }


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The same from a picture of any size, with an overlay."""
    path = tmp_path_factory.mktemp("exported") / "drawn.onnx"
    onnxplain.export(MODELS / "squeezenet1_1.onnx", path, method="gradcam", with_overlay=True)
    return Exported(path)
