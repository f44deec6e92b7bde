"""Write the models and arrays of docs/arrays.md: `python -m tools.docs.arrays FOLDER`.

With `--draw`, the picture of that page is drawn, too.

The forest is trained on the breast cancer data that scikit-learn ships. The other models find one
thing by fixed weights, in arrays that are made here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from onnxplain import Explainer
from onnxplain.tensors import Array
from tools.docs.pictures import tiled

_ROOT = Path(__file__).parents[2]


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tools.docs.arrays", description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--draw", action="store_true", help="draw docs/images/arrays.png")
    given = arguments.parse_args()
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    for write in (write_forest, write_scene, write_signal, write_volume):
        write(folder)
    if given.draw:
        drawn = cv2.cvtColor(draw(folder), cv2.COLOR_RGB2BGR)
        half = cv2.resize(drawn, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(_ROOT / "docs" / "images" / "arrays.png"), half)


def draw(folder: Path) -> Array:
    """The explanations of docs/arrays.md side by side."""
    rows: dict[str, Any] = {
        "arrays": {"names": folder / "features.txt"},
        "labels": folder / "labels.txt",
    }
    mean = np.load(folder / "mean.npy")
    found = [
        Explainer(
            folder / "water.onnx", preprocess={"scale": 0.0001}, arrays={"bands": "4,3,2"}
        ).explain(folder / "scene.tif", target=0),
        next(
            Explainer(folder / "forest.onnx", **rows).explain_many(
                [folder / "cells.npy"], "occlusion", fill=mean
            )
        ),
        Explainer(folder / "early.onnx").explain(folder / "beats.npy"),
        Explainer(
            folder / "nodule.onnx", preprocess={"scale": 0.001}, arrays={"value_range": (-50, 250)}
        ).explain(folder / "scan.npy", target=0),
    ]
    return tiled([explanation.draw() for explanation in found], columns=2)


def write_forest(folder: Path) -> None:
    """A forest on rows of 30 features, three of the rows, and the mean row."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    data = load_breast_cancer()
    forest = RandomForestClassifier(50, max_depth=6, random_state=0).fit(data.data, data.target)
    onnx.save(forest_model(forest, data.data.shape[1]), folder / "forest.onnx")
    np.save(folder / "cells.npy", data.data[[0, 19, 200]])
    np.save(folder / "mean.npy", data.data.mean(axis=0, keepdims=True))
    (folder / "features.txt").write_text("\n".join(data.feature_names) + "\n")
    (folder / "labels.txt").write_text("\n".join(data.target_names) + "\n")


def forest_model(forest: Any, features: int) -> onnx.ModelProto:
    """A fitted random forest of scikit-learn as one TreeEnsembleClassifier."""
    found: dict[str, Any] = {}

    def add(**values: Any) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value)

    for number, fitted in enumerate(forest.estimators_):
        tree = fitted.tree_
        for node in range(tree.node_count):
            leaf = tree.children_left[node] < 0
            add(
                nodes_treeids=number,
                nodes_nodeids=node,
                nodes_featureids=0 if leaf else int(tree.feature[node]),
                nodes_modes="LEAF" if leaf else "BRANCH_LEQ",
                nodes_values=0.0 if leaf else float(tree.threshold[node]),
                nodes_truenodeids=0 if leaf else int(tree.children_left[node]),
                nodes_falsenodeids=0 if leaf else int(tree.children_right[node]),
            )
            shares = tree.value[node][0] / tree.value[node][0].sum()
            for label, share in enumerate(shares if leaf else ()):
                weight = float(share) / len(forest.estimators_)
                add(class_treeids=number, class_nodeids=node, class_ids=label, class_weights=weight)
    ensemble = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_int64s=list(map(int, forest.classes_)),
        **found,
    )
    graph = helper.make_graph(
        [ensemble],
        "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["N", len(forest.classes_)]
            ),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def write_scene(folder: Path) -> None:
    """A scene of 6 bands, 16 bits, with a pond, and a model that compares two of its bands."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:128, :192]
    land = 1 + 0.25 * np.sin(x / 9) * np.cos(y / 13) + 0.1 * random.random((128, 192))
    pond = ((y - 80) / 24) ** 2 + ((x - 130) / 36) ** 2 < 1
    bright = np.array([700, 900, 1100, 2600, 2400, 1800])  # blue, green, red, near infrared, ...
    scene = bright[:, None, None] * np.where(pond, 0.35, land)
    scene[1] += 900 * pond
    import tifffile

    tifffile.imwrite(
        folder / "scene.tif",
        np.moveaxis(scene, 0, -1).astype(np.uint16),
        photometric="minisblack",
        planarconfig="contig",
    )
    weights = np.zeros((2, 6, 5, 5), np.float32)
    weights[0, 1], weights[0, 3] = 0.1, -0.1  # green above near infrared: water
    weights[1] = -weights[0]
    _save(folder / "water.onnx", "6,128,192", _CONVOLUTION.format(pads="2,2,2,2"), k=weights)


def write_signal(folder: Path) -> None:
    """A signal of one channel with one late beat, and a model that answers to beats."""
    time = np.arange(1000)
    beats = [100, 260, 420, 580, 810, 900]
    signal = sum(np.exp(-(((time - beat) / 6) ** 2)) for beat in beats)
    noisy = signal + 0.05 * np.random.default_rng(0).normal(size=1000)
    np.save(folder / "beats.npy", noisy[None].astype(np.float32))
    near = np.zeros(121, np.float32)
    near[[15, 105]] = 1  # two beats at a distance of 90
    kernel = np.convolve(near, np.exp(-((np.arange(-12, 13) / 6) ** 2)), "same") - 0.09
    weights = np.stack([kernel, -kernel])[:, None].astype(np.float32)
    _save(folder / "early.onnx", "1,1000", _CONVOLUTION.format(pads="60,60"), k=weights)


def write_volume(folder: Path) -> None:
    """A volume with a small bright ball, and a model that answers to balls of its size."""
    z, y, x = np.mgrid[:40, :64, :64]
    body = ((y - 32) / 28) ** 2 + ((x - 32) / 24) ** 2 < 1
    ball = (z - 25) ** 2 + (y - 22) ** 2 + (x - 40) ** 2 < 16
    noise = 30 * np.random.default_rng(0).normal(size=body.shape)
    np.save(folder / "scan.npy", (np.where(body, 40, 0) + 160 * ball + noise).astype(np.int16))
    r = np.arange(-4, 5)
    inside = np.add.outer(np.add.outer(r**2, r**2), r**2) < 16
    kernel = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    weights = np.stack([kernel, -kernel])[:, None].astype(np.float32)
    _save(folder / "nodule.onnx", "1,40,64,64", _CONVOLUTION.format(pads="4,4,4,4,4,4"), k=weights)


_CONVOLUTION = """c = Conv<pads=[{pads}]>(x, k) a = Relu(c) m = Mul(a, a)
    p = GlobalAveragePool(m) y = Flatten(p)"""


def _save(file: Path, shape: str, body: str, **weights: Array) -> None:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> '
        f"g (float[N,{shape}] x) => (float[N,2] y) {{ {body} }}"
    )
    model.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())
    onnx.save(model, file)


if __name__ == "__main__":
    main()
