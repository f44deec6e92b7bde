"""Tokens of a text: pieces, ids, offsets, words, and the values of a model's inputs."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from texts.words import IDS, PIECES, TEXT, save_tokenizer

from onnxplain.errors import TextError
from onnxplain.execution.token_arrays import token_arrays
from onnxplain.tensors import TensorSpec
from onnxplain.texts.tokenizer import find_tokenizer, load_tokenizer
from onnxplain.texts.tokens import Token, TokenizedText

INT = np.dtype(np.int64)


@pytest.fixture
def tokenizer(tmp_path):
    return load_tokenizer(save_tokenizer(tmp_path / "tokenizer.json"))


def inputs(length=None, dtype=INT):
    names = {"ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}
    names["positions"] = "position_ids"
    return {role: TensorSpec(name, dtype, (None, length)) for role, name in names.items()}


def test_pieces_offsets_and_words(tokenizer):
    found = tokenizer.encode(TEXT)
    assert [token.piece for token in found.tokens] == PIECES
    assert [token.id for token in found.tokens] == [IDS[piece] for piece in PIECES]
    parts = "/I/love/d/the/film/,/it/was/not/bad/./".split("/")
    assert [found.part(token) for token in found.tokens] == parts
    assert [token.special for token in found.tokens] == [True, *[False] * 11, True]
    words = [found.word(tokens) for tokens in found.words]
    assert words == ["[CLS]", "I", "loved", "the", "film", ",", "it", "was", "not", "bad", ".",
                     "[SEP]"]  # fmt: skip
    assert list(found.words[2]) == [2, 3]


def test_a_special_token_that_the_user_writes_is_text(tokenizer):
    found = tokenizer.encode("not [MASK]")
    assert [token.special for token in found.tokens] == [True, False, False, True]


def test_a_pair_of_texts(tokenizer):
    found = tokenizer.encode(("I love it", "bad film"))
    assert [token.sequence for token in found.tokens] == [None, 0, 0, 0, None, 1, 1, None]
    assert found.types == (0, 0, 0, 0, 0, 1, 1, 1)
    assert [found.part(token) for token in found.tokens[5:7]] == ["bad", "film"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_of_different_length_are_padded(tmp_path, side):
    settings = {"direction": side, "pad_id": 0, "pad_token": "[PAD]"}
    tokenizer = load_tokenizer(save_tokenizer(tmp_path / "t.json", padding=settings))
    rows = [tokenizer.encode(text) for text in ("bad film", "it was not bad")]
    found = token_arrays(inputs(), rows, tokenizer)
    short = [IDS[piece] for piece in ("[CLS]", "bad", "film", "[SEP]")]
    padded = {"right": [*short, 0, 0], "left": [0, 0, *short]}[side]
    assert_array_equal(found.values["input_ids"][0], padded)
    assert_array_equal(found.values["attention_mask"][0], np.array(padded) > 0)
    assert_array_equal(found.values["position_ids"], [range(6)] * 2)
    assert_array_equal(found.values["input_ids"][0, found.places[0]], short)


def test_a_fixed_length_and_the_dtype_of_the_model(tokenizer):
    found = token_arrays(inputs(8, np.dtype(np.int32)), [tokenizer.encode("bad film")], tokenizer)
    for value in found.values.values():
        assert value.dtype == np.int32
        assert value.shape == (1, 8)
    assert_array_equal(found.values["attention_mask"][0], [1] * 4 + [0] * 4)
    with pytest.raises(TextError, match="The text has 13 tokens, and the input 'input_ids' takes"):
        token_arrays(inputs(8), [tokenizer.encode(TEXT)], tokenizer)


def test_a_text_that_the_tokenizer_cuts_is_a_warning(tmp_path):
    tokenizer = load_tokenizer(save_tokenizer(tmp_path / "t.json", longest=6))
    found = tokenizer.encode(TEXT)
    assert len(found.tokens) == 6
    assert found.warning.startswith("The text is longer than the 6 tokens at which t.json cuts it")
    assert not tokenizer.encode("bad").warning


def test_tokens_by_name_and_by_id(tokenizer):
    assert tokenizer.token("pad") == ("[PAD]", 0)
    assert tokenizer.token("mask") == ("[MASK]", 4)
    assert tokenizer.token("film") == ("film", IDS["film"])
    assert tokenizer.token(1) == ("[UNK]", 1)
    with pytest.raises(TextError, match=r"no token 99: ids are 0 to 19"):
        tokenizer.token(99)
    with pytest.raises(TextError, match=r"no token 'flim' \(did you mean film\?\)"):
        tokenizer.token("flim")


def test_a_vocabulary_without_a_mask_token(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a")
    tokenizers.Tokenizer(words).save(str(tmp_path / "t.json"))
    with pytest.raises(TextError, match=r"no mask token .* name another token, or its id"):
        load_tokenizer(tmp_path / "t.json").token("mask")


def test_a_tokenizer_is_searched_near_the_model(tmp_path):
    path = save_tokenizer(tmp_path / "tokenizer.json")
    assert find_tokenizer(tmp_path / "model.onnx") == path
    assert find_tokenizer(tmp_path / "onnx" / "model.onnx") == path
    with pytest.raises(TextError, match=r"no tokenizer.json next to the model"):
        find_tokenizer(tmp_path / "a" / "b" / "model.onnx")


@pytest.mark.parametrize(("text", "words"), [(" \n", "is empty"), (("a",) * 3, "a pair of two")])
def test_what_is_no_text(tokenizer, text, words):
    with pytest.raises(TextError, match=words):
        tokenizer.encode(text)


def test_files_that_are_no_tokenizers(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(TextError, match="There is no tokenizer"):
        load_tokenizer(tmp_path / "gone.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(TextError, match="is no tokenizer of the package tokenizers"):
        load_tokenizer(tmp_path / "other.json")


def test_a_vocabulary_without_its_token_of_unknown_words(tmp_path):
    path = save_tokenizer(tmp_path / "tokenizer.json")
    path.write_text(path.read_text().replace("[UNK]", "[GONE]", 1))
    content = json.loads(path.read_text())
    content["model"]["unk_token"] = "[MISSING]"
    path.write_text(json.dumps(content))
    with pytest.raises(TextError, match=r"tokenizer\.json cannot split the text into tokens"):
        load_tokenizer(path).encode("unheard")


def test_a_special_token_that_the_file_does_not_define(tmp_path):
    """The package then ends in a panic of Rust, which is no Exception."""
    path = save_tokenizer(tmp_path / "tokenizer.json")
    content = json.loads(path.read_text())
    content["post_processor"]["single"][-1]["SpecialToken"]["id"] = "[MISSING]"
    path.write_text(json.dumps(content))
    with pytest.raises(TextError, match=r"tokenizer\.json cannot split the text into tokens"):
        load_tokenizer(path).encode("good")


def test_a_link_out_of_the_folder_is_no_tokenizer_of_the_model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    secret = save_tokenizer(tmp_path / "other.json")
    (folder / "tokenizer.json").symlink_to(secret)
    with pytest.raises(TextError, match=r"is a link to a file outside its folder.*--tokenizer"):
        find_tokenizer(folder / "model.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "blob")  # as in a download cache
    assert find_tokenizer(folder / "model.onnx") == folder / "tokenizer.json"


def test_words_of_tokenizers_that_do_not_count_words():
    """Neighbors without a space between them are one word."""
    tokens = [Token("▁un", 1, 0, 2, 0, 0), Token("do", 2, 2, 4, 0, 0), Token("▁it", 3, 4, 7, 0, 0)]
    found = TokenizedText(("undo it",), tuple(tokens), (0, 0, 0))
    assert [found.word(word) for word in found.words] == ["undo", "it"]
