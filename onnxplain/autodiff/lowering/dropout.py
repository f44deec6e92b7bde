"""Adds the mask output to Dropout nodes in training mode: their gradient needs it."""

from __future__ import annotations

from collections.abc import Sequence

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model

_RULES = Rewrites()


def expose_dropout_masks(model: Model) -> Model:
    """The model in which every Dropout that may draw gives its mask: drawn again, it differs."""
    return rewritten(model, _RULES)


@_RULES.of("Dropout")
def _dropout(g: Rewriter, s: NodeView) -> Sequence[Tensor] | None:
    training = g.value(s.input(2))
    inactive = s.input(2) is None or (training is not None and not training.any())
    if inactive or len(s.node.output) > 1:
        return None
    return g.many("Dropout", 2, *s.inputs, **s.attrs)[:1]
