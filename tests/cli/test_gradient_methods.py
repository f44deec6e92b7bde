"""Methods with gradients from the command line, on models whose gradients are simple."""

import json

import cv2
import numpy as np
import pytest
from onnx import helper
from references.paths import guided_ig
from scipy.ndimage import gaussian_filter

# The red square of the picture, in the model's first channel; each logit is a mean of 64 values.
SQUARE = np.zeros((8, 8), np.float32)
SQUARE[2:5, 4:8] = 1


@pytest.fixture
def squares(build):
    """A model whose logits are the mean squares of the colors."""
    return build(
        [
            helper.make_node("Mul", ["x", "x"], ["planes"], "square"),
            helper.make_node("GlobalAveragePool", ["planes"], ["pooled"], "pool"),
            helper.make_node("Flatten", ["pooled"], ["y"], "flatten"),
        ],
        weights=(),
    )


def explained(outcome, folder):
    """The values and the manifest of the one picture."""
    assert outcome.status == 0, outcome.err
    files = json.loads(outcome.out)["files"]
    manifest = next(file for file in files if file.endswith(".json"))
    return np.load(folder / files[0]), json.loads((folder / manifest).read_text())


def test_integrated_gradients_to_files(cli, squares, picture, tmp_path):
    options = ["--rule", "riemann-middle", "--steps", "5", "--baseline", "zeros"]
    outcome = cli("run", squares, picture, "-m", "integrated_gradients", *options, "--json")
    values, manifest = explained(outcome, tmp_path)
    np.testing.assert_allclose(values[0], SQUARE / 64, rtol=1e-5)
    assert not values[1:].any()
    assert manifest["parameters"]["steps"] == 5
    assert manifest["parameters"]["rule"] == "riemann-middle"
    assert manifest["diagnostics"]["completeness_gap"] == pytest.approx(0, abs=1e-6)
    assert "Warning" not in outcome.err


def test_a_gap_is_a_warning_beside_the_result(cli, squares, picture, tmp_path):
    options = ["--rule", "riemann-left", "--steps", "5"]
    command = ("run", squares, picture, "-m", "integrated_gradients", *options)
    outcome = cli(*command, "--json")
    values, manifest = explained(outcome, tmp_path)
    np.testing.assert_allclose(values[0], 0.8 * SQUARE / 64, rtol=1e-5)
    (sentence,) = manifest["diagnostics"]["warnings"]
    assert "The values add up to 0.15, and the score changes by 0.1875: take more" in sentence
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("Warning: "))
    assert line == f"Warning: {picture}, integrated_gradients, 0_red_fox: {sentence}"
    assert cli(*command, "-q").err == ""


def test_a_tolerance_doubles_the_steps(cli, squares, picture, tmp_path):
    options = ["--rule", "riemann-left", "--steps", "5", "--tolerance", "0.06"]
    outcome = cli("run", squares, picture, "-m", "integrated_gradients", *options, "--json")
    assert explained(outcome, tmp_path)[1]["diagnostics"]["steps"] == 20  # a gap of 1 in steps
    assert "Warning" not in outcome.err


def test_expected_gradients_from_a_folder_of_pictures(cli, squares, paint, picture, tmp_path):
    paint("set/dark.png", slice(0, 0))
    paint("set/same.png")
    options = ["--baselines", "set", "--samples", "40", "--seed", "3"]
    outcome = cli("run", squares, picture, "-m", "expected_gradients", *options, "--json")
    values, manifest = explained(outcome, tmp_path)
    random = np.random.default_rng(3)
    dark = random.integers(2, size=40) == 0
    shares = random.random(40, np.float32)
    np.testing.assert_allclose(
        values[0], SQUARE * (2 * shares * dark).mean() / 64, rtol=1e-5, atol=1e-9
    )
    assert manifest["parameters"]["baselines"]["shape"] == [2, 3, 8, 8]


def test_smoothgrad_without_noise_is_the_gradient(cli, squares, picture, tmp_path):
    options = ["--noise", "0", "--samples", "2"]
    outcome = cli("run", squares, picture, "-m", "smoothgrad", *options, "--json")
    np.testing.assert_allclose(explained(outcome, tmp_path)[0][0], 2 * SQUARE / 64, rtol=1e-6)


@pytest.fixture
def shades(tmp_path):
    """A picture whose pixels have different red values, and these values in [0, 1], (8, 8)."""
    red = np.random.default_rng(0).permutation(64).reshape(8, 8) * 4 + 3
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 2] = red
    path = tmp_path / "shades.png"
    cv2.imwrite(str(path), picture)
    return path, red / 255


def test_blur_ig_takes_its_sigma(cli, squares, shades, tmp_path):
    """∫ 2γγ' is γ² between the ends of the path, at each pixel."""
    path, red = shades
    outcome = cli("run", squares, path, "-m", "blur_ig", "--max-sigma", "3", "--json")
    values, manifest = explained(outcome, tmp_path)
    blurred = gaussian_filter(red, 3.0, mode="reflect", truncate=8)
    np.testing.assert_allclose(values[0], (red**2 - blurred**2) / 64, atol=1e-6)
    assert not values[1:].any()
    assert manifest["parameters"]["max_sigma"] == 3
    assert manifest["diagnostics"]["completeness_gap"] == pytest.approx(0, abs=1e-5)


def test_guided_ig_takes_its_fraction_corridor_and_steps(cli, squares, shades, tmp_path):
    path, red = shades
    options = {"fraction": 0.1, "max_distance": 0.2, "steps": 20}
    flags = [text for name, value in options.items() for text in (flag(name), value)]
    outcome = cli("run", squares, path, "-m", "guided_ig", *flags, "--json")
    values, manifest = explained(outcome, tmp_path)
    x = np.stack([red, np.zeros((8, 8)), np.zeros((8, 8))])
    first = np.zeros_like(x)
    first[0] = 1

    def expected(**changed):
        return guided_ig(x, np.zeros_like(x), lambda at: 2 * at * first / 64, **options | changed)

    largest = np.abs(expected()).max()
    np.testing.assert_allclose(values, expected(), atol=1e-4 * largest)
    for changed in ({"fraction": 0.25}, {"max_distance": 0.02}, {"steps": 200}):
        assert np.abs(expected(**changed) - expected()).max() > 1e-2 * largest
    assert options.items() <= manifest["parameters"].items()
    gap = values.sum() - (red**2).sum() / 64
    assert manifest["diagnostics"]["completeness_gap"] == pytest.approx(gap, abs=1e-6)


def flag(name):
    return "--" + name.replace("_", "-")


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("expected_gradients", [], "needs baselines"),
        ("expected_gradients", ["--baselines", "nowhere"], "nowhere"),
        ("integrated_gradients", ["--rule", "simpson"], "takes one of gauss-legendre"),
        ("integrated_gradients", ["--trials", "3"], "uniform, or one trial"),
        ("gradient", ["--steps", "3"], "no option 'steps'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(cli, squares, picture, method, options, sentence):
    assert sentence in cli("run", squares, picture, "-m", method, *options).sentence


def test_baselines_of_different_sizes_are_refused(cli, build, paint, picture, tmp_path):
    wide = np.zeros((8, 12, 3), np.uint8)
    (tmp_path / "set").mkdir()
    paint("set/small.png")
    cv2.imwrite(str(tmp_path / "set" / "wide.png"), wide)
    model = build(shape=("N", 3, "H", "W"))
    outcome = cli(
        *("run", model, picture, "-m", "expected_gradients", "--baselines", "set"),
        *("--size", "picture"),
    )
    assert "become inputs of different sizes: choose one with --size" in outcome.sentence
