"""The sanity check of Adebayo et al. 2018: maps must forget what the model forgets."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.stats import spearmanr
from tiny import noise, tiny

from onnxplain import Explainer, sanity_check
from onnxplain.cli import sanity
from onnxplain.cli.app import execute
from onnxplain.errors import ModelError, OptionError
from onnxplain.metrics.sanity import SanityCheck, Stage
from onnxplain.metrics.similarity import rank_correlation
from onnxplain.model.load import load
from onnxplain.transforms.randomization import Weighted, shuffled, weighted_layers

MODELS = Path(__file__).parents[2] / "models"
CHELSEA = MODELS / "pictures" / "chelsea.png"


@pytest.mark.parametrize("levels", [1000, 7])
def test_rank_correlation_is_scipys(levels: int) -> None:
    random = np.random.default_rng(levels)
    a = random.integers(levels, size=200)
    b = a + random.integers(levels, size=200)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


NODES = """
    wide = DequantizeLinear(FIRST, SCALE)
    turned = Transpose<perm=[0,1,3,2]>(wide)
    a = Conv<pads=[1,1,1,1]>(x, turned)
    f = Flatten(a)
    y = MatMul(f, SECOND)
    aside = MatMul(f, THIRD)
"""


def quantized_net():
    return tiny(
        NODES,
        "float[N,1,4,4] x",
        "float[N,3] y, float[N,3] aside",
        FIRST=np.arange(-18, 18, dtype=np.int8).reshape(4, 1, 3, 3),
        SCALE=np.float32(0.1),
        SECOND=noise(64, 3),
        THIRD=noise(64, 3, seed=1),
    )


def test_layers_with_weights_come_from_the_score_down() -> None:
    """Quantized and transposed weights belong to the layer that uses them; others do not count."""
    found = weighted_layers(load(quantized_net()), "x", "y")
    assert found == [Weighted("y", ("SECOND",)), Weighted("a", ("FIRST",))]


def test_constants_of_a_detector_are_no_layers() -> None:
    """Of the shipped detector: its cells' positions, and its strides."""
    model = load(MODELS / "digit_detector.onnx")
    graph = model.proto.graph
    kinds = {name: node.op_type for node in graph.node for name in node.input}
    trained = {t.name for t in graph.initializer if t.name.endswith(".weight") and len(t.dims) > 1}
    for score in model.outputs:
        found = weighted_layers(model, "images", score.name)
        weights = {name for layer in found for name in layer.weights}
        assert weights <= trained
        assert {kinds[name] for name in weights} == {"Conv"}


def test_shuffling_keeps_every_number_and_touches_nothing_else() -> None:
    model = load(quantized_net())
    before = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    mixed = shuffled(model, {"FIRST"}, seed=0)
    after = {t.name: numpy_helper.to_array(t) for t in mixed.proto.graph.initializer}
    assert list(after) == list(before)
    for name, value in before.items():
        np.testing.assert_array_equal(np.sort(after[name], None), np.sort(value, None))
        assert np.array_equal(after[name], value) == (name != "FIRST")
    again, other = shuffled(model, {"FIRST"}, seed=0), shuffled(model, {"FIRST"}, seed=1)
    assert again.proto == mixed.proto != other.proto


@pytest.mark.parametrize(("method", "passes"), [("cam", True), ("guided_backprop", False)])
def test_guided_backpropagation_does_not_forget_and_cam_does(method: str, passes: bool) -> None:
    """As in figures 2 and 3 of the paper."""
    explainer = Explainer(MODELS / "squeezenet1_1.onnx", provider="cpu")
    found = sanity_check(explainer, CHELSEA, method, stages=2)
    assert found.passed == passes
    assert [stage.layers for stage in found.stages] == [1, 26]
    assert found.stages[0].node == "conv10"
    first, last = (stage.correlation for stage in found.stages)
    assert first is not None
    assert last is not None
    assert (first > 0.9) == (not passes)
    assert abs(last) < 0.7
    assert found.draw().shape[1] == 10 + 4 * 234  # the photograph, and three maps
    trained = explainer.explain(CHELSEA, method)
    np.testing.assert_array_equal(trained.values, found.trained.values)


def test_a_sheet_is_no_map() -> None:
    explainer = Explainer(MODELS / "squeezenet1_1.onnx", provider="cpu")
    with pytest.raises(OptionError, match=r"feature_maps draws no map .* such as gradcam"):
        sanity_check(explainer, CHELSEA, "feature_maps")


def test_a_model_without_weights_has_nothing_to_forget() -> None:
    explainer = Explainer(
        tiny("p = GlobalAveragePool(x)  y = Flatten(p)"), preprocess={"size": 8, "scale": 1 / 255}
    )
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    with pytest.raises(ModelError, match="has weights to shuffle"):
        sanity_check(explainer, picture, "occlusion")
    with pytest.raises(OptionError, match="at least one stage, not 0"):
        sanity_check(explainer, picture, "occlusion", stages=0)


@pytest.mark.parametrize(
    ("correlations", "words"),
    [
        ((0.9, 0.1, 0.1), "stays the same (above 0.7)"),
        ((0.1, None, 0.8), "is like the trained model's again (above 0.7) with 3 shuffled"),
        ((0.1, None, 0.2), "as it should"),
    ],
)
def test_the_verdict_tells_a_map_that_stayed_from_one_that_came_back(
    correlations: tuple[float | None, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stages = tuple(
        Stage("node", depth, value, None) for depth, value in enumerate(correlations, start=1)
    )

    def check(explainer: Explainer, *asked: object, **options: object) -> SanityCheck:
        return SanityCheck(explainer.explain(CHELSEA, "input_x_gradient", 0), stages)

    monkeypatch.setattr(sanity, "sanity_check", check)
    model = tmp_path / "model.onnx"
    onnx.save(tiny("p = GlobalAveragePool(x)  y = Flatten(p)"), model)
    asked = ["sanity", str(model), str(CHELSEA), "-m", "input_x_gradient", "--target", "0"]
    assert execute([*asked, "-o", str(tmp_path)]) == 0
    assert words in capfd.readouterr().out


def test_the_command_prints_a_verdict_and_draws_the_maps(tmp_path, capfd) -> None:
    model = str(MODELS / "squeezenet1_1.onnx")
    asked = ["sanity", model, str(CHELSEA), "-m", "cam", "--stages", "2", "-o", str(tmp_path)]
    assert execute(asked) == 0
    out = capfd.readouterr().out
    assert "changes with the model's weights, as it should." in out
    assert (tmp_path / "chelsea.sanity.cam.png").stat().st_size > 10_000
    assert execute([*asked, "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["passed"] is True
    assert [stage["layers"] for stage in facts["stages"]] == [1, 26]
