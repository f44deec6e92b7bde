"""`--smooth` and `--sigma` on the command line: in manifests, in jobs, and in exports."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

SQUARE = np.zeros((8, 8), np.float32)
"""The map of the red square of the picture that `paint` makes."""
SQUARE[2:5, 4:8] = 1


def test_the_manifest_says_what_was_done(cli, model, paint, tmp_path):
    """The map is linear in the picture, so that the mean of the six maps is the map itself."""
    paint("photos/a.png")
    done = cli("run", model, "photos/a.png", "-m", "cam", "--smooth", "aug", "-f", "npy,json")
    assert done.status == 0, done.err
    (manifest,) = (tmp_path / "onnxplain-out").glob("*.json")
    found = json.loads(manifest.read_text())
    assert found["parameters"]["smooth"] == "aug"
    assert found["diagnostics"]["averaged_samples"] == 6
    assert found["diagnostics"]["forward_passes"] == 6
    assert_allclose(np.load(manifest.with_suffix(".npy")), SQUARE, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("cam", "--smooth", "aug"), ("cam",)),
        (("input_x_gradient", "--sigma", "2"), ("input_x_gradient", "--sigma", "3")),
    ],
)
def test_another_smoothing_is_another_job(cli, model, paint, first, then):
    paint("photos/a.png"), paint("photos/b.png", slice(0, 2))
    assert cli("run", model, "photos", "-m", *first, "-f", "npy").status == 0
    again = cli("run", model, "photos", "-m", *first, "-f", "npy")
    assert again.status == 0
    other = cli("run", model, "photos", "-m", *then, "-f", "npy")
    assert other.status == 2
    assert "holds another job, which differs in the options" in other.err


def test_what_cannot_be_smoothed_is_refused(cli, model, paint):
    paint("a.png")
    refused = cli("run", model, "a.png", "-m", "occlusion", "--smooth", "eigen")
    assert refused.status == 2
    assert "the map of occlusion is no such sum: use gradcam" in refused.err
    refused = cli("export", model, "-m", "cam", "--smooth", "aug")
    assert refused.status == 2
    assert "smooth aug explains six samples" in refused.err
    refused = cli("export", model, "-m", "ablationcam", "--smooth", "eigen")
    assert refused.status == 2
    assert "principal components of the sums of ablationcam" in refused.err
