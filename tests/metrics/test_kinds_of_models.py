"""Metrics on every kind of model: both ends of a deletion curve are runs of plain ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.metrics.judged import Case
from onnxplain.metrics.registry import make_metric

SEGMENTER = tiny(
    "y = Conv<pads=[1,1,1,1]>(x, W)", "float[N,3,8,8] x", "float[N,2,8,8] y", W=noise(2, 3, 3, 3)
)
SIGNAL = tiny(
    "c = Conv(x, W)  r = Relu(c)  p = GlobalAveragePool(r)  y = Flatten(p)",
    "float[N,2,40] x",
    W=noise(4, 2, 5),
)
ROW = tiny("y = MatMul(x, W)", "float[N,6] x", W=noise(6, 3))
PAIRS = tiny("f = Flatten(x)  y = MatMul(f, W)", "float[2,1,4,4] x", "float[2,3] y", W=noise(16, 3))
WHOLE = tiny(
    "f = Cast<to=1>(x)  g = Flatten(f)  y = MatMul(g, W)", "uint8[N,1,4,4] x", W=noise(16, 3)
)
EMBEDDING = tiny("f = Flatten(x)  y = MatMul(f, W)", "float[N,1,4,4] x", W=noise(16, 600))


def cosine(found, file: Path):
    reference = np.load(file)
    size = np.linalg.norm(found, axis=1) * np.linalg.norm(reference)
    return found @ reference.ravel() / size


KINDS = {
    "segmenter": (SEGMENTER, noise(1, 3, 8, 8), "1@all", lambda y, _: y[:, 1].mean((1, 2))),
    "signal": (SIGNAL, noise(1, 2, 40), "2", lambda y, _: y[:, 2]),
    "row": (ROW, noise(1, 6), "0", lambda y, _: y[:, 0]),
    "batches of two": (PAIRS, noise(1, 1, 4, 4), "1", lambda y, _: y[:, 1]),
    "whole numbers": (
        WHOLE,
        np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4),
        "1",
        lambda y, _: y[:, 1],
    ),
    "embedding": (EMBEDDING, noise(1, 1, 4, 4), "similar:", cosine),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_the_ends_of_a_curve_are_the_sample_and_the_baseline(kind, method, tmp_path) -> None:
    model, x, target, read = KINDS[kind]
    file = tmp_path / "reference.npy"
    np.save(file, noise(600, seed=3))
    named = f"similar:{file}" if target == "similar:" else target
    case = Case.of(Explainer(model, provider="cpu"), x, named)
    options = {"fill": 1.0} if method == "occlusion" else {}
    judged = case.explained(method, **options)
    baseline = np.ones_like(x)
    given = {"perturb_baseline": 1.0, "score": "logit", "steps": 4}
    scores = make_metric("deletion", given).measure(judged).details["scores"]
    feed = np.repeat(x, 2, axis=0), np.repeat(baseline, 2, axis=0)
    ends = [float(read(run(model, {"x": one})[0], file)[0]) for one in feed]
    assert scores[0] == pytest.approx(ends[0], rel=1e-4, abs=1e-5)
    assert scores[-1] == pytest.approx(ends[1], rel=1e-4, abs=1e-5)
    assert make_metric("max_sensitivity", {"nr_samples": 2}).measure(judged).value >= 0
    assert make_metric("infidelity", {"n_perturb_samples": 4}).measure(judged).value >= 0
    assert 0 <= make_metric("sparseness").measure(judged).value < 1


@pytest.mark.parametrize("name", ["road", "sic"])
def test_metrics_of_pictures_refuse_rows(name) -> None:
    _, x, target, _ = KINDS["row"]
    judged = Case.of(Explainer(ROW, provider="cpu"), x, target).explained("gradient")
    with pytest.raises(OptionError, match=name):
        make_metric(name).measure(judged)
