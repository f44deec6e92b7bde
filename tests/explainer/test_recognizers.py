"""Text recognizers: which text is read, how its parts are named, and what is explained of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from column_recognizer import (
    AS_IT_IS,
    BLANK_LOGIT,
    COLUMNS,
    ENDS,
    GAIN,
    ROWS,
    logits,
    picture,
    recognizer,
)
from numpy.testing import assert_allclose
from references.perturbation import rise, seeded_rise_masks
from tiny import Array, run, tiny

from onnxplain import Explainer, targets
from onnxplain.errors import ModelError, PreprocessError, TargetError

PATH = "aa-b-bc-"
PICTURE = picture(PATH)
X = np.moveaxis(PICTURE, -1, 0)[None].astype(np.float32) / 255
STEPS = {"char:1": [0, 1], "char:2": [3], "char:3": [5], "char:4": [6]}
CLASS = dict(zip(STEPS, (1, 2, 2, 3), strict=True))
CHARACTERS = ["a", "b", "c"]


def explainer(end: str = "TNC", **options: object) -> Explainer:
    """The recognizer with known characters."""
    return Explainer(recognizer(end), preprocess=AS_IT_IS, labels=CHARACTERS, **options)


def softmax(z: Array) -> Array:
    """Over the last axis, in float64."""
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def score(x: Array, target: str) -> float:
    """The mean logit of a character."""
    return float(logits(x)[0, STEPS[target], CLASS[target]].mean())


AXES = {end: f"({', '.join(end.split()[0])})" for end in ENDS}


@pytest.mark.parametrize("end", [end for end in ENDS if end not in ("NTC", "NCT")])
def test_what_is_read_in_every_order_of_the_axes(end: str) -> None:
    own = explainer(end)
    found = own.recognizer
    assert found is not None
    assert found.axes.text == AXES[end]
    assert found.alphabet.blank == 0
    assert found.alphabet.origin == "read at all steps of pictures of one color"
    read = own.recognized(PICTURE)
    assert read.text == "abbc"
    assert [(one.label, list(one.steps)) for one in read.characters] == [
        (label, steps) for label, steps in zip("abbc", STEPS.values(), strict=True)
    ]
    assert_allclose(read.scores, softmax(logits(X)[0]), rtol=1e-5)


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize("target", list(STEPS))
def test_the_gradient_is_that_of_the_steps_of_the_character(end: str, target: str) -> None:
    """Every end has the same logits, so the same gradient: GAIN or -GAIN / 2 at the cells."""
    x = X + np.float32(0.125)  # gray changes no logit
    found = explainer(end, blank="first").attribute(x, "input_x_gradient", target)
    expected = np.zeros_like(x)
    for step in STEPS[target]:
        for color in range(3):
            weight = GAIN if color == CLASS[target] - 1 else -GAIN / 2
            share = weight / (ROWS * COLUMNS * len(STEPS[target]))
            expected[0, color, :, COLUMNS * step : COLUMNS * (step + 1)] = share
    assert_allclose(found.values, expected * x, atol=1e-6)
    assert_allclose(found.scores, [score(x, target)], rtol=1e-6)


def test_the_text_is_the_mean_over_its_characters() -> None:
    found = explainer().explain(PICTURE, "input_x_gradient")
    assert found.target.name == "text_abbc"
    assert found.target.title == 'text "abbc"'
    assert found.score_kind == "mean logit of 4 characters"
    assert found.score == pytest.approx(np.mean([score(X, target) for target in STEPS]))
    assert explainer().explain(PICTURE, "gradient", "text").target == found.target


@pytest.mark.parametrize("end", ["TNC", "TNC softmax", "TNC log"])
def test_a_probability_is_called_one(end: str) -> None:
    found = explainer(end).explain(PICTURE, "occlusion", "char:1", score="probability")
    expected = softmax(logits(X))[0, [0, 1], 1].mean()
    assert found.score_kind == "mean probability of 2 steps"
    assert found.score == pytest.approx(expected, rel=1e-5)


def test_hirescam_at_the_cells() -> None:
    """At the layer of cells, the activation times the gradient of the logit, over the channels."""
    found = explainer().explain(PICTURE, "hirescam", "char:3", layer="cells")
    assert_allclose(found.values, [[0, 0, 0, 0, 0, GAIN, 0, 0]], atol=1e-5)
    assert found.score_kind == "logit"
    assert found.score == pytest.approx(GAIN)


def test_a_method_with_weights_of_channels_warns() -> None:
    found = explainer().explain(PICTURE, "gradcam", "char:3", layer="cells")
    assert "gradcam has one weight for each channel" in found.diagnostics["warnings"][0]
    # Both cells of "b" are as warm as each other, because the weight of green is that of char:3.
    assert_allclose(found.values[0, [3, 5]], [GAIN / 8] * 2, rtol=1e-5)


def test_occlusion_scores_the_same_steps_and_classes() -> None:
    """Where a black cell hides "b" a blank is read; the score is still that of "b" there."""
    window = {"window": (ROWS, COLUMNS), "stride": (ROWS, COLUMNS), "fill": "zeros"}
    found = explainer().attribute(X, "occlusion", "char:3", **window)
    expected = np.zeros(X.shape[-1])
    expected[COLUMNS * 5 : COLUMNS * 6] = GAIN
    assert_allclose(found.values, np.broadcast_to(expected, X.shape), atol=1e-4)


@pytest.mark.parametrize("method", ["lrp", "deeplift", "integrated_gradients"])
def test_relevance_adds_up_to_the_logit_without_the_bias(method: str) -> None:
    """From black, whose logits of characters are 0, a linear model distributes the whole logit."""
    options = {} if method == "lrp" else {"baseline": "zeros"}
    found = explainer("TNC softmax").attribute(X, method, "char:3", **options)
    own = found.values[..., COLUMNS * 5 : COLUMNS * 6]
    assert_allclose(own.sum(), GAIN, rtol=1e-4)
    assert_allclose(found.values.sum(), GAIN, rtol=1e-4)


def test_rise_against_a_reference() -> None:
    options = {"samples": 24, "grid": 4, "seed": 3, "score": "logit", "baseline": "zeros"}
    found = explainer().attribute(X, "rise", "char:4", **options)
    masks = seeded_rise_masks(24, 4, 0.5, 3, (ROWS, X.shape[-1]))
    expected = rise(X, np.zeros_like(X), lambda x: score(x, "char:4"), masks, 0.5)
    assert_allclose(found.values[0].mean(axis=0), expected, rtol=1e-4, atol=1e-5)


def test_several_samples_at_once_are_those_one_by_one() -> None:
    """(T, N, C) is run in batches, with the samples on the right axis."""
    own = explainer()
    others = [picture(path) for path in ("c--aa-b-", "-bb-ca--")]
    x = np.concatenate([X, *(np.moveaxis(o, -1, 0)[None] / np.float32(255) for o in others)])
    together = own.attribute(x, "input_x_gradient", "char:2")
    singly = [own.attribute(one[None], "input_x_gradient", "char:2").values[0] for one in x]
    assert_allclose(together.values, singly, atol=1e-6)
    assert [target.label for target in together.targets] == ["b", "a", "c"]
    assert own.batching(X) == "in batches"


def test_pictures_of_different_widths() -> None:
    pictures = [picture(path) for path in ("a-b", "cc-ab-", "b-")]
    found = list(explainer().explain_many(pictures, "gradient", "text"))
    assert [one.target.read.text for one in found if one.target.read] == ["ab", "cab", "b"]
    assert [one.heatmap.shape for one in found] == [image.shape[:2] for image in pictures]


@pytest.mark.parametrize("end", ["TNC", "NTC", "TNC log", "NCT"])
@pytest.mark.parametrize("batch", [1, 2])
def test_fixed_sizes(end: str, batch: int) -> None:
    """A fixed batch shows which axis it is; the width does not, so the blank must be given."""
    model = recognizer(end, batch=batch, width=32)
    own = Explainer(model, preprocess={"scale": 1 / 255}, labels=CHARACTERS, blank="first")
    assert own.recognized(PICTURE).text == "abbc"
    found = own.explain(PICTURE, "hirescam", "char:3", layer="cells")
    assert_allclose(found.values, [[0, 0, 0, 0, 0, GAIN, 0, 0]], atol=1e-5)


def test_without_a_known_blank_a_step_is_explained_and_no_text() -> None:
    own = Explainer(recognizer(width=32), preprocess={"scale": 1 / 255}, labels=CHARACTERS)
    for target in ("text", "char:1", "top1"):
        with pytest.raises(
            TargetError, match=r"which of the 4 classes is the blank.*--blank first"
        ):
            own.explain(PICTURE, "gradient", target)
    found = own.explain(PICTURE, "gradient", "step:3,2")
    assert found.target.title == "class 2 at step 3"
    assert found.score == pytest.approx(GAIN)
    assert own.explain(PICTURE, "gradient", "step:5").target.index == 2
    assert own.explain(PICTURE, "eigencam", layer="cells").method == "eigencam"


def test_a_blank_that_is_last() -> None:
    model = recognizer("TNC", blank=3)
    own = Explainer(model, preprocess=AS_IT_IS, labels=CHARACTERS)
    assert own.recognized(PICTURE).text == "abbc"
    assert own.recognizer is not None
    assert own.recognizer.alphabet.blank == 3


def test_an_answer_that_may_be_anything_is_refused() -> None:
    """(N, T, C) without a softmax may hold anything: it says how to name a text."""
    own = explainer("NTC")
    assert own.recognizer is None
    with pytest.raises(TargetError, match=r"if it is a text recognizer trained with CTC.*--blank"):
        own.explain(PICTURE, "gradient")
    with pytest.raises(TargetError, match=r"not known to hold a text.*--blank first"):
        own.recognized(PICTURE)


def test_classes_on_an_unknown_axis_are_refused() -> None:
    own = Explainer(recognizer("NCT", width=32), preprocess={"scale": 1 / 255}, blank="first")
    with pytest.raises(ModelError, match=r"which axis of the output 'y' of shape \(1, 4, 8\)"):
        own.explain(PICTURE, "gradient")


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("m = ReduceMean <axes = [1, 2], keepdims = 0> (x) y = Transpose (m)", "float[W,N] y"),
        ("y = Transpose <perm = [2, 3, 0, 1]> (x)", "float[8,W,N,3] y"),
    ],
)
def test_a_first_axis_that_is_not_that_of_the_samples_is_refused(body: str, output: str) -> None:
    model = tiny(body, "float[N,3,8,W] x", output)
    own = Explainer(model, preprocess=AS_IT_IS)
    with pytest.raises(ModelError, match="its first axis does not hold the samples"):
        own.explain(PICTURE, "gradient", "0")


def test_a_signal_with_the_time_first_is_refused() -> None:
    model = tiny("y = Transpose <perm = [2, 0, 1]> (x)", "float[N,4,T] x", "float[T,N,4] y")
    with pytest.raises(ModelError, match=r"shape \(5, 1, 4\) for a batch of 1"):
        Explainer(model).attribute(np.ones((1, 4, 5), np.float32), "gradient", "0")


def test_a_blank_for_a_classifier_is_refused() -> None:
    model = tiny("y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", "float[N,3,8,W] x")
    with pytest.raises(ModelError, match="three axes of a text recognizer's answer"):
        Explainer(model, preprocess=AS_IT_IS, blank="last").explain(PICTURE, "gradient")


def test_labels_that_do_not_fit_are_refused() -> None:
    own = Explainer(recognizer(), preprocess=AS_IT_IS, labels=list("abcdef"))
    with pytest.raises(PreprocessError, match="go up to 5, and the recognizer has 4 classes"):
        own.explain(PICTURE, "gradient")


def test_paddle_metadata() -> None:
    """Blank, the characters, and a space where there is one class more; blue, green, red."""
    model = recognizer("NTC softmax")
    model.metadata_props.add(key="character", value="a\nb")
    own = Explainer(model)
    settings = own.preprocess
    assert (settings.size, settings.channels, settings.fit) == ((ROWS, None), "BGR", "stretch")
    assert (settings.scale, settings.mean, settings.std) == (1 / 255, (0.5,), (0.5,))
    read = own.recognized(picture("cc-b-a"))
    assert read.text == "ab "
    found = own.explain(picture("cc-b-a"), "gradient", "char:3")
    assert found.target.title == 'char 3 " " at step 5 of "ab "'


def test_the_manifest_says_what_was_read(tmp_path: Path) -> None:
    found = explainer().explain(PICTURE, "gradient", "char:1")
    files = found.save(tmp_path)
    assert all("char1_a_steps_0-1_abbc" in Path(file).name for file in files)
    (path,) = (file for file in map(Path, files) if file.suffix == ".json")
    manifest = json.loads(path.read_text())
    assert manifest["target"]["index"] == 1
    assert manifest["target"]["label"] == "a"
    assert manifest["target"]["read"] == {"text": "abbc", "steps": [0, 1], "character": 1}
    assert manifest["score"]["kind"] == "mean logit of 2 steps"


def test_a_target_can_be_given_as_an_object() -> None:
    """One that was read in one picture is scored in another."""
    own = explainer()
    (character,) = own.targets(PICTURE, "char:3")
    assert isinstance(character, targets.Character)
    other = picture("aa-b-cc-")
    found = own.explain(other, "gradient", character)
    assert found.score == pytest.approx(-GAIN / 2)
    with pytest.raises(TargetError, match="no step 5: the answer has 3, 0 to 2"):
        own.explain(picture("a-b"), "gradient", character)


def test_every_step_has_the_score_of_plain_onnx_runtime() -> None:
    (y,) = run(recognizer(), {"x": X})
    own = explainer()
    for step, index in np.ndindex(len(y), 4):
        found = own.attribute(X, "gradient", f"step:{step},{index}")
        assert_allclose(found.scores, [y[step, 0, index]], rtol=1e-5, atol=1e-5)
    assert y[2, 0, 0] == pytest.approx(BLANK_LOGIT)


def test_a_picture_of_one_step() -> None:
    """An answer (1, 1, 4) is no list of classes."""
    found = explainer().attribute(X[..., 12:16], "input_x_gradient", "text")
    assert found.targets[0].name == "text_b"
    assert_allclose(found.scores, [GAIN], rtol=1e-6)
