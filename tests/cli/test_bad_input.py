import json
import types
from pathlib import Path

import onnx
import pytest
import typer
from onnx import helper

from onnxplain.cli.app import _application
from onnxplain.cli.other_names import NAMES
from onnxplain.runtime import ort, providers

SPILLED = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}


@pytest.fixture
def refused(cli):
    """The message of a command line that must fail, after a check that nothing was written."""

    def run(*arguments, status=2):
        outcome = cli("run", *arguments, "-o", "out")
        assert outcome.status == status
        assert not list(Path("out").rglob("*"))
        return outcome.sentence

    return run


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a letter to my aunt", "is not an ONNX model, or it is truncated"),
        (b"PK\x03\x04 and so on", "a zip archive, such as a PyTorch checkpoint; export it"),
    ],
)
def test_a_file_that_is_no_model(refused, picture, tmp_path, content, words):
    (tmp_path / "odd.onnx").write_bytes(content)
    sentence = refused("odd.onnx", picture)
    assert sentence.startswith("odd.onnx")
    assert words in sentence


def test_a_truncated_model(refused, model, picture):
    model.write_bytes(model.read_bytes()[:-40])
    assert "truncated: copy or export it again" in refused(model, picture)


def test_a_model_that_is_not_there(refused, picture):
    assert refused("gone.onnx", picture).startswith("There is no file gone.onnx")


@pytest.mark.parametrize(
    ("operator", "opset", "words"),
    [("Konv", 17, "No Op registered for Konv"), ("Conv", 999, "Opset 999")],
)
def test_a_model_that_onnx_runtime_refuses(refused, build, picture, operator, opset, words):
    nodes = [
        helper.make_node(operator, ["x", "w"], ["planes"]),
        helper.make_node("GlobalAveragePool", ["planes"], ["y"]),
    ]
    sentence = refused(build(nodes, opset=opset, output=("N", 3, 1, 1)), picture, "-m", "occlusion")
    assert "refuses" in sentence
    assert words in sentence


def test_external_data_that_is_missing(refused, model, picture, tmp_path):
    onnx.save(onnx.load(model), model, **SPILLED)
    (tmp_path / "weights").unlink()
    assert "The external weights 'weights' are missing" in refused(model, picture)


def test_external_data_outside_the_folder(refused, model, picture, tmp_path):
    onnx.save(onnx.load(model), model, **SPILLED)
    proto = onnx.load(model, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    model.write_bytes(proto.SerializeToString())
    (tmp_path.parent / "secret").write_bytes(bytes(1000))
    assert "'../secret', outside the model's folder: refused" in refused(model, picture)


def test_a_model_without_a_picture_input(refused, build, picture):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = build(nodes, weights=(), shape=("N", 10), output=("N", 10))
    assert "takes (N, 10) float32, which is no picture" in refused(path, picture)


def test_a_model_without_scores(refused, build, picture):
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["y"], to=onnx.TensorProto.INT64),
    ]
    proto = onnx.load(path := build(nodes, weights=()))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(proto, path)
    assert "None of the model's outputs is a float tensor" in refused(path, picture)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--channels", "GRAY"], "makes channels = 1 where it takes 3"),
        (["--size", "9"], "makes height = 9 where it takes 8"),
        (["--size", "big"], "'size' is 'big': expected a side"),
        (["--fit", "squeeze"], "'squeeze' as fit: it is one of stretch, crop, letterbox"),
    ],
)
def test_preprocessing_that_does_not_fit(refused, model, picture, flags, words):
    assert words in refused(model, picture, *flags)


def test_a_model_of_four_channels(refused, build, picture):
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    path = build(nodes, weights=(), shape=("N", 4, 8, 8), output=("N", 4, 1, 1))
    assert "(N, 4, 8, 8) float32, which is no picture" in refused(path, picture)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"neither PNG nor JPEG", "is not a picture that OpenCV can decode"),
    ],
)
def test_a_picture_that_cannot_be_read(refused, model, tmp_path, content, words):
    (tmp_path / "odd.png").write_bytes(content)
    sentence = refused(model, "odd.png")
    assert sentence.startswith("odd.png")
    assert words in sentence


def test_a_picture_cut_short(shell, model, picture):
    # In a new process: OpenCV would print warnings, which are switched off when it is loaded.
    picture.write_bytes(picture.read_bytes()[:50])
    outcome = shell("run", model, picture)
    assert outcome.status == 2
    assert "damaged or cut short" in outcome.sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.png", "gone.png does not exist"),
        ("gone*.png", "No picture matches gone*.png"),
        (".", "The folder . holds no pictures"),
    ],
)
def test_pictures_that_are_not_there(refused, model, name, words):
    assert refused(model, name).startswith(words)


def test_a_picture_of_30_000_by_30_000_is_refused_before_it_is_decoded(shell, model, large_picture):
    outcome = shell("run", model, large_picture(30_000))
    assert outcome.status == 2
    # When the pixels are read, the message says how many there are.
    assert "large.png is too large: the most is 268,435,456 pixels" in outcome.sentence


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("3", "There is no class 3: the model has 3 classes, 0 to 2."),
        ("-1", "There is no class -1"),
        ("top4", "There is no top4: the model has 3 classes."),
        ("red", "'red' fits 2 classes: 0 (red fox, Vulpes vulpes), 2 (red wolf); give one"),
        ("green snail", "No class is called 'green snail'"),
        ("green snail", "close are 1 (green snake)"),
        ("0,zebra", "No class is called 'zebra'"),
        (",", "The target '' cannot be read"),
    ],
)
def test_a_class_that_does_not_exist_or_is_not_plain(refused, model, picture, target, words):
    assert words in refused(model, picture, "-t", target)


def test_a_label_without_labels(refused, model, picture, tmp_path):
    sidecar = tmp_path / "model.onnxplain.json"
    sidecar.write_text(json.dumps({"preprocess": {"size": 8}}))
    assert "'fox' is no class index and this model has no labels" in refused(
        model, picture, "-t", "fox"
    )


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("plane", "The model has no layer 'plane' (did you mean planes?)"),
        ("pool", "'pool' has no spatial grid of more than one cell: its shape is (1, 3, 1, 1)"),
        ("y", "'y' has no rows and columns"),
    ],
)
def test_a_layer_that_does_not_exist_or_has_no_grid(refused, model, picture, layer, words):
    assert words in refused(model, picture, "-l", layer)


@pytest.mark.parametrize("layer", ["all", "planes,planes"])
@pytest.mark.parametrize(
    "method", ["guided_gradcam", "feature_maps", "vit_reciprocam", "activation_maximization"]
)
def test_several_layers_for_a_method_that_looks_at_one(refused, model, picture, method, layer):
    channel = ("--channel", "0") if method == "activation_maximization" else ()
    said = refused(model, picture, "-m", method, "-l", layer, *channel)
    assert f"{method} reads one layer, not several, and was given '{layer}'" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "scorecan"], "There is no method 'scorecan' (did you mean scorecam"),
        (["-m", "cam", "--window", "3"], "cam has no option 'window'; its own are smooth, score."),
        (["-m", "occlusion", "--window", "wide"], "such as 32x48 as window, not 'wide'"),
        (["-m", "occlusion", "--window", "9"], "window must be between 1 and the input's 8"),
        (["-m", "feature_maps", "--channel", "3"], "has no channel 3: it has 3, 0 to 2"),
        (["--samples", "many"], "Invalid value for '--samples'"),
        (["--score", "points"], "'logit' or 'probability' as score, not 'points'"),
        (["--baseline", "mauve"], "There is no baseline 'mauve': choose black"),
        (["--batch-size", "0"], "The batch size must be at least 1, and is 0."),
        (["-f", "npy,bmp"], "There is no format 'bmp'; choose from npy, heatmap, png"),
        (["--colormap", "rainbow"], "There is no colormap 'rainbow'; choose one of inferno"),
        (["--provider", "abacus"], "has no provider 'abacus' (it has"),
        (["--output", "z"], "no output or inner tensor 'z' (there is y, planes, pooled)."),
        (["--output", "poled"], "no output or inner tensor 'poled' (did you mean pooled?)."),
        (["--explain", "z"], "The model has no input 'z' (there is x)."),
        (["--labels", "gone.txt"], "gone.txt does not exist."),
        (["--input", "z"], "--input takes NAME=VALUE, not 'z'"),
        (["--input", "z=gone.npy"], "The model has no input 'z' (there is x)."),
        (["--fromat", "npy"], "--format"),
    ],
)
def test_options_that_are_unknown_or_make_no_sense(refused, model, picture, flags, words):
    assert words in refused(model, picture, *flags)


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("--output-dir", "did you mean --out?"),
        ("--output_dir", "did you mean --out?"),
        ("--device", "did you mean --provider?"),
        ("--cpu", "did you mean --provider cpu?"),
        ("--topk", "did you mean --target top5?"),
        ("--class-index", "did you mean --target?"),
        ("--image", "IMAGE is given without a flag"),
        ("--model", "MODEL is given without a flag"),
    ],
)
def test_names_that_other_programs_give_to_flags(refused, model, picture, flag, instead):
    sentence = refused(model, picture, flag, "5")
    assert sentence == f"No such option: {flag} ({instead}). See `onnxplain run --help`."


def test_a_flag_is_not_suggested_for_a_command_that_lacks_it(cli, model):
    assert "did you mean" not in cli("inspect", model, "--topk", "5").sentence


def test_names_in_other_programs_are_no_flags_here():
    run = typer.main.get_command(_application("run")).commands["run"]
    flags = {flag for parameter in run.params for flag in parameter.opts}
    arguments = {parameter.metavar for parameter in run.params}
    assert {ours.split()[0] for ours in NAMES} <= flags | arguments
    assert not flags & {other for others in NAMES.values() for other in others}


def test_a_command_that_does_not_exist(cli):
    outcome = cli("ruin")
    assert outcome.status == 2
    assert outcome.sentence.startswith("No such command 'ruin'.")
    assert outcome.sentence.endswith("See `onnxplain --help`.")


@pytest.mark.parametrize("flags", [[], ["-t", "1"]])
def test_scores_that_are_not_numbers(refused, build, picture, flags):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Sub", ["flat", "flat"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["y"]),
    ]
    sentence = refused(build(nodes, weights=()), picture, "-m", "occlusion", *flags)
    assert sentence.startswith(str(picture))
    assert "NaN" in sentence


@pytest.mark.parametrize("method", ["cam", "occlusion", "scorecam"])
def test_a_map_that_is_the_same_everywhere(refused, model, paint, method):
    black = paint("black.png", slice(0))
    assert (
        f"map of {method} for 0_red_fox is the same everywhere (0), so it shows nothing"
        in refused(model, black, "-m", method)
    )


def test_no_onnx_runtime(shell, model, picture):
    outcome = shell("run", model, picture, setup="import sys; sys.modules['onnxruntime'] = None")
    assert outcome.status == 2
    assert outcome.sentence.startswith("ONNX Runtime is not installed: run `pip install")


def test_cuda_without_its_provider(refused, model, picture):
    if "CUDAExecutionProvider" in ort.onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    sentence = refused(model, picture, "--provider", "cuda")
    assert "has no provider 'cuda'" in sentence
    assert "`pip install 'onnxplain[gpu]'` installs it" in sentence


def test_cuda_whose_libraries_do_not_load(refused, model, picture, tmp_path, monkeypatch):
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    library.parent.mkdir()
    library.write_bytes(b"no library")
    installed = types.SimpleNamespace(
        __file__=str(tmp_path / "__init__.py"),
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=lambda directory: print("Failed to load libcublas"),
    )
    monkeypatch.setattr(providers, "onnxruntime", lambda: installed)
    providers.load_failure.cache_clear()
    sentence = refused(model, picture, "--provider", "cuda")
    providers.load_failure.cache_clear()
    assert sentence.startswith("The provider CUDAExecutionProvider cannot be loaded: ")
    assert "libonnxruntime_providers_cuda.so" in sentence


@pytest.mark.parametrize(
    ("folder", "words"),
    [("red.png", "it is a file, not a folder"), ("red.png/maps", "a part of that path is a file")],
)
def test_a_folder_that_cannot_be_one_is_refused_before_the_work(cli, model, picture, folder, words):
    outcome = cli("run", model, picture, "-m", "rise", "--samples", 10**9, "-o", folder)
    assert outcome.status == 1
    assert words in outcome.sentence


@pytest.mark.parametrize("value", [["--relu", "false"], ["--relu", "true"], ["--relu=false"]])
def test_a_switch_takes_no_value(refused, model, picture, value):
    sentence = refused(model, picture, "-m", "gradcam", *value)
    assert "write --relu or --no-relu" in sentence
