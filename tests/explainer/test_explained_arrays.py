"""`explain` for arrays in the form of the model's input, from files and from Python."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explainer.formulas import Array, linear, model, noise, noise_picture
from numpy.testing import assert_allclose, assert_array_equal
from onnx import ModelProto, TensorProto, helper

from onnxplain import Explainer, Explanation
from onnxplain.errors import (
    GradientError,
    LayerError,
    MapError,
    ModelError,
    OptionError,
    PictureError,
    PreprocessError,
)

WEIGHTS = noise(2, 5, 6, 7)
SCENE = noise(5, 6, 7, seed=1)


def scenes(**options: Any) -> Explainer:
    """Linear in the 5 bands of a scene."""
    return Explainer(linear("5,6,7", WEIGHTS), **options)


def product(x: Array = SCENE) -> Array:
    """What `input_x_gradient` is for class 0 of `scenes`."""
    return np.asarray(WEIGHTS[0] * x)


def scaled(heat: Array) -> Array:
    return (heat - heat.min()) / (heat.max() - heat.min())


@pytest.mark.parametrize("x", [SCENE, SCENE[None], SCENE.astype(np.float64)])
def test_a_scene_is_taken_as_it_is(x: Array) -> None:
    found = scenes().explain(x, "input_x_gradient", 0)
    assert_allclose(found.values, product(), rtol=1e-5)
    heat = product().sum(axis=0)
    most = np.percentile(np.abs(heat), 99)  # as in `gradient.capped`
    assert_allclose(found.heatmap, scaled(np.clip(heat, -most, most)), atol=1e-5)
    assert_allclose(found.score, product().sum() + 1, rtol=1e-5)
    assert found.array is not None
    assert (found.kind, found.array.shape, found.array.bands) == ("scene", (5, 6, 7), (1, 2, 3))
    assert found.provenance.preprocess["origin"] == "as the model takes it"


@pytest.mark.parametrize(
    "given", [SCENE, np.moveaxis(SCENE, 0, -1), np.moveaxis(SCENE, 0, -1)[None]]
)
def test_channels_are_moved_only_where_the_array_does_not_fit(tmp_path: Path, given: Array) -> None:
    np.save(tmp_path / "x.npy", given)
    assert_allclose(
        scenes().explain(tmp_path / "x.npy", "input_x_gradient", 0).values, product(), rtol=1e-5
    )


def test_channels_of_a_signal_are_moved() -> None:
    signal = noise(5, 30)
    made = model(
        "g (float[N,5,30] x) => (float[N,5] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
    )
    for given in (signal, signal.T, signal.T[None]):
        found = Explainer(made).explain(given, "input_x_gradient", 2)
        assert_allclose(found.values[2], signal[2] / 30, rtol=1e-5)


def test_samples_of_one_array_have_files_of_their_own(tmp_path: Path) -> None:
    samples = noise(3, 5, 6, 7)
    for found in scenes().explain_many([samples], "input_x_gradient", 0):
        found.save(tmp_path, "npy")
    assert len(list(tmp_path.iterdir())) == 3


def test_channels_that_could_be_moved_in_two_ways_are_not_moved() -> None:
    made = model("g (float[N,5,H,W] x) => (float[N,5,1,1] y) { y = GlobalAveragePool(x) }")
    with pytest.raises(PictureError, match=r"of shape \(5, .*\), and .* of shape \(8, 5, 5\)"):
        Explainer(made).explain(noise(8, 5, 5), "occlusion", 0)


def test_bands_are_drawn_by_their_percentiles_counted_from_one() -> None:
    found = scenes(arrays={"bands": "3,2,5"}).explain(SCENE, "input_x_gradient", 0)
    for color, band in enumerate((2, 1, 4)):
        low, high = np.percentile(SCENE[band], [2, 98])
        expected = np.rint(255 * np.clip((SCENE[band] - low) / (high - low), 0, 1))
        assert np.abs(found.picture[..., color] - expected).max() <= 1
    assert found.array is not None
    assert found.array.bands == (3, 2, 5)
    assert_allclose(found.array.value_range[0], np.percentile(SCENE[2], [2, 98]), rtol=1e-5)


def test_one_band_is_gray_between_the_values_that_are_given() -> None:
    arrays = {"bands": 4, "value_range": (-1, 1)}
    found = scenes(arrays=arrays).explain(SCENE, "input_x_gradient", 0)
    gray = np.rint(255 * np.clip((SCENE[3].astype(np.float64) + 1) / 2, 0, 1))
    assert_array_equal(found.picture, np.repeat(gray[..., None], 3, axis=-1))


def test_values_that_are_not_finite_are_drawn_black() -> None:
    x = np.where(np.arange(7) == 2, np.nan, SCENE)
    made = model("g (float[N,5,6,7] x) => (float[N,5,1,1] y) { z = IsNaN(x) w = Where(z, n, x)"
                 " y = GlobalAveragePool(w) }", n=np.zeros(1))  # fmt: skip
    found = Explainer(made).explain(x, "occlusion", 0, window=1)
    assert not found.picture[:, 2].any()
    assert found.picture[:, 3].any()


def test_mean_and_std_of_each_band_are_applied_and_the_raw_values_are_drawn() -> None:
    raw = np.random.default_rng(0).integers(0, 3000, (5, 6, 7), np.uint16)
    mean, std = [0.1, 0.2, 0.3, 0.4, 0.5], [1, 2, 3, 4, 5]
    settings = {"scale": 0.001, "mean": mean, "std": std}
    explainer = scenes(preprocess=settings, arrays={"value_range": "0,2999"})
    found = explainer.explain(raw, "input_x_gradient", 0)
    x = (raw * 0.001 - np.reshape(mean, (5, 1, 1))) / np.reshape(std, (5, 1, 1))
    assert_allclose(found.values, product(x), rtol=1e-4, atol=1e-6)
    assert np.abs(found.picture - np.moveaxis(raw[:3], 0, -1) / 2999 * 255).max() <= 0.51
    assert found.provenance.preprocess == {
        "scale": 0.001, "mean": tuple(mean), "std": tuple(std), "origin": "given"
    }  # fmt: skip


def test_settings_that_do_not_fit() -> None:
    for settings, sentence in {
        ("size", 8): "setting size has no effect: the model takes arrays",
        ("mean", (1, 2)): "mean holds 2 numbers for 5 channels",
        ("std", 0): "a scale or std is zero",
    }.items():
        with pytest.raises(PreprocessError, match=sentence):
            scenes(preprocess=dict([settings])).explain(SCENE, "occlusion")
    for name, value, sentence in (
        ("bands", "0,1,2", "counted from 1"),
        ("bands", (1, 2), "one channel or three"),
        ("bands", "1.5", "bands takes whole numbers"),
        ("value_range", (3, 2), "LOW below HIGH, not 3,2"),
        ("value_range", "3", "value_range takes two numbers"),
        ("colors", 3, "no setting 'colors' of arrays: choose bands, value_range, names"),
    ):
        with pytest.raises(OptionError, match=sentence):
            scenes(arrays={name: value})
    with pytest.raises(OptionError, match="no band 6: the array has 5"):
        scenes(arrays={"bands": 6}).explain(SCENE, "occlusion")


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(PictureError, match=r"sizes|shape \(5, 6, 7\).*\(5, 6, 8\)"):
        scenes().explain(noise(5, 6, 8))
    with pytest.raises(PictureError, match=r"takes 4 axes, the batch first.*\(6, 7\)"):
        scenes().explain(noise(6, 7))
    with pytest.raises(PictureError, match="holds 2 samples, and one is explained"):
        scenes().explain(noise(2, 5, 6, 7))
    with pytest.raises(ModelError, match="no picture"):
        scenes().explain(b"bytes of a picture")


def test_several_samples_in_one_file_or_array(tmp_path: Path) -> None:
    x = noise(3, 5, 6, 7)
    np.save(tmp_path / "x.npy", x)
    for given in (tmp_path / "x.npy", x):
        found = list(scenes().explain_many([given, SCENE], "input_x_gradient", 0))
        for one, own in zip(found, [*x, SCENE], strict=True):
            assert_allclose(one.values, product(own), rtol=1e-5)
    files = [p.name for one in found[:2] for p in one.save(tmp_path / "out", "npy")]
    assert files == [f"picture{end}.input_x_gradient.0.npy" for end in ("", "-2")]
    from_file = scenes().explain_many([tmp_path / "x.npy"], "input_x_gradient", 0)
    files = [p.name for one in from_file for p in one.save(tmp_path / "out", "npy")]
    assert files == [f"x-{i}.input_x_gradient.0.npy" for i in range(3)]


@pytest.mark.parametrize("planes", ["separate", "contig"])
def test_a_tiff_file_is_a_scene_for_a_model_that_takes_no_pictures(
    tmp_path: Path, planes: str
) -> None:
    tifffile = pytest.importorskip("tifffile")
    raw = np.random.default_rng(0).integers(0, 3000, (5, 6, 7), np.uint16)
    tifffile.imwrite(
        tmp_path / "x.tif",
        raw if planes == "separate" else np.moveaxis(raw, 0, -1),
        photometric="minisblack",
        planarconfig=planes,
    )
    for axes in ("5,6,7", "6,7,5"):
        text = f"g (float[N,{axes}] x) => (float[N,2] y) {{"
        text += " t = Transpose<perm=[0,3,1,2]>(x)" if axes[0] == "6" else " t = Identity(x)"
        made = model(text + " f = Flatten(t) y = MatMul(f, w) }", w=WEIGHTS.reshape(2, -1).T)
        found = Explainer(made).explain(tmp_path / "x.tif", "input_x_gradient", 0)
        expected = product(raw) if axes[0] == "5" else np.moveaxis(product(raw), 0, -1)
        assert_allclose(found.values, expected, rtol=1e-4)
        assert found.heatmap.shape == (6, 7)
        assert found.array is not None
        assert found.array.dtype == "uint16"


def test_slices_of_a_tiff_file_and_axes_that_do_not_fit(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    raw = noise(3, 4, 5)
    tifffile.imwrite(tmp_path / "x.tif", raw, photometric="minisblack")
    made = model("g (float[N,1,3,4,5] x) => (float[N,2,1,1,1] y) { c = Conv(x, k)"
                 " y = GlobalAveragePool(c) }", k=noise(2, 1, 1, 1, 1))  # fmt: skip
    found = Explainer(made).explain(tmp_path / "x.tif", "input_x_gradient", 0)
    assert_allclose(found.values, noise(2, 1, 1, 1, 1)[0] * raw[None] / 60, rtol=1e-4)
    tifffile.imwrite(tmp_path / "y.tif", noise(2, 3, 4, 5), photometric="minisblack")
    for explainer in (Explainer(made), Explainer(linear("7", ROW_WEIGHTS))):
        with pytest.raises(PictureError, match=r"the axes QQYX of the sizes \(2, 3, 4, 5\), which"):
            explainer.explain(tmp_path / "y.tif", "occlusion")


def test_a_model_for_pictures_takes_arrays_as_they_are_too(tmp_path: Path) -> None:
    """A .npy file, or an array with a batch axis; without one it is an RGB picture."""
    weights, x = noise(2, 3, 6, 7), noise(3, 6, 7, seed=1)
    explainer = Explainer(linear("3,6,7", weights), preprocess={"fit": "stretch"})
    np.save(tmp_path / "x.npy", x)
    for given in (x[None], tmp_path / "x.npy"):
        found = explainer.explain(given, "input_x_gradient", 0)
        assert_allclose(found.values, weights[0] * x, rtol=1e-5)
    assert explainer.explain(noise_picture(), "input_x_gradient", 0).array is None


# ---- Rows


ROW = noise(7, seed=1)
ROW_WEIGHTS = noise(2, 7)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("auto", {}),
        ("input_x_gradient", {}),
        ("integrated_gradients", {}),
        ("deeplift", {}),
        ("lrp", {"composite": "epsilon"}),
        ("kernelshap", {}),
    ],
)
def test_of_a_linear_score_each_feature_gets_weight_times_value(
    method: str, options: dict[str, str]
) -> None:
    """By default what is absent is 0, and occlusion covers one feature at a time."""
    found = Explainer(linear("7", ROW_WEIGHTS)).explain(ROW, method, 0, **options)
    expected = ROW_WEIGHTS[0] * ROW
    assert_allclose(found.values, expected, rtol=1e-3, atol=1e-5)
    low, high = min(0, expected.min()), max(0, expected.max())
    assert_allclose(found.heatmap, (expected - low) / (high - low), atol=1e-3)
    assert found.kind == "row"
    assert_array_equal(found.picture[:, 0], ROW)


def test_the_scale_of_a_row_starts_at_zero_so_equal_values_are_no_error() -> None:
    found = Explainer(linear("4", np.ones((1, 4)))).explain(np.full(4, 3.0), "occlusion", 0)
    assert found.heatmap_range == (0, 3)
    assert_array_equal(found.heatmap, np.ones(4))
    with pytest.raises(MapError, match="the same everywhere"):
        Explainer(linear("4", np.zeros((1, 4)))).explain(np.ones(4), "occlusion", 0)


def test_shapley_values_against_a_baseline_row() -> None:
    train = noise(50, 7, seed=3)
    explainer = Explainer(linear("7", ROW_WEIGHTS))
    mean = train.mean(axis=0, keepdims=True)
    found = explainer.explain(ROW, "kernelshap", 0, baseline=mean)
    assert_allclose(found.values, ROW_WEIGHTS[0] * (ROW - mean[0]), atol=1e-4)


def test_expected_gradients_over_the_rows_of_a_background() -> None:
    train = noise(50, 7, seed=3)
    found = Explainer(linear("7", ROW_WEIGHTS)).explain(
        ROW, "expected_gradients", 0, baselines=train, samples=200, seed=0
    )
    drawn = np.random.default_rng(0).integers(50, size=200)
    assert_allclose(found.values, ROW_WEIGHTS[0] * (ROW - train[drawn].mean(axis=0)), atol=1e-4)


def test_names_of_features(tmp_path: Path) -> None:
    names = [f"column {i}" for i in range(7)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n\n")
    for given in (names, ",".join(names), tmp_path / "names.txt", str(tmp_path / "names.txt")):
        explainer = Explainer(linear("7", ROW_WEIGHTS), arrays={"names": given})
        found = explainer.explain(ROW, "occlusion", 0)
        assert found.array is not None
        assert found.array.names == tuple(names)
    with pytest.raises(OptionError, match=r"2 names, and .* shape \(7,\)"):
        Explainer(linear("7", ROW_WEIGHTS), arrays={"names": "a,b"}).explain(ROW)


def tree(*, zipmap: bool) -> ModelProto:
    """x0 <= 0: .9 for class 0, .1 for class 1; else x1 <= 1: .6, .4; else .2, .8."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0] * 5,
        "nodes_nodeids": [0, 1, 2, 3, 4],
        "nodes_featureids": [0, 0, 1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.0, 0, 1, 0, 0],
        "nodes_truenodeids": [1, 0, 3, 0, 0],
        "nodes_falsenodeids": [2, 0, 4, 0, 0],
        "nodes_missing_value_tracks_true": [0] * 5,
        "class_treeids": [0] * 6,
        "class_nodeids": [1, 1, 3, 3, 4, 4],
        "class_ids": [0, 1] * 3,
        "class_weights": [0.9, 0.1, 0.6, 0.4, 0.2, 0.8],
        "classlabels_int64s": [0, 1],
    }
    ml = "ai.onnx.ml"
    nodes = [
        helper.make_node(
            "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain=ml, **attributes
        )
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, ["N"])]
    if zipmap:
        nodes.append(
            helper.make_node("ZipMap", ["scores"], ["z"], domain=ml, classlabels_int64s=[0, 1])
        )
        value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, value))
        outputs.append(helper.make_value_info("z", kind))
    else:
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "tree", [x], outputs)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ml, 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize("zipmap", [False, True])
def test_a_tree_has_no_gradient_and_auto_covers_its_features(zipmap: bool) -> None:
    explainer = Explainer(tree(zipmap=zipmap))
    found = explainer.explain(np.array([1.0, 2.0, 3.0]), target=1)
    assert found.method == "occlusion"
    assert_allclose(found.score, 0.8, rtol=1e-6)
    assert found.score_kind == "output"
    assert_allclose(found.values, [0.8 - 0.1, 0.8 - 0.4, 0], atol=1e-6)
    with pytest.raises(GradientError, match="a method without gradients, such as occlusion"):
        explainer.explain(np.array([1.0, 2.0, 3.0]), "gradient", 1)


def test_shapley_values_of_a_tree() -> None:
    """Against zeros: S(x0, x1) is .8, S(x0) .4, and .1 without x0."""
    found = Explainer(tree(zipmap=True)).explain(np.array([1.0, 2.0, 3.0]), "kernelshap", 1)
    assert_allclose(found.values, [0.5 * (0.3 + 0.7), 0.5 * (0 + 0.4), 0], atol=1e-6)


# ---- Signals and volumes


def convolutional(*sizes: int, last: bool = False) -> ModelProto:
    """Class scores Σ_k w_k mean(c_k), c_k = Σ_j K_kj x_j, of an input (3, *sizes) of any rank."""
    dims = ",".join(map(str, (*sizes, 3) if last else (3, *sizes)))
    rank = len(sizes) + 2
    turned = [0, rank - 1, *range(1, rank - 1)]
    first = f"t = Transpose<perm={turned}>(x)" if last else "t = Identity(x)"
    text = f"g (float[N,{dims}] x) => (float[N,2] y) {{ {first} c = Conv(t, k)"
    text += " p = GlobalAveragePool(c) f = Flatten(p) y = MatMul(f, w) }"
    return model(text, k=KERNEL.reshape(4, 3, *[1] * len(sizes)), w=CLASSES)


KERNEL, CLASSES = noise(4, 3), noise(4, 2, seed=1)
OF_LAYERS = {
    "hirescam": lambda c, w, n: np.tensordot(w, c, 1) / n,
    "cam": lambda c, w, n: np.tensordot(w, c, 1),
    "gradcam": lambda c, w, n: np.maximum(np.tensordot(w, c, 1) / n, 0),
    "layercam": lambda c, w, n: np.maximum(np.tensordot(np.maximum(w, 0), c, 1) / n, 0),
    "reciprocam": lambda c, w, n: np.tensordot(w, c, 1) / n,
    "feature_maps": lambda c, w, n: c,
}
"""Formulas of activations c, (4, ...), the weights w of a class, and n cells."""


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("sizes", [(9,), (3, 4, 5)])
@pytest.mark.parametrize("method", OF_LAYERS)
def test_maps_of_layers_along_one_axis_and_three(
    method: str, sizes: tuple[int, ...], last: bool
) -> None:
    x = noise(3, *sizes, seed=2)
    given = np.moveaxis(x, 0, -1) if last else x
    found = Explainer(convolutional(*sizes, last=last)).explain(given, method, 1)
    activation = np.tensordot(KERNEL, x, 1)
    values = OF_LAYERS[method](activation, CLASSES[:, 1], np.prod(sizes))
    assert_allclose(found.values, values, rtol=1e-4, atol=1e-6)
    heat = values.mean(axis=0) if method == "feature_maps" else values
    assert_allclose(found.heatmap, scaled(heat), atol=1e-5)


@pytest.mark.parametrize("sizes", [(9,), (3, 4, 5)])
def test_principal_maps_along_one_axis_and_three(sizes: tuple[int, ...]) -> None:
    x = noise(3, *sizes, seed=2)
    found = Explainer(convolutional(*sizes)).explain(x, "eigencam", 1).values
    cells = np.tensordot(KERNEL, x, 1).reshape(4, -1).T.astype(np.float64)
    projected = cells @ np.linalg.svd(cells)[2][0]
    expected = (projected * np.sign(projected.sum())).reshape(sizes)
    assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "method",
    ["auto", "gradcam++", "smooth_gradcam++", "xgradcam", "ablationcam", "eigengradcam", "kpcacam"],
)
@pytest.mark.parametrize("sizes", [(12,), (2, 3, 2)])
def test_maps_of_layers_do_not_depend_on_how_the_cells_are_arranged(
    method: str, sizes: tuple[int, ...]
) -> None:
    """The convolution is pointwise, so the same values in rows and columns have the same maps."""
    x = noise(3, *sizes, seed=2)
    found = Explainer(convolutional(*sizes)).explain(x, method, 1).values
    flat = Explainer(convolutional(4, 3), preprocess={"fit": "stretch"})
    expected = flat.attribute(x.reshape(1, 3, 4, 3), method, 1).values[0]
    if method == "smooth_gradcam++":  # the noise is drawn in the shape of the input
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.5
    else:
        assert_allclose(found.ravel(), expected.ravel(), rtol=1e-4, atol=1e-6)


def test_several_layers_along_one_axis_are_refused() -> None:
    made = model("g (float[N,3,9] x) => (float[N,4] y) { c = Conv(x, k) r = Relu(c)"
                 " p = GlobalAveragePool(r) y = Flatten(p) }", k=KERNEL[..., None])  # fmt: skip
    with pytest.raises(LayerError, match="several layers need rows and columns"):
        Explainer(made).explain(noise(3, 9), "gradcam", 0, layer="c,r")


@pytest.mark.parametrize("kind", ["signal", "volume", "row", "scene"])
def test_every_kind_is_saved_in_every_format(tmp_path: Path, kind: str) -> None:
    explainer, x = {
        "signal": (Explainer(convolutional(9)), noise(3, 9)),
        "volume": (Explainer(convolutional(3, 4, 5)), noise(3, 3, 4, 5)),
        "row": (Explainer(linear("7", ROW_WEIGHTS)), ROW),
        "scene": (scenes(), SCENE),
    }[kind]
    found = explainer.explain(x, "input_x_gradient", 0)
    assert found.kind == kind
    files = {p.suffix: p for p in found.save(tmp_path, "npy,heatmap,png,json,tiff,png16,yml")}
    assert_array_equal(np.load(tmp_path / "picture.input_x_gradient.0.npy"), found.values)
    saved = cv2_read(files[".tiff"])
    assert_array_equal(saved, found.heatmap.reshape(-1, found.heatmap.shape[-1]))


def cv2_read(path: Path) -> Array:
    import cv2

    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_a_fixed_batch_of_one_and_rows_of_several(tmp_path: Path) -> None:
    made = linear("7", ROW_WEIGHTS)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    np.save(tmp_path / "rows.npy", noise(3, 7))
    found = Explainer(made).explain_many([tmp_path / "rows.npy"], "occlusion", 0)
    for one, row in zip(found, noise(3, 7), strict=True):
        assert_allclose(one.values, ROW_WEIGHTS[0] * row, atol=1e-5)


def test_the_first_axis_of_an_array_is_the_batch_where_the_model_declares_no_shape(
    tmp_path: Path,
) -> None:
    made = linear("7", ROW_WEIGHTS)
    made.graph.input[0].type.tensor_type.ClearField("shape")
    np.save(tmp_path / "rows.npy", noise(3, 7))
    found = Explainer(made).explain_many([tmp_path / "rows.npy"], "occlusion", 0, fill="zeros")
    for one, row in zip(found, noise(3, 7), strict=True):
        assert_allclose(one.values, ROW_WEIGHTS[0] * row, atol=1e-5)


def test_an_explanation_says_which_sample_it_is_of(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", noise(3, 7))
    explainer = Explainer(linear("7", ROW_WEIGHTS))
    found: list[Explanation] = list(explainer.explain_many([tmp_path / "rows.npy"], "occlusion", 0))
    assert [one.source for one in found] == [
        f"{tmp_path / 'rows.npy'}, sample {i}" for i in range(3)
    ]
    assert list(itertools.chain(one.stem for one in found)) == ["rows-0", "rows-1", "rows-2"]
