"""`--target 'similar:"a text"'` with `--text-model`, from files to files."""

import json

import cv2
import numpy as np
import onnx
import pytest
from texts.words import IDS, save_tokenizer
from tiny import noise, tiny

TABLE = noise(len(IDS), 3)
TEXT, NUMBERS = "I love it", [IDS[piece] for piece in ("[CLS]", "i", "love", "it", "[SEP]")]


@pytest.fixture
def picture(paint):
    """A red square with a green side: the direction of its mean color depends on both."""
    path = paint()
    colors = cv2.imread(str(path))
    colors[:, :2, 1] = 200
    cv2.imwrite(str(path), colors)
    return path


@pytest.fixture
def text_model(tmp_path):
    """The mean of the tokens' embeddings, in a folder with its tokenizer."""
    made = tiny(
        "e = Gather(table, input_ids) text_embeds = ReduceMean<axes=[1],keepdims=0>(e)",
        "int64[N,T] input_ids",
        "float[N,3] text_embeds",
        table=TABLE,
    )
    (tmp_path / "texts").mkdir()
    onnx.save(made, tmp_path / "texts" / "text.onnx")
    save_tokenizer(tmp_path / "texts" / "tokenizer.json")
    return "texts/text.onnx"


def test_a_picture_and_a_text(cli, model, picture, text_model, tmp_path):
    """The score is the cosine of the mean color and the mean embedding."""
    run = "run", model, picture, "--text-model", text_model, "-m", "occlusion", "-o", "maps"
    done = cli(*run, "-t", f'similar:"{TEXT}"', "-t", f"similar:{TEXT}, not bad", "--json")
    assert done.status == 0, done.err
    one, other = (json.loads(line) for line in done.out.splitlines())
    color = cv2.imread(str(picture))[..., ::-1].astype(np.float64).mean(axis=(0, 1))
    text = TABLE[NUMBERS].astype(np.float64).mean(axis=0)
    cosine = color @ text / np.linalg.norm(color) / np.linalg.norm(text)
    assert one["score"]["kind"] == "cosine similarity"
    assert one["score"]["value"] == pytest.approx(cosine, abs=1e-5)
    assert one["target"]["label"] == 'similarity to "I love it"'
    assert one["target"]["references"] == [
        {"path": None, "elements": 3, "text": TEXT, "text_model": text_model}
    ]
    assert one["files"][0] == "maps/red.occlusion.similar_I_love_it.npy"
    assert other["files"][0].startswith("maps/red.occlusion.similar_I_love_it_not_bad~")
    manifest = json.loads((tmp_path / one["files"][-1]).read_text())
    assert manifest["target"] == one["target"]
    line = cli(*run, "-t", f'not:similar:"{TEXT}"').out
    assert ": not_similar_I_love_it, negative cosine similarity " in line


def test_a_tokenizer_elsewhere(cli, model, picture, text_model, tmp_path):
    (tmp_path / "texts" / "tokenizer.json").rename(tmp_path / "words.json")
    (tmp_path / "texts").rename(tmp_path.parent / "elsewhere")
    run = "run", model, picture, "--text-model", tmp_path.parent / "elsewhere" / "text.onnx"
    target = "-t", f"similar:{TEXT}", "-m", "occlusion"
    assert cli(*run, *target, "--tokenizer", "words.json").status == 0
    refused = cli(*run, *target)
    assert refused.status == 2
    assert refused.sentence.startswith("A text needs a tokenizer, and there is no tokenizer.json")


@pytest.mark.parametrize("target", [f'similar:"{TEXT}"', f"similar:{TEXT}"])
def test_without_a_model_of_texts(cli, model, picture, target):
    refused = cli("run", model, picture, "-t", target, "-m", "occlusion")
    assert refused.status == 2
    assert refused.sentence.endswith(
        "To compare with a text, name the model that embeds texts with --text-model FILE."
    )
