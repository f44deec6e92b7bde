"""Tokens of a transformer: the values equal those of captum and of plain autograd in torch.

The classifiers have random weights and are exported by torch with both of its exporters.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from texts.words import IDS, TEXT, VOCABULARY, save_tokenizer
from tiny import run

from onnxplain import Explainer

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SIZE, LONGEST, TARGET = 16, 32, 2


class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Attention with two heads, and an MLP, each with a LayerNorm after it, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.query, self.key, self.value, self.out = (nn.Linear(SIZE, SIZE) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(SIZE, 32), nn.GELU(), nn.Linear(32, SIZE))
        self.norms = nn.ModuleList(nn.LayerNorm(SIZE) for _ in range(2))

    def forward(self, x: Any, added: Any) -> Any:
        def heads(linear: Any) -> Any:
            return linear(x).view(x.shape[0], x.shape[1], 2, SIZE // 2).transpose(1, 2)

        products = heads(self.query) @ heads(self.key).transpose(-1, -2)
        weights = torch.softmax(products / (SIZE // 2) ** 0.5 + added, dim=-1)
        mixed = (weights @ heads(self.value)).transpose(1, 2).reshape(x.shape)
        x = self.norms[0](x + self.out(mixed))
        return self.norms[1](x + self.mlp(x))


class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Embeddings of words, places and segments, two blocks, and the first token."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.words = nn.Embedding(len(VOCABULARY), SIZE, padding_idx=0)
        self.places = nn.Embedding(LONGEST, SIZE)
        self.segments = nn.Embedding(2, SIZE)
        self.register_buffer("order", torch.arange(LONGEST).expand(1, -1))
        self.norm = nn.LayerNorm(SIZE)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(SIZE, 3)

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        places = self.places(self.order[:, : input_ids.shape[1]])
        x = self.norm(self.words(input_ids) + places + self.segments(token_type_ids))
        added = (1.0 - attention_mask[:, None, None].float()) * -1e4
        for block in self.blocks:
            x = block(x, added)
        return self.head(torch.tanh(x[:, 0]))


INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def made() -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = Classifier().eval()
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return module


def exported(module: Any, dynamo: bool) -> onnx.ModelProto:
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in INPUTS)
    if dynamo:
        sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=2, max=LONGEST)}
        program = torch.onnx.export(
            module, example, input_names=INPUTS, output_names=["logits"], dynamo=True,
            dynamic_shapes=(sizes,) * 3, verbose=False,
        )  # fmt: skip
        return program.model_proto
    file, axes = io.BytesIO(), {0: "batch", 1: "length"}
    torch.onnx.export(
        module, example, file, input_names=INPUTS, output_names=["logits"], dynamo=False,
        opset_version=17, dynamic_axes=dict.fromkeys(INPUTS, axes) | {"logits": {0: "batch"}},
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


@pytest.fixture(scope="module", params=["script", pytest.param("dynamo", marks=pytest.mark.slow)])
def both(request: Any, tmp_path_factory: Any) -> tuple[Any, onnx.ModelProto, Explainer]:
    """The module, its export and an explainer of texts."""
    module = made()
    model = exported(module, request.param == "dynamo")
    path = save_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    return module, model, Explainer(model, tokenizer=path)


def fed(explanation: Any) -> tuple[Any, Any, Any]:
    ids = torch.tensor([[token.id for token in explanation.text.tokens]])
    return ids, torch.ones_like(ids), torch.tensor([explanation.text.types])


def replaced(ids: Any, number: int = 0) -> Any:
    """The ids with `number` in place of all but the special tokens."""
    keep = (ids == IDS["[CLS]"]) | (ids == IDS["[SEP]"])
    return torch.where(keep, ids, number)


TEXTS = [TEXT, ("was the film bad", "I loved it, you")]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("fill", ["pad", "mask"])
def test_integrated_gradients_are_those_of_captum(both: Any, text: Any, fill: str) -> None:
    module, _, explainer = both
    ours = explainer.explain_text(text, "integrated_gradients", TARGET, baseline=fill, steps=32)
    ids, *others = fed(ours)
    method = captum.LayerIntegratedGradients(module, module.words)
    theirs = method.attribute(
        ids, replaced(ids, 0 if fill == "pad" else 4), target=TARGET,
        additional_forward_args=tuple(others), n_steps=32, method="gausslegendre",
    )  # fmt: skip
    values = theirs.sum(dim=-1)[0].detach().numpy()
    assert np.ptp(values) > 0.1
    assert_allclose(ours.values, values, atol=2e-5 * np.abs(values).max())
    assert abs(ours.diagnostics["completeness_gap"]) < 0.05


@pytest.mark.parametrize("text", TEXTS)
def test_gradients_are_those_of_autograd(both: Any, text: Any) -> None:
    module, _, explainer = both
    ours = explainer.explain_text(text, "gradient", TARGET)
    ids, *others = fed(ours)
    kept: list[Any] = []
    hook = module.words.register_forward_hook(
        lambda *found: kept.append(found[-1]) or found[-1].retain_grad()
    )
    logits = module(ids, *others)
    logits[0, TARGET].backward()
    hook.remove()
    x, gradient = kept[0].detach()[0].numpy(), kept[0].grad[0].numpy()
    lengths = np.linalg.norm(gradient, axis=-1)
    assert_allclose(ours.values, lengths, rtol=2e-4)
    assert_allclose(ours.score, float(logits[0, TARGET].detach()), rtol=1e-4)
    products = (x * gradient).sum(axis=-1)
    ours = explainer.explain_text(text, "input_x_gradient", TARGET)
    assert_allclose(ours.values, products, atol=1e-4 * np.abs(products).max())


@pytest.mark.parametrize(("fill", "number"), [("pad", 0), ("mask", 4), (IDS["film"], IDS["film"])])
def test_occlusion_leaves_one_token_out(both: Any, fill: Any, number: int) -> None:
    """The same as running the model on ids in which the token is replaced."""
    _, model, explainer = both
    ours = explainer.explain_text(TEXT, "occlusion", TARGET, fill=fill)
    ids, mask, types = (value.numpy() for value in fed(ours))

    def score(numbers: Any) -> float:
        found = run(model, {"input_ids": numbers, "attention_mask": mask, "token_type_ids": types})
        return float(found[0][0, TARGET])

    expected = np.zeros(ids.shape[1])
    for place in range(1, ids.shape[1] - 1):
        changed = ids.copy()
        changed[0, place] = number
        expected[place] = score(ids) - score(changed)
    assert_allclose(ours.values, expected, atol=1e-5 * np.abs(expected).max() + 1e-6)


@pytest.mark.parametrize("method", ["deeplift", "lrp", "smoothgrad", "guided_ig", "rise"])
def test_other_methods_give_a_value_for_each_token(both: Any, method: str) -> None:
    options = {"smoothgrad": {"samples": 4}, "guided_ig": {"steps": 8}, "rise": {"samples": 40}}
    found = both[-1].explain_text(TEXT, method, TARGET, **options.get(method, {}))
    assert found.values.shape == (len(found.text.tokens),)
    assert np.isfinite(found.values).all()
