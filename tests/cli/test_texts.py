"""`onnxplain run` with texts, and with numbers and pictures for other inputs."""

import json

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from texts.words import IDS, save_tokenizer
from tiny import noise, tiny

from onnxplain.images.opencv import cv2

TABLE, W = noise(len(IDS), 4), noise(4, 2, seed=1)
TEXT = "I loved it"
NUMBERS = [IDS[piece] for piece in ("i", "love", "##d", "it")]
LOST = (TABLE[NUMBERS] - TABLE[0]) @ W[:, 1]


@pytest.fixture
def model(tmp_path):
    """The score is linear in the embeddings, and the tokenizer lies next to the model."""
    made = tiny(
        """e = Gather(table, input_ids) f = Cast<to=1>(attention_mask) k = Unsqueeze(f, two)
        a = Mul(e, k) s = ReduceSum<keepdims=0>(a, one) logits = MatMul(s, W)""",
        "int64[N,T] input_ids, int64[N,T] attention_mask",
        "float[N,2] logits",
        table=TABLE, W=W, one=np.array([1]), two=np.array([2]),
    )  # fmt: skip
    onnx.save(made, tmp_path / "model.onnx")
    save_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "labels.txt").write_text("negative\npositive\n")
    return "model.onnx"


def test_a_text_from_file_to_files(cli, model, tmp_path):
    done = cli("run", model, "--text", TEXT, "-t", "positive", "--labels", "labels.txt", "-o", "o")
    assert done.status == 0
    assert "1 positive, logit" in done.out
    assert "o/I_loved_it.integrated_gradients.1_positive{.npy,.html,.json}" in done.out
    assert "Method: integrated_gradients" in done.err
    stem = tmp_path / "o" / "I_loved_it.integrated_gradients.1_positive"
    assert_allclose(np.load(f"{stem}.npy")[1:-1], LOST, atol=1e-5)
    manifest = json.loads((stem.parent / f"{stem.name}.json").read_text())
    tokens = manifest["text"]["tokens"]
    assert manifest["text"]["texts"] == [TEXT]
    assert [(token["token"], token["start"], token["end"]) for token in tokens[1:4]] == [
        ("i", 0, 1), ("love", 2, 6), ("##d", 6, 7)
    ]  # fmt: skip
    assert_allclose([token["value"] for token in tokens[1:-1]], LOST, atol=1e-5)
    assert manifest["absent"] == {"baseline": {"token": "[PAD]", "id": 0}}
    assert manifest["preprocess"]["tokenizer"].endswith("tokenizer.json")
    assert [word["word"] for word in manifest["text"]["words"]][1:3] == ["I", "loved"]


def test_several_texts_and_a_fill(cli, model, tmp_path):
    flags = ["-m", "occlusion", "--fill", "mask", "-t", "top2", "--json", "-f", "json"]
    done = cli("run", model, "--text", TEXT, "--text", "I loved it, not", "--text", " ", *flags)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["text"]["texts"] for line in lines] == [[TEXT]] * 2 + [["I loved it, not"]] * 2
    assert {line["absent"]["fill"]["token"] for line in lines} == {"[MASK]"}
    assert done.status == 2
    assert done.err.endswith("The text is empty: give at least one word.\n")
    assert len(list((tmp_path / "onnxplain-out").iterdir())) == 4


def test_a_pair_of_texts(cli, model):
    done = cli("run", model, "--text", TEXT, "--text-pair", "not bad", "--json", "-f", "npy")
    (line,) = map(json.loads, done.out.splitlines())
    assert line["text"]["texts"] == [TEXT, "not bad"]
    assert [token["text"] for token in line["text"]["tokens"]][-3:] == [1, 1, None]
    refused = cli("run", model, "--text", TEXT, "--text", "it", "--text-pair", "bad")
    assert refused.sentence == "--text-pair is the second text of a pair: give one --text with it."


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-f", "png"], "There is no format 'png' for texts; choose from npy, html, json."),
        (["-m", "gradcam"], "gradcam has no value for each token of a text"),
        (["--tokenizer", "gone.json"], "There is no tokenizer gone.json."),
        (["--fill", "pad"], "integrated_gradients has no option 'fill'"),
        (["-t", "5"], "5"),
    ],
)
def test_refusals(cli, model, flags, words):
    assert words in cli("run", model, "--text", TEXT, "-m", "integrated_gradients", *flags).sentence


def test_a_model_of_pictures_takes_no_text(cli, tmp_path):
    onnx.save(tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)"), tmp_path / "model.onnx")
    save_tokenizer(tmp_path / "tokenizer.json")
    assert "No input of the model is known" in cli("run", "model.onnx", "--text", TEXT).sentence


def test_no_tokenizers_package(cli, model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    sentence = cli("run", model, "--text", TEXT).sentence
    assert sentence.startswith("Texts need the package tokenizers: pip install 'onnxplain[text]'")


def test_a_picture_with_a_question_numbers_and_a_second_picture(cli, tmp_path):
    """y = mean(x) · mean(z) · threshold + the sum of the question's embeddings."""
    made = tiny(
        """p = ReduceMean<axes=[2,3], keepdims=0>(x) q = ReduceMean<axes=[2,3], keepdims=0>(z)
        e = Gather(table, input_ids) s = ReduceSum<keepdims=0>(e, one) a = Mul(p, q)
        b = Mul(a, threshold) logits = Add(b, s)""",
        "float[N,3,8,8] x, float[N,3,8,8] z, int64[N,T] input_ids, float threshold",
        "float[N,3] logits",
        table=TABLE[:, :3], one=np.array([1]),
    )  # fmt: skip
    onnx.save(made, tmp_path / "vqa.onnx")
    save_tokenizer(tmp_path / "tokenizer.json")
    half = np.repeat([[102] * 4 + [0] * 4], 8, axis=0)
    for name, pixels in (("a.png", half), ("b.png", np.full((8, 8), 102))):
        cv2.imwrite(str(tmp_path / name), np.stack([pixels] * 3, axis=-1).astype(np.uint8))
    pictures = ["--input", "z=b.png", "--explain", "x", "--scale", "0.00392156862745098",
                "--fit", "stretch"]  # fmt: skip
    flags = ["--text", TEXT, "--input", "threshold=0.5", "-m", "occlusion", "-t", "2"]
    done = cli("run", "vqa.onnx", "a.png", *pictures, *flags, "--json")
    (line,) = map(json.loads, done.out.splitlines())
    ids = [IDS["[CLS]"], *NUMBERS, IDS["[SEP]"]]
    assert_allclose(line["score"]["value"], 0.2 * 0.4 * 0.5 + TABLE[ids, 2].sum(), rtol=1e-5)


def test_the_text_beside_a_picture(cli, model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    sentence = cli("run", model, "a.png", "--text", TEXT).sentence
    assert "takes the text and is explained, so there is no picture to explain" in sentence


@pytest.mark.parametrize(
    "flags",
    [[], ["--text", TEXT], ["--text", TEXT, "--text-pair", "it"], ["--tokenizer", "t.json"]],
)
def test_inspect_of_a_model_of_texts(cli, model, tmp_path, flags):
    if "t.json" in flags:
        (tmp_path / "tokenizer.json").rename(tmp_path / "t.json")
    done = cli("inspect", model, "--labels", "labels.txt", *flags)
    assert done.status == 0
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines()[1:] if " " in line)
    assert "input_ids int64 (N, T), explained" in done.out
    assert lines["tokenizer"].endswith("t.json" if "t.json" in flags else "tokenizer.json")
    assert lines["answer"] == "logits: a score for each of 2 classes"
    assert lines["--target"].startswith("top1; 0; LABEL")
    assert "runs in batches" in lines["batch"]
    assert lines["gradients"] == "every operator between input and score has one"
    assert "preprocess" not in lines and "cam" not in lines


def test_inspect_refuses_a_second_text_without_a_first(cli, model):
    assert "give one --text with it" in cli("inspect", model, "--text-pair", "it").sentence


def test_a_picture_for_a_model_of_texts(cli, model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    sentence = cli("run", model, "a.png").sentence
    assert "which is no picture" in sentence
    assert "explain a text with --text TEXT, or an array from a .npy file" in sentence


def test_inspect_of_a_model_of_texts_as_json(cli, model):
    facts = json.loads(cli("inspect", model, "--json").out)
    assert facts["preprocess"] is facts["cam"] is None
    assert facts["layers"] == []
    assert facts["tokenizer"]["tokenizer"].endswith("tokenizer.json")
    assert facts["answer"]["kind"] == "classes"


def test_inspect_without_a_tokenizer_says_which_file_is_missing(cli, model, tmp_path):
    (tmp_path / "tokenizer.json").unlink()
    sentence = cli("inspect", model).sentence
    assert sentence.endswith(
        "A model of texts needs its tokenizer.json next to it, or --tokenizer FILE."
    )


@pytest.mark.parametrize("inputs", [["--text", TEXT], ["a.npy"], []])
def test_metrics_are_not_for_texts(cli, model, tmp_path, inputs):
    np.save(tmp_path / "a.npy", np.zeros((1, 3), np.int64))
    refused = cli("evaluate", model, *inputs)
    assert refused.status == 2
    said = "not the tokens of texts" if inputs else "Name the inputs to evaluate on"
    assert said in refused.err
