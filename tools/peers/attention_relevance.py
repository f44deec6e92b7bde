# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""LRP of LXT on a small transformer, by the functions of its module `lxt.explicit`.

Version read and run: 2.1, installed without its dependencies; its other module, `lxt.efficient`,
does not import with transformers 5. Relevance takes the place of the gradient: the backward pass of
each function distributes it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import torch
from lxt.explicit import functional, rules
from numpy.typing import NDArray
from torch.nn import functional as plain

Float32 = NDArray[np.float32]
Call = Callable[..., torch.Tensor]

WIDTH, HEADS, DEPTH, TOKENS, CLASSES = 16, 2, 3, 9, 4
_EPSILON = 1e-9


@dataclass(frozen=True)
class Functions:
    """What a transformer is made of."""

    linear: Call
    add: Call
    norm: Call
    activation: Call
    softmax: Call
    scores: Call
    values: Call


PLAIN = Functions(
    linear=plain.linear,
    add=torch.add,
    norm=lambda x, w, b: plain.layer_norm(x, [WIDTH], w, b, 1e-5),
    activation=plain.gelu,
    softmax=lambda x: torch.softmax(x, -1),
    scores=torch.matmul,
    values=torch.matmul,
)


def _lxt(softmax: Call, values: Call) -> Functions:
    return Functions(
        linear=lambda x, w, b: functional.linear_epsilon(x, w, b, _EPSILON),
        add=lambda a, b: functional.add2(a, b, False, _EPSILON),
        norm=lambda x, w, b: functional.layer_norm(x, w, b, 1e-5),
        activation=lambda x: rules.identity(plain.gelu, x),
        softmax=softmax,
        scores=lambda a, b: functional.matmul(a, b, False, _EPSILON),
        values=values,
    )


BY_ATTENTION: Mapping[str, Functions] = {
    "attnlrp": _lxt(
        lambda x: functional.softmax(x, -1), lambda a, b: functional.matmul(a, b, False, _EPSILON)
    ),
    "cp": _lxt(
        lambda x: torch.softmax(x.detach(), -1),
        lambda a, b: rules.epsilon_lrp(torch.matmul, _EPSILON, a, b),
    ),
}
"""LXT's functions by our option `attention`."""


class Transformer(torch.nn.Module):
    """Tokens (N, TOKENS, WIDTH) to the logits of the first one. Scores of attention are not scaled.

    `functions` are those of the forward pass.
    """

    functions = PLAIN

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.blocks = torch.nn.ModuleList(_block() for _ in range(DEPTH))
        self.norm, self.head = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, CLASSES)
        for value in self.parameters():
            torch.nn.init.normal_(value, std=0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        f = self.functions
        for block in cast(Sequence[torch.nn.ModuleDict], self.blocks):
            own = f.norm(x, block["before"].weight, block["before"].bias)
            x = f.add(x, self._attention(block, own))
            own = f.norm(x, block["between"].weight, block["between"].bias)
            hidden = f.activation(f.linear(own, block["up"].weight, block["up"].bias))
            x = f.add(x, f.linear(hidden, block["down"].weight, block["down"].bias))
        x = f.norm(x, self.norm.weight, self.norm.bias)
        return f.linear(x[:, 0], self.head.weight, self.head.bias)

    def _attention(self, block: Any, x: torch.Tensor) -> torch.Tensor:
        f = self.functions
        query, key, value = (
            f.linear(x, block[name].weight, block[name].bias)
            .unflatten(-1, (HEADS, WIDTH // HEADS))
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )
        weights = f.softmax(f.scores(query, key.transpose(-1, -2)))
        joined = f.values(weights, value).transpose(1, 2).flatten(2)
        return f.linear(joined, block["out"].weight, block["out"].bias)


def _block() -> torch.nn.ModuleDict:
    sizes = dict.fromkeys(("query", "key", "value", "out"), (WIDTH, WIDTH))
    sizes |= {"up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    layers: dict[str, torch.nn.Module] = {
        name: torch.nn.Linear(*size) for name, size in sizes.items()
    }
    norms = {name: torch.nn.LayerNorm(WIDTH) for name in ("before", "between")}
    return torch.nn.ModuleDict({**layers, **norms})


def exported(net: Transformer) -> onnx.ModelProto:
    """The transformer as a model of opset 17."""
    file: Any = io.BytesIO()
    x = torch.zeros(1, TOKENS, WIDTH)
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "opset_version": 17}
    torch.onnx.export(net, (x,), file, dynamo=False, **names)
    return onnx.load_from_string(file.getvalue())


def lxt(net: Transformer, x: Float32, index: int, attention: str) -> Float32:
    """The relevance of each number of the tokens, computed in float64."""
    net.functions = BY_ATTENTION[attention]
    try:
        given = torch.from_numpy(x).double().requires_grad_()
        logits = net.double()(given)
        seed = torch.zeros_like(logits)
        seed[0, index] = logits[0, index].detach()
        (found,) = torch.autograd.grad(logits, given, seed)
    finally:
        net.functions = PLAIN
        net.float()
    return found.float().numpy()
