"""A CRNN with random weights, exported from torch: its gradients are those of autograd."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")
from onnxplain import Explainer  # noqa: E402
from onnxplain.targets import Character, Text  # noqa: E402

pytestmark = pytest.mark.peers

CLASSES = 11


class CRNN(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Shi et al., "An End-to-End Trainable Neural Network for Image-based Sequence Recognition"."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d((8, 2)),
        )
        self.recurrent = nn.LSTM(8, 7, bidirectional=True)
        self.scores = nn.Linear(14, CLASSES)

    def logits(self, x):  # type: ignore[no-untyped-def]
        steps = self.features(x).squeeze(2).permute(2, 0, 1)
        return self.scores(self.recurrent(steps)[0])

    def forward(self, x):  # type: ignore[no-untyped-def]
        return torch.nn.functional.log_softmax(self.logits(x), dim=2)


@pytest.fixture(scope="module")
def module() -> CRNN:
    torch.manual_seed(1)
    return CRNN().eval()


@pytest.fixture(scope="module")
def explainer(module: CRNN) -> Explainer:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 1, 16, 48),),
            file,
            input_names=["image"],
            output_names=["y"],
            dynamic_axes={"image": {0: "n", 3: "w"}, "y": {0: "t", 1: "n"}},
            dynamo=False,
            opset_version=17,
        )
    model = onnx.load_model_from_string(file.getvalue())
    return Explainer(model, provider="cpu", blank="first", labels=list("0123456789"))


X = np.random.default_rng(4).normal(size=(3, 1, 16, 64)).astype(np.float32)
STEPS = (2, 3, 9)
CHARACTER = Character(1, 4, STEPS, "3", "3")


def test_the_time_is_not_the_batch(module: CRNN, explainer: Explainer) -> None:
    found = explainer.recognizer
    assert found is not None
    assert (found.axes.text, found.follows_width) == ("(T, N, C)", True)
    with torch.no_grad():
        theirs = module.logits(torch.from_numpy(X))[list(STEPS), :, 4].mean(0).numpy()
    ours = explainer.attribute(X, "gradient", [CHARACTER] * 3)
    assert_allclose(ours.scores, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "target",
    [CHARACTER, Text((CHARACTER, Character(2, 7, (12,), "36", "6")))],
    ids=["char", "text"],
)
def test_gradients(module: CRNN, explainer: Explainer, target: Character | Text) -> None:
    x = torch.from_numpy(X).requires_grad_(True)
    logits = module.logits(x)
    score = sum(weight * logits[step, :, index] for (step, index), weight in target.weights.items())
    (theirs,) = torch.autograd.grad(score.sum(), x)
    ours = explainer.attribute(X, "input_x_gradient", [target] * 3)
    expected = theirs.numpy() * X
    assert_allclose(ours.values, expected, atol=1e-5 * np.abs(expected).max())


def test_hirescam_at_the_features(module: CRNN, explainer: Explainer) -> None:
    """The layer before the recurrent part has one row, and a cell for each step."""
    x = torch.from_numpy(X[:1])
    features = module.features(x).detach().requires_grad_(True)
    steps = features.squeeze(2).permute(2, 0, 1)
    score = module.scores(module.recurrent(steps)[0])[list(STEPS), 0, 4].mean()
    (gradient,) = torch.autograd.grad(score, features)
    ours = explainer.attribute(X[:1], "hirescam", CHARACTER)
    expected = (features.detach() * gradient).sum(1).numpy()
    assert_allclose(ours.values, expected, atol=1e-5 * np.abs(expected).max())
