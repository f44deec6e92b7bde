"""Pictures explained for their similarity to a text, by two encoders that share a space."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from explainer.formulas import AS_IT_IS
from numpy.testing import assert_allclose
from onnx import ModelProto
from texts.words import IDS, save_tokenizer
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import ModelError, OnnxplainError, TargetError, TextError
from onnxplain.targets import Contrast

Array = np.ndarray[Any, np.dtype[Any]]
V, TABLE, W = noise(6, 5), noise(len(IDS), 4, seed=1), noise(4, 5, seed=2)
X = noise(3, 3, 1, 2, seed=3)
TOKENS = {
    "I love it": ["[CLS]", "i", "love", "it", "[SEP]"],
    "not bad, film": ["[CLS]", "not", "bad", ",", "film", "[SEP]"],
}
LOVE, BAD = TOKENS


def pictures() -> ModelProto:
    """image_embeds = V^T x + 1."""
    return tiny(
        "f = Flatten(x) m = MatMul(f, V) image_embeds = Add(m, one)",
        "float[N,3,1,2] x",
        "float[N,5] image_embeds",
        V=V, one=np.ones(1, np.float32),
    )  # fmt: skip


def of_texts(
    inputs: str = "int64[N,T] input_ids, int64[N,T] attention_mask, int64[N,T] position_ids",
    outputs: str = "float[N,T,4] last_hidden_state, float[N,4] pooler_output, "
    "float[N,5] text_embeds",
    after: str = "",
) -> ModelProto:
    """W^T of the sum of the embeddings of all tokens, each times its place from 1."""
    return tiny(
        f"""last_hidden_state = Gather(table, input_ids) f = Cast<to=1>(attention_mask)
        p = Cast<to=1>(position_ids) first = Add(p, one) w = Mul(first, f) k = Unsqueeze(w, two)
        a = Mul(last_hidden_state, k) pooler_output = ReduceSum<keepdims=0>(a, axis)
        text_embeds = MatMul(pooler_output, W) {after}""",
        inputs,
        outputs,
        table=TABLE, W=W, one=np.ones(1, np.float32), axis=np.array([1]), two=np.array([2]),
    )  # fmt: skip


def embedded(text: str) -> Array:
    """The embedding of a text, in float64."""
    rows = TABLE[[IDS[token] for token in TOKENS[text]]].astype(np.float64)
    return np.asarray(np.arange(1, len(rows) + 1) @ rows @ W.astype(np.float64))


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def slope(x: Array, b: Array) -> tuple[Array, float]:
    """The gradient of the cosine, V (u_b - cos u_a) / |a| with unit vectors u; and the cosine."""
    v = V.astype(np.float64)
    a = x.ravel().astype(np.float64) @ v + 1
    length, found = np.linalg.norm(a), cosine(a, b)
    unit = b / np.linalg.norm(b) - found * a / length
    return (v @ unit / length).reshape(x.shape), found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the model of texts and its tokenizer."""
    folder = tmp_path / "texts"
    folder.mkdir()
    save_tokenizer(folder / "tokenizer.json")
    onnx.save(of_texts(), folder / "text.onnx")
    return folder


@pytest.fixture
def explainer(files: Path) -> Explainer:
    return Explainer(pictures(), preprocess=AS_IT_IS, text_model=files / "text.onnx")


def test_the_gradient_of_each_sample_and_text(explainer: Explainer) -> None:
    """Quotes are not part of the text, and a text without quotes may hold commas."""
    targets = [f'similar:"{LOVE}"', f"similar:{BAD}", f"not:similar:'{LOVE}'"]
    found = explainer.attribute(X, "gradient", targets)
    for i, (text, sign) in enumerate([(LOVE, 1), (BAD, 1), (LOVE, -1)]):
        gradient, score = slope(X[i], embedded(text))
        assert_allclose(found.values[i], sign * gradient, rtol=1e-4, atol=1e-6)
        assert found.scores[i] == pytest.approx(sign * score, abs=1e-6)


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        (f"similar:{LOVE} - similar:{BAD}", 1),
        (f'similar:"{LOVE}" - 0.5*similar:"{BAD}"', 0.5),
    ],
)
def test_the_difference_of_two_texts(explainer: Explainer, target: str, weight: float) -> None:
    found = explainer.attribute(X[:1], "gradient", target)
    (one, first), (two, second) = (slope(X[0], embedded(text)) for text in (LOVE, BAD))
    assert_allclose(found.values[0], one - weight * two, rtol=1e-4, atol=1e-6)
    assert found.scores[0] == pytest.approx(first - weight * second, abs=1e-6)
    pair = Contrast(explainer.similarity_to_text(LOVE), explainer.similarity_to_text(BAD), weight)
    assert_allclose(explainer.attribute(X[:1], "gradient", pair).values, found.values)


def test_quotes_hold_what_looks_like_a_difference(explainer: Explainer) -> None:
    """Without quotes it would be one."""
    odd = "I love it - similar:it"
    first, second = (explainer.similarity_to_text(text) for text in (odd, "it"))
    found = explainer.attribute(X[:1], "gradient", f'similar:"{odd}" - similar:"it"')
    expected = explainer.attribute(X[:1], "gradient", Contrast(first, second))
    assert_allclose(found.values, expected.values)
    alone = explainer.attribute(X[:1], "gradient", f'similar:"{odd}"').scores
    assert_allclose(alone, explainer.attribute(X[:1], "gradient", first).scores)


def test_a_file_comes_before_a_text(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name is compared with, unless the text stands in quotes."""
    monkeypatch.chdir(tmp_path)
    np.save("it.npy", embedded(BAD))
    Path("it.npy").rename(LOVE)
    with pytest.raises(TargetError, match="The reference I love it cannot be used"):
        explainer.attribute(X[:1], "gradient", f"similar:{LOVE}")
    quoted = explainer.attribute(X[:1], "gradient", f'similar:"{LOVE}"').scores[0]
    assert quoted == pytest.approx(slope(X[0], embedded(LOVE))[1], abs=1e-6)
    Path(LOVE).rename("it.npy")
    saved = explainer.attribute(X[:1], "gradient", "similar:it.npy").scores[0]
    assert saved == pytest.approx(slope(X[0], embedded(BAD))[1], abs=1e-6)


def test_what_is_said_of_a_text(explainer: Explainer, files: Path) -> None:
    picture = np.full((1, 2, 3), 90, np.uint8)
    found = explainer.explain(picture, "gradient", f'similar:"{LOVE}"')
    assert (found.score_kind, found.target.title) == (
        "cosine similarity",
        'similarity to "I love it"',
    )
    assert found.target.file_name == "similar_I_love_it"
    (reference,) = found.target.references
    assert (reference.path, reference.elements) == (None, 5)
    assert (reference.text, reference.text_model) == (LOVE, files / "text.onnx")
    names = {
        explainer.similarity_to_text(text).described.file_name
        for text in ("I love it", "I love it?", "I love it!", "I_love_it", "I love\nit")
    }
    long = explainer.similarity_to_text("I love it " * 30).described.file_name
    assert len(names) == 5
    assert all(re.fullmatch(r"similar_I_love_it(~[0-9a-f]{8})?", name) for name in names)
    assert len(long) <= 60


def test_a_fixed_length_is_filled(files: Path) -> None:
    fixed = "int64[1,9] input_ids, int64[1,9] attention_mask, int64[1,9] position_ids"
    text_model = of_texts(inputs=fixed, outputs="float[1,5] text_embeds")
    explainer = Explainer(
        pictures(),
        preprocess=AS_IT_IS,
        text_model=text_model,
        tokenizer=files / "tokenizer.json",
    )
    reference = explainer.similarity_to_text(LOVE).reference
    assert_allclose(reference, embedded(LOVE), rtol=1e-5)
    with pytest.raises(TargetError, match=r"has 14 tokens, and the input .* takes 9: shorten"):
        explainer.similarity_to_text("it " * 12)


def test_other_outputs_and_another_process(explainer: Explainer, files: Path) -> None:
    cut = explainer.with_output("m")
    u, b = X[0].ravel().astype(np.float64) @ V, embedded(LOVE)
    for one in (cut, pickle.loads(pickle.dumps(cut))):
        score = one.attribute(X[:1], "gradient", f'similar:"{LOVE}"').scores[0]
        assert score == pytest.approx(cosine(u, b), abs=1e-6)
    flat = explainer.with_output("f")
    with pytest.raises(TargetError) as caught:
        flat.attribute(X[:1], "gradient", f'similar:"{LOVE}"')
    assert str(caught.value) == (
        "The embedding of the text 'I love it' has 5 elements, the answer 6: both models must "
        "belong together; choose the answer in the same space with --output."
    )


def test_one_model_of_both(files: Path) -> None:
    """A whole CLIP: each half is in the same file."""
    both = of_texts(
        inputs="float[N,3,1,2] x, int64[N,T] input_ids, int64[N,T] attention_mask, "
        "int64[N,T] position_ids",
        outputs="float[N,5] image_embeds, float[N,5] text_embeds, float[N,N] logits_per_image",
        after="""f2 = Flatten(x) m = MatMul(f2, V) image_embeds = Add(m, one)
        t = Transpose(text_embeds) logits_per_image = MatMul(image_embeds, t)""",
    )
    both.graph.initializer.append(onnx.numpy_helper.from_array(V, "V"))
    explainer = Explainer(
        both,
        preprocess=AS_IT_IS,
        output="image_embeds",
        text_model=both,
        tokenizer=files / "tokenizer.json",
    )
    found = explainer.attribute(X[:1], "gradient", f'similar:"{LOVE}"')
    assert_allclose(found.values[0], slope(X[0], embedded(LOVE))[0], rtol=1e-4, atol=1e-6)


REFUSED: Mapping[str, tuple[str, str, str]] = {
    "several": (
        "float[N,4] pooler_output, float[N,4] other_features",
        "other_features = Neg(pooler_output)",
        r"has several outputs that may be the embedding of a text \(pooler_output, other_features",
    ),
    "none": (
        "float[N,T,4] last_hidden_state, float[N,5] logits",
        "logits = Neg(text_embeds)",
        r"has no output with one vector for each text, .*last_hidden_state .*: export it with",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_of_texts_without_one_embedding(files: Path, case: str) -> None:
    outputs, after, sentence = REFUSED[case]
    made = of_texts(outputs=outputs, after=after)
    with pytest.raises(ModelError, match=sentence):
        Explainer(pictures(), text_model=made, tokenizer=files / "tokenizer.json")


def test_a_model_without_token_ids(files: Path) -> None:
    with pytest.raises(ModelError, match=r"has no input for token ids, .* \(it has x \(N, 3, 1, 2"):
        Explainer(pictures(), text_model=pictures(), tokenizer=files / "tokenizer.json")


def test_a_model_that_reads_more_than_a_text(files: Path) -> None:
    made = of_texts(
        inputs="float[N,4] style, int64[N,T] input_ids, int64[N,T] attention_mask, "
        "int64[N,T] position_ids",
        outputs="float[N,4] sentence_embedding",
        after="sentence_embedding = Add(pooler_output, style)",
    )
    with pytest.raises(ModelError, match=r"'sentence_embedding' .* reads the input 'style' too"):
        Explainer(pictures(), text_model=made, tokenizer=files / "tokenizer.json")


def test_a_tokenizer_is_needed_and_searched_next_to_both(files: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    onnx.save(of_texts(), tmp_path / "far" / "away" / "text.onnx")
    onnx.save(pictures(), files / "pictures.onnx")
    text = tmp_path / "far" / "away" / "text.onnx"
    with pytest.raises(TextError, match=r"no tokenizer\.json next to the model"):
        Explainer(pictures(), text_model=text)
    found = Explainer(files / "pictures.onnx", preprocess=AS_IT_IS, text_model=text)
    assert_allclose(found.similarity_to_text(LOVE).reference, embedded(LOVE), rtol=1e-5)


LONG = "a photo of a cat " * 30


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("similar:a photo", "a photo does not exist. To compare with a text, name the model"),
        (f"similar:{LONG}", ". To compare with a text, name the model that embeds texts"),
        ('similar:"a photo"', "The text 'a photo' cannot be compared with. To compare with a text"),
    ],
)
def test_a_text_without_a_model_of_texts(target: str, sentence: str) -> None:
    explainer = Explainer(pictures(), preprocess=AS_IT_IS)
    with pytest.raises(TargetError, match=re.escape(sentence)):
        explainer.attribute(X[:1], "gradient", target)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("similar:dgo.jpg", r'dgo\.jpg cannot be used: .*write it in quotes: similar:"TEXT"'),
        ("similar:a.jpg,b.jpg", "For several files give each one its own target"),
        ('similar:"it", similar:"bad"', "cannot be used: .* give each one its own target"),
        ('similar:" "', "cannot be compared with: The text is empty"),
    ],
)
def test_what_is_no_text(explainer: Explainer, target: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        explainer.attribute(X[:1], "gradient", target)


def test_a_text_that_the_tokenizer_cuts_is_refused(files: Path) -> None:
    short = save_tokenizer(files / "short.json", longest=4)
    explainer = Explainer(pictures(), text_model=files / "text.onnx", tokenizer=short)
    with pytest.raises(OnnxplainError, match=r"longer than the 4 tokens .*Shorten the text"):
        explainer.similarity_to_text(LOVE)
