"""Values of tokens on models with a closed form: a score that is linear in the embeddings.

The score of class k is Σ_t place[t] · ⟨table[ids[t]], W[k]⟩ over the tokens that the mask keeps.
"""

from typing import Any

import numpy as np
import pytest
from explainer.formulas import Array
from numpy.testing import assert_allclose, assert_array_equal
from onnx import ModelProto
from texts.words import IDS, PIECES, TEXT, VOCABULARY, save_tokenizer
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import (
    MapError,
    ModelError,
    OnnxplainError,
    OptionError,
    TargetError,
    TextError,
)
from onnxplain.results.formats.text_files import content

SIZE, LENGTH = 4, 24
TABLE, W = noise(len(VOCABULARY), SIZE), noise(SIZE, 3, seed=1)
PLACE = np.linspace(0.5, 2, LENGTH, dtype=np.float32)
NUMBERS = [IDS[piece] for piece in PIECES]
KEPT = np.array([not piece.startswith("[") for piece in PIECES])
LOOKUP = "e = Gather(table, input_ids)"
LOOKUPS = {
    "float": LOOKUP,
    "flat ids": "i = Reshape(input_ids, flat) g = Gather(table, i) s = Shape(input_ids)"
    " t = Concat<axis=0>(s, sized) e = Reshape(g, t)",
    "float16": "h = Gather(half, input_ids) e = Cast<to=1>(h)",
    "quantized": "q = Gather(int8, input_ids) e = DequantizeLinear(q, scale, zero)",
    "int32 ids": "i = Cast<to=6>(input_ids) e = Gather(table, i)",
}
REST = """
    m = Cast<to=1>(attention_mask) k = Unsqueeze(m, two) n = Shape(input_ids)
    c = Slice(n, one, two) p = Slice(place, zero64, c) w = Unsqueeze(p, one)
    a = Mul(e, k) b = Mul(a, w) s0 = ReduceSum<keepdims=0>(b, one) logits = MatMul(s0, W)
"""
CONSTANTS: dict[str, Array] = {
    "table": TABLE, "W": W, "place": PLACE, "one": np.array([1]), "two": np.array([2]),
    "zero64": np.array([0]), "flat": np.array([-1]), "sized": np.array([SIZE]),
    "half": TABLE.astype(np.float16), "int8": np.round(TABLE / 0.05).astype(np.int8),
    "scale": np.float32(0.05), "zero": np.int8(0),
}  # fmt: skip
TABLES = {
    "float16": TABLE.astype(np.float16).astype(np.float32),
    "quantized": 0.05 * np.round(TABLE / 0.05),
}


def bag(lookup: str = "float", batch: str = "N", length: str | int = "T") -> ModelProto:
    inputs = ", ".join(
        f"int64[{batch},{length}] {name}" for name in ("input_ids", "attention_mask")
    )
    body = LOOKUPS[lookup] + REST
    used = {name: value for name, value in CONSTANTS.items() if f"{name}" in body}
    return tiny(body, inputs, f"float[{batch},3] logits", **used)


@pytest.fixture
def explained(tmp_path: Any) -> Any:
    """Make an explainer of texts; `settings` are those of its tokenizer."""
    path = tmp_path / "tokenizer.json"

    def make(model: ModelProto | None = None, settings: Any = None, **options: Any) -> Explainer:
        save_tokenizer(path, **(settings or {}))
        return Explainer(bag() if model is None else model, tokenizer=path, **options)

    return make


def parts(ids: list[int], target: int, table: Array = TABLE) -> Array:
    """What each token adds to the score."""
    return PLACE[: len(ids)] * (table[ids] @ W[:, target])


def lost(target: int, absent: int = 0, table: Array = TABLE) -> Array:
    """What the score loses where a token is replaced by the token `absent`."""
    there = parts([absent] * len(NUMBERS), target, table)
    return np.where(KEPT, parts(NUMBERS, target, table) - there, 0)


ADDING = {
    "integrated_gradients": {}, "deeplift": {}, "occlusion": {}, "guided_ig": {"steps": 20},
    "kernelshap": {"samples": 3000},
}  # fmt: skip


@pytest.mark.parametrize("method", ADDING)
def test_values_are_what_the_score_loses_with_each_token(explained: Any, method: str) -> None:
    if method == "kernelshap":
        pytest.importorskip("sklearn")
    found = explained().explain_text(TEXT, method, 1, **ADDING[method])
    assert_allclose(found.values, lost(1), atol=2e-5)
    assert_allclose(found.score, parts(NUMBERS, 1).sum(), rtol=1e-5)
    (absent,) = found.absent.values()
    assert absent == {"token": "[PAD]", "id": 0}


TANH = REST.replace("logits =", "l =") + " logits = Tanh(l)"
"""The score is not linear in the tokens, so that a player without effect would get a share."""


def bent() -> ModelProto:
    used = {name: CONSTANTS[name] for name in ("table", "W", "place", "one", "two", "zero64")}
    return tiny(LOOKUP + TANH, "int64[N,T] input_ids, int64[N,T] attention_mask",
                "float[N,3] logits", **used)  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"samples": 400}])
def test_special_tokens_are_no_players_of_kernelshap(explained: Any, settings: Any) -> None:
    """The values of the eleven other tokens add up to the change of the score."""
    pytest.importorskip("sklearn")
    found = explained(bent()).explain_text(TEXT, "kernelshap", 1, **settings)
    assert_array_equal(found.values[~KEPT], 0)
    whole, removed = (parts(list(ids), 1).sum() for ids in (NUMBERS, np.where(KEPT, 0, NUMBERS)))
    assert_allclose(found.values.sum(), np.tanh(whole) - np.tanh(removed), atol=1e-5)
    assert found.diagnostics["segments"] == KEPT.sum() == 11
    assert found.diagnostics["exact"] == (not settings)


def test_special_tokens_have_no_value_in_lime(explained: Any) -> None:
    pytest.importorskip("sklearn")
    found = explained(bent()).explain_text(TEXT, "lime", 1)
    assert_array_equal(found.values != 0, KEPT)
    assert found.diagnostics["segments"] == 11


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_every_form_of_the_lookup(explained: Any, lookup: str) -> None:
    table = TABLES.get(lookup, TABLE)
    for method in ("integrated_gradients", "occlusion"):
        found = explained(bag(lookup)).explain_text(TEXT, method, 2)
        assert_allclose(found.values, lost(2, table=table), atol=2e-3 * np.abs(W).max())


@pytest.mark.parametrize(
    ("fill", "number"),
    [("mask", 4), ("[UNK]", 1), ("film", IDS["film"]), (1, 1), ("1", 1), ("pad", 0)],
)
def test_the_token_that_takes_the_place_of_others(explained: Any, fill: Any, number: int) -> None:
    explainer = explained()
    for method, name in (("occlusion", "fill"), ("integrated_gradients", "baseline")):
        found = explainer.explain_text(TEXT, method, 0, **{name: fill})
        assert_allclose(found.values, lost(0, number), atol=2e-5)
        assert found.absent[name] == {"token": VOCABULARY[number], "id": number}
        assert found.parameters[name] == found.absent[name]


def test_an_embedding_of_zeros_in_place_of_tokens(explained: Any) -> None:
    found = explained().explain_text(TEXT, "integrated_gradients", 0, baseline="zeros")
    assert_allclose(found.values, np.where(KEPT, parts(NUMBERS, 0), 0), atol=2e-5)


def test_gradients_at_the_embedding(explained: Any) -> None:
    """Length of the gradient; and gradient times embedding, also for special tokens."""
    explainer = explained()
    found = explainer.explain_text(TEXT, "gradient", 1)
    length = np.linalg.norm(W[:, 1])
    assert_allclose(found.values, PLACE[: len(NUMBERS)] * length, rtol=1e-5)
    for method in ("input_x_gradient", "lrp"):
        found = explainer.explain_text(TEXT, method, 1)
        assert_allclose(found.values, parts(NUMBERS, 1), atol=2e-5)


def test_a_window_of_several_tokens(explained: Any) -> None:
    found = explained().explain_text(TEXT, "occlusion", 1, window=2, stride=2)
    pairs = lost(1)[:12].reshape(-1, 2).sum(axis=1)
    assert_allclose(found.values[:12], np.repeat(pairs, 2), atol=2e-5)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_fixed_length_is_padded_and_padding_has_no_values(
    explained: Any, side: str, method: str
) -> None:
    settings = {"padding": {"direction": side, "pad_id": 0, "pad_token": "[PAD]"}}
    explainer = explained(bag(batch="1", length=LENGTH), settings)
    found = explainer.explain_text(TEXT, method, 1)
    start = LENGTH - len(NUMBERS) if side == "left" else 0
    place = PLACE[start : start + len(NUMBERS)]
    expected = np.where(KEPT, place * ((TABLE[NUMBERS] - TABLE[0]) @ W[:, 1]), 0)
    assert_allclose(found.values, expected, atol=2e-5)
    assert len(found.text.tokens) == len(NUMBERS)


def test_several_targets_and_texts_of_other_lengths(explained: Any) -> None:
    explainer = explained()
    for text in (TEXT, "it was bad", "not bad"):
        top, second = explainer.try_text(text, "occlusion", "top2")
        numbers = [token.id for token in top.text.tokens]
        mask = np.ones((1, len(numbers)), np.int64)
        (scores,) = run(bag(), {"input_ids": np.array([numbers]), "attention_mask": mask})
        assert [top.target.index, second.target.index] == list(np.argsort(-scores[0])[:2])
        assert_allclose([top.score, second.score], np.sort(scores[0])[:0:-1], rtol=1e-5)


def test_auto_is_integrated_gradients_or_occlusion(explained: Any) -> None:
    assert explained().explain_text(TEXT).method == "integrated_gradients"
    assert explained().differentiability().complete
    rounded = bag()
    rounded.graph.node[-1].output[0] = "l"
    node = rounded.graph.node.add(op_type="Round", name="last")
    node.input.append("l")
    node.output.append("logits")
    assert explained(rounded).explain_text(TEXT).method == "occlusion"


def test_a_model_that_draws(explained: Any) -> None:
    noisy = bag()
    noisy.graph.node[-1].output[0] = "l"
    for op, inputs, output in (
        ("RandomNormalLike", ["l"], "drawn"),
        ("Add", ["l", "drawn"], "logits"),
    ):
        node = noisy.graph.node.add(op_type=op, name=op)
        node.input.extend(inputs)
        node.output.append(output)
    drawn = explained(noisy).explain_text(TEXT, target=1)
    assert drawn.method == "occlusion"
    assert any("'RandomNormalLike'" in one for one in drawn.diagnostics["warnings"])
    with pytest.raises(OnnxplainError, match="draws random numbers in 'RandomNormalLike'"):
        explained(noisy).explain_text(TEXT, "integrated_gradients", target=1)
    found = explained(noisy, fix_random=True).explain_text(TEXT, "occlusion", target=1)
    assert_allclose(found.values, lost(1), rtol=1e-4, atol=1e-5)
    assert not found.diagnostics.get("warnings")
    assert content(found, {})["model"]["fixed_random"] == ("RandomNormalLike",)


def test_words_add_up_their_pieces(explained: Any) -> None:
    found = explained().explain_text(TEXT, "occlusion", 1)
    (loved,) = (word for word in found.words if word.text == "loved")
    assert_allclose(loved.value, lost(1)[2:4].sum(), atol=2e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [("rise", {"samples": 50, "score": "logit"}), ("gradient", {}), ("smoothgrad", {"samples": 2}),
     ("smoothgrad_squared", {"samples": 2}), ("vargrad", {"samples": 2})],
)  # fmt: skip
def test_words_are_the_mean_of_pieces_where_values_do_not_add_up(
    explained: Any, method: str, options: Any
) -> None:
    """A word of more pieces would have a larger value, whatever the model reads in it."""
    found = explained(bent()).explain_text(TEXT, method, 1, **options)
    (loved,) = (word for word in found.words if word.text == "loved")
    assert_allclose(loved.value, found.values[2:4].mean(dtype=np.float64), rtol=1e-6)
    said = content(found, {})["conventions"]["words"]
    assert said == "the value of a word is the mean of the values of its tokens"


def test_a_second_table_is_named_in_a_warning(explained: Any) -> None:
    body = LOOKUPS["float"].replace("e =", "e0 =") + " r = Gather(small, input_ids)"
    model = tiny(
        body + " e = Add(e0, r)" + REST,
        "int64[N,T] input_ids, int64[N,T] attention_mask",
        "float[N,3] logits",
        **{name: CONSTANTS[name] for name in ("table", "W", "place", "one", "two", "zero64")},
        small=noise(len(VOCABULARY), 1, seed=5),
    )
    found = explained(model).explain_text(TEXT, "occlusion", 1)
    assert_allclose(found.values, lost(1), atol=2e-5)
    assert "The ids also select from 'small'" in found.diagnostics["warnings"][0]


def test_a_constant_model_shows_nothing(explained: Any) -> None:
    model = tiny(LOOKUP + REST, "int64[N,T] input_ids, int64[N,T] attention_mask",
                 "float[N,3] logits", **{**CONSTANTS, "W": 0 * W})  # fmt: skip
    with pytest.raises(MapError, match="is the same everywhere"):
        explained(model).explain_text(TEXT, "occlusion", 1)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("gradcam", {}, "gradcam has no value for each token of a text: use"),
        ("activation_maximization", {}, "has no value for each token"),
        ("occlusion", {"baseline": "pad"}, "occlusion has no option 'baseline'"),
        ("occlusion", {"fill": "[MUSK]"}, "no token '[MUSK]' (did you mean [MASK]"),
        ("occlusion", {"fill": "blur"}, "The tokenizer has no token 'blur'"),
        ("occlusion", {"fill": 0.5}, "pad, mask, zeros, a token or its id, not by 0.5"),
        ("occlusion", {"window": 99}, "window must be between 1 and the input's 13"),
        ("lyme", {}, "There is no method 'lyme'"),
    ],
)
def test_options_that_make_no_sense_for_a_text(
    explained: Any, method: str, options: Any, words: str
) -> None:
    with pytest.raises(OnnxplainError) as error:
        explained().explain_text(TEXT, method, 0, **options)
    assert words in str(error.value)


def test_what_cannot_be_explained_says_why(explained: Any) -> None:
    with pytest.raises(OptionError, match="name the model's tokenizer"):
        Explainer(bag(), explain_input="input_ids").explain_text(TEXT)
    with pytest.raises(ModelError, match="Give a text with --text TEXT"):
        Explainer(bag())
    with pytest.raises(TargetError):
        explained().explain_text(TEXT, "occlusion", 7)
    with pytest.raises(TargetError, match="means 2 targets"):
        explained().explain_text(TEXT, "occlusion", "top2")
    without = tiny("f = Cast<to=1>(input_ids) y = ReduceMean<axes=[1]>(f)", "int64[N,T] input_ids")
    with pytest.raises(ModelError, match="selects from no table of embeddings"):
        explained(without).explain_text(TEXT, "occlusion", 0)
    picture = tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)")
    with pytest.raises(ModelError, match="No input of the model is known to take token ids"):
        explained(picture)


LONG = "bad film " * 20


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "kernelshap"])
@pytest.mark.parametrize("lookup", ["slice", "gather"])
def test_a_text_with_more_tokens_than_places(explained: Any, lookup: str, method: str) -> None:
    """The model has 24 places, and the text has 42 tokens."""
    if method == "kernelshap":
        pytest.importorskip("sklearn")
    rest, used = REST, dict(CONSTANTS)
    if lookup == "gather":
        by_number = "l = Squeeze(c) r = Range(first, l, step) p = Gather(place, r)"
        rest = REST.replace("p = Slice(place, zero64, c)", by_number)
        used |= {"first": np.array(0), "step": np.array(1)}
    kept = {name: value for name, value in used.items() if name in LOOKUP + rest}
    model = tiny(LOOKUP + rest, "int64[N,T] input_ids, int64[N,T] attention_mask",
                 "float[N,3] logits", **kept)  # fmt: skip
    explainer = explained(model)
    with pytest.raises(TextError) as error:
        explainer.explain_text(LONG, method, 1)
    assert str(error.value) == (
        "The text has 42 tokens, and the model takes at most 24: shorten the text."
    )
    assert_allclose(explainer.explain_text(TEXT, "occlusion", 1).values, lost(1), atol=2e-5)


def test_a_model_that_fails_for_another_reason_is_not_said_to_be_short(explained: Any) -> None:
    """It takes texts of any length, and fails for the pieces of this one."""
    model = tiny(
        "e0 = Gather(table, input_ids) z = Mod(input_ids, five) q = Gather(two_rows, z)"
        " e = Mul(e0, q) s = ReduceSum<keepdims=0>(e, one) logits = MatMul(s, W)",
        "int64[N,T] input_ids", "float[N,3] logits", table=TABLE, W=W, five=np.array(5),
        two_rows=np.ones((3, SIZE), np.float32), one=np.array([1]),
    )  # fmt: skip
    with pytest.raises(ModelError, match="fails while running"):
        explained(model).explain_text(TEXT, "occlusion", 1)


def saved(model: ModelProto, folder: Any) -> Any:
    """The file of a model, with a tokenizer next to it."""
    save_tokenizer(folder / "tokenizer.json")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_the_tokenizer_next_to_the_model_is_found(tmp_path: Any) -> None:
    explainer = Explainer(saved(bag(), tmp_path))
    assert explainer.input.name == "input_ids"
    assert_allclose(explainer.explain_text(TEXT, "occlusion", 1).values, lost(1), atol=2e-5)
    assert explainer.answer().kind == "classes"
    named = Explainer(tmp_path / "model.onnx", explain_input="input_ids")
    assert_allclose(named.explain_text(TEXT, "occlusion", 1).values, lost(1), atol=2e-5)


def test_a_model_with_a_picture_does_not_look_for_a_tokenizer(tmp_path: Any) -> None:
    explainer = Explainer(saved(paired(), tmp_path))
    assert explainer.input.name == "pixel_values" and not explainer.reads_texts


def test_arrays_of_ids_need_no_tokenizer(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(bag(), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    assert Explainer(path).input.name == "input_ids"
    with pytest.raises(OnnxplainError, match="need the package tokenizers"):
        Explainer(path).explain_text(TEXT)
    masked = Explainer(path, inputs={"input_ids": [NUMBERS]})
    assert masked.input.name == "attention_mask"


# A model of pictures and captions, as CLIP: both scores are products of two vectors.
PAIRED = (
    LOOKUP.replace("e =", "g =")
    + """
    m = Cast<to=1>(attention_mask) k = Unsqueeze(m, two) a = Mul(g, k)
    text = ReduceSum<keepdims=0>(a, one) p = ReduceMean<axes=[2,3], keepdims=0>(pixel_values)
    v = MatMul(p, mix) t = Transpose(text) logits_per_image = MatMul(v, t)
    logits_per_text = Transpose(logits_per_image)
"""
)
MIX = noise(3, SIZE, seed=3)


def paired() -> ModelProto:
    return tiny(
        PAIRED,
        "int64[B,T] input_ids, float[N,3,8,8] pixel_values, int64[B,T] attention_mask",
        "float[N,B] logits_per_image, float[B,N] logits_per_text",
        table=TABLE, mix=MIX, one=np.array([1]), two=np.array([2]),
    )  # fmt: skip


def summed(text: Array) -> Array:
    return TABLE[text].sum(axis=0)


def test_a_picture_with_two_captions(explained: Any) -> None:
    """The captions of different lengths are the classes of the picture."""
    captions = ["a bad film", "not bad"]
    explainer = explained(paired(), text=captions)
    assert explainer.input.name == "pixel_values"
    x = noise(1, 3, 8, 8, seed=4)
    ids = [[2, 1, IDS["bad"], IDS["film"], 3], [2, IDS["not"], IDS["bad"], 3]]
    for target, row in enumerate(ids):
        found = explainer.attribute(x, "gradient", target)
        slope = MIX @ summed(np.array(row)) / 64
        assert_allclose(found.values[0].mean(axis=(1, 2)), slope, rtol=1e-4)


def test_a_caption_with_a_picture(explained: Any) -> None:
    x = noise(1, 3, 8, 8, seed=4)
    explainer = explained(paired(), inputs={"pixel_values": x})
    assert explainer.input.name == "input_ids"
    vector = x.mean(axis=(2, 3))[0] @ MIX
    for method in ("integrated_gradients", "occlusion"):
        found = explainer.explain_text(TEXT, method, 0)
        expected = np.where(KEPT, (TABLE[NUMBERS] - TABLE[0]) @ vector, 0)
        assert_allclose(found.values, expected, atol=2e-5)


def test_a_text_that_fills_the_explained_input_is_refused(explained: Any) -> None:
    with pytest.raises(OptionError, match="takes the text and is explained"):
        explained(text=TEXT)
    with pytest.raises(OptionError, match="explain that one"):
        explained(paired(), inputs={"input_ids": [[2, 3]]}).explain_text(TEXT)


def test_the_vector_of_a_text_encoder_has_no_classes(explained: Any) -> None:
    encoder = bag()
    encoder.graph.node[-1].output[0] = encoder.graph.output[0].name = "text_embeds"
    explainer = explained(encoder)
    with pytest.raises(TargetError, match="embedding"):
        explainer.explain_text(TEXT, "occlusion")


def test_ids_that_the_rest_of_the_model_reads_stay(explained: Any) -> None:
    """As in CLIP's text encoder, which reads the place of the last token from the ids."""
    model = tiny(
        "e = Gather(table, input_ids) last = ArgMax<axis=1, keepdims=1>(input_ids)"
        " f = Unsqueeze(last, two) i = Expand(f, sized) h = Mul(e, e)"
        " s = GatherElements<axis=1>(h, i) r = Reshape(s, rows) logits = MatMul(r, W)",
        "int64[N,T] input_ids", "float[N,3] logits", table=TABLE, W=W, two=np.array([2]),
        sized=np.array([1, 1, SIZE]), rows=np.array([-1, SIZE]),
    )  # fmt: skip
    found = explained(model).explain_text("bad film ##ing", "integrated_gradients", 0)
    numbers = [token.id for token in found.text.tokens]
    expected = np.zeros(len(numbers))
    place = int(np.argmax(numbers))
    expected[place] = (TABLE[numbers[place]] ** 2 - TABLE[0] ** 2) @ W[:, 0]
    assert_allclose(found.values, expected, atol=2e-5)


def test_options_of_a_configured_method_are_kept(explained: Any) -> None:
    from onnxplain.methods.occlusion import Occlusion

    found = explained().explain_text(TEXT, Occlusion(fill="mask", window=2, stride=1), 1)
    assert found.parameters["window"] == 2
    assert found.absent["fill"]["id"] == IDS["[MASK]"]
    assert_array_equal(found.values[[0, -1]] != 0, [True, True])  # the windows with a neighbor


FUSED = """
    h, unread, total = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(
        input_ids, token_type_ids, table, places, kinds, gamma, beta, attention_mask)
    pooled = ReduceMean<axes=[1], keepdims=0>(h) f = Cast<to=1>(unread) r = Unsqueeze(f, one)
    q = MatMul(pooled, W) logits = Div(q, r)
"""


@pytest.mark.parametrize("with_segments", [True, False])
def test_the_fused_embedding_of_onnx_runtime(explained: Any, with_segments: bool) -> None:
    """Leave-one-out is that of plain runs of the fused model, and its count of tokens is kept."""
    constants = {
        "table": TABLE, "places": noise(LENGTH, SIZE, seed=7), "kinds": noise(2, SIZE, seed=8),
        "gamma": noise(SIZE, seed=9), "beta": noise(SIZE, seed=10), "W": W, "one": np.array([1]),
    }  # fmt: skip
    body, names = FUSED, ["input_ids", "token_type_ids", "attention_mask"]
    if not with_segments:
        body, names = FUSED.replace("token_type_ids", "").replace("kinds", ""), names[::2]
        del constants["kinds"]
    declared = ", ".join(f"int32[N,T] {name}" for name in names)
    model = tiny(body, declared, "float[N,3] logits", domains=["com.microsoft"], **constants)
    found = explained(model).explain_text(TEXT, "occlusion", 1, fill="mask")
    fed = {name: np.ones((1, len(NUMBERS)), np.int32) for name in names}
    if with_segments:
        fed["token_type_ids"] *= 0

    def score(ids: list[int]) -> float:
        (logits,) = run(model, fed | {"input_ids": np.array([ids], np.int32)})
        return float(logits[0, 1])

    changed = [score([*NUMBERS[:i], IDS["[MASK]"], *NUMBERS[i + 1 :]]) for i in range(len(NUMBERS))]
    expected = np.where(KEPT, score(NUMBERS) - np.array(changed), 0)
    assert_allclose(found.values, expected, atol=1e-6)
    whole = explained(model).explain_text(TEXT, "integrated_gradients", 1)
    assert abs(whole.diagnostics["completeness_gap"]) < 1e-3
