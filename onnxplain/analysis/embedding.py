"""Signs that an answer is an embedding: a vector to compare with others, not scores of classes.

Without a sign the answer counts as scores of classes, because many exports of classifiers have no
labels and end in their last linear layer. The last linear layer of an embedding looks the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnx import NodeProto

from onnxplain.analysis.score import ScoreTensor, is_named_like_scores
from onnxplain.model import operators
from onnxplain.model.constants import reduced_axes
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model

SMALLEST = 32
"""Fewest numbers of an embedding that is found from its last operators.

Shorter vectors may be a direction or a rotation, or the scores of a small classifier.
"""


def embedding_sign(model: Model, score: ScoreTensor, size: int | None) -> str:
    """Why the tensor of the scores is an embedding, in words; empty if there is no sign of it.

    `model` is the whole model: the tensor may be one of its outputs, or an inner one after which it
    is cut. `size` is the number of its elements for one sample; None if that is unknown. The signs,
    in this order:

    - layers with weights come after it, so that scores of classes are computed from it;
    - it is an output with a name such as "image_embeds", "features" or "pooler_output";
    - it has at least `SMALLEST` elements and is divided by its own length or spread, as in L2 and
      layer normalization;
    - it has at least `SMALLEST` elements and is pooled from a layer that no classifier has there,
      such as a residual sum.

    A last softmax or sigmoid, or a name such as "logits", means classes whatever else there is.
    """
    tensor = score.probability
    if score.activation != "none" or is_named_like_scores(tensor):
        return ""
    is_long = size is not None and size >= SMALLEST
    signs = (_before_layers, _named, *((_normalized, _pooled) if is_long else ()))
    return next(filter(None, (sign(model, tensor) for sign in signs)), "")


def _before_layers(model: Model, tensor: str) -> str:
    """An inner tensor that reaches an output through a layer with weights, not through scores."""
    index = model.index
    if tensor in index.outputs:
        return ""
    after = index.descendants([tensor], without=_makes_probabilities)
    weighted = (index.nodes[i] for i in sorted(after & index.ancestors(index.outputs)))
    layer = next((node for node in weighted if _has_weights(model, node)), None)
    if layer is None:
        return ""
    return f"the layer {layer.op_type} {layer.name or layer.output[0]!r} comes after it"


def _makes_probabilities(node: NodeProto) -> bool:
    return operators.standard_form(node.op_type) in operators.SOFTMAXES | {"Sigmoid"}


def _has_weights(model: Model, node: NodeProto) -> bool:
    if operators.standard_form(node.op_type) not in operators.WEIGHTED:
        return False
    return not all(_varies(model, name) for name in reads(node)[1:])


_NAMES = re.compile(
    r"(?<![a-z])(embeddings?|embeds?|features?|feats?|descriptors?|pooler_output|"
    r"last_hidden_states?)(?![a-z])",
    re.I,
)


def is_named_like_an_embedding(tensor: str) -> bool:
    """Whether the name of an output says that it holds an embedding."""
    # Folders of a name may be parts of the network, as in "/features/conv/Conv_output_0".
    return _NAMES.search(tensor.rsplit("/", maxsplit=1)[-1]) is not None


def _named(model: Model, tensor: str) -> str:
    own = is_named_like_an_embedding(tensor) and tensor in model.index.outputs
    return f"its output is called {tensor!r}" if own else ""


def _normalized(model: Model, tensor: str) -> str:
    """A vector that is divided by its length, or by its spread around its mean."""
    for node in _way_back(model, tensor, _CHOOSES):
        op = operators.standard_form(node.op_type)
        if op == "LpNormalization" or _divides_by_length(model, node):
            return "it is divided by its length"
        if op in _LAYER_NORMALIZATIONS:
            return "it ends in a layer normalization"
    return ""


_LAYER_NORMALIZATIONS = operators.LAYER_NORMALIZATIONS | operators.SKIP_NORMALIZATIONS
_CHOOSES = frozenset({"Gather", "Slice", "ReduceMean"}) | operators.AVERAGE_POOLS
"""How one vector is made of those of all places."""


def _divides_by_length(model: Model, node: NodeProto) -> bool:
    """Whether a node is x / |x|, or x · (1 / |x|); `|x|` may have a smallest value."""
    if node.op_type not in ("Div", "Mul"):
        return False
    pairs = [node.input, node.input[::-1]][: 2 if node.op_type == "Mul" else 1]
    return any(_source(model, x) in _lengths(model, length) for x, length in pairs)


def _lengths(model: Model, tensor: str) -> set[str]:
    """The tensors whose length, or mean square, a tensor holds; usually one or none."""
    for node in _way_back(model, tensor, _OF_A_LENGTH):
        if node.op_type in ("ReduceL2", "ReduceSumSquare"):
            return {_source(model, node.input[0])}
        if node.op_type in ("ReduceSum", "ReduceMean"):
            square = model.index.producer(_source(model, node.input[0]))
            squares = square is not None and square.op_type in ("Mul", "Pow")
            return {_source(model, square.input[0])} if squares and square is not None else set()
    return set()


_OF_A_LENGTH = frozenset("Expand Clip Max Sqrt Reciprocal Pow Tile".split())


def _pooled(model: Model, tensor: str) -> str:
    """A pool over all places, of a tensor that does not look like maps of class scores.

    A classifier may pool its maps of scores, which are the output of a convolution, perhaps with
    a batch normalization or a ReLU.
    """
    pool = next(iter(_way_back(model, tensor, frozenset())), None)
    if pool is None or not _pools_places(model, pool):
        return ""
    for node in _way_back(model, pool.input[0], _OF_SCORES):
        op = operators.standard_form(node.op_type)
        if op in _NO_SCORES:
            return f"it is the pool of {_NO_SCORES[op]}"
        if op in ("Add", "Sum") and _data(model, node) is None:
            return "it is the pool of a residual sum"
        if op == "Mul" and _is_swish(model, node):
            return f"it is the pool of {_NO_SCORES['Swish']}"
    return ""


_OF_SCORES = frozenset("BatchNormalization Relu LeakyRelu".split())
_NO_SCORES = {
    "Concat": "joined channels",
    "Clip": "clipped activations",
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "QuickGelu", "Swish"), "gated activations"),
    **dict.fromkeys(_LAYER_NORMALIZATIONS, "normalized activations"),
}
"""By operator, in words, what is pooled where it cannot be maps of class scores."""


def _pools_places(model: Model, node: NodeProto) -> bool:
    """Whether a node reduces rows and columns; a mean of one axis may be that of several models."""
    if operators.standard_form(node.op_type) in operators.POOLS:
        return True
    if node.op_type not in ("ReduceMean", "ReduceMax"):
        return False
    axes = reduced_axes(model, node, 4)
    return axes is not None and len(axes) == 2


def _is_swish(model: Model, node: NodeProto) -> bool:
    """Whether a node is x · sigmoid(x), or the same with a hard sigmoid."""
    for x, gate in (node.input, node.input[::-1]):
        made = model.index.producer(gate)
        if made is not None and made.op_type in ("Sigmoid", "HardSigmoid") and made.input[0] == x:
            return True
    return False


def _way_back(model: Model, tensor: str, passed: frozenset[str]) -> Iterator[NodeProto]:
    """The node that makes a tensor, and those before it, as far as there is one way back.

    The way goes through operators that carry each element, through arithmetic with constants, and
    through those in `passed`. Operators that only carry elements are not listed.
    """
    while (node := model.index.producer(tensor)) is not None:
        op = operators.standard_form(node.op_type)
        data = _data(model, node)
        if op not in operators.CARRIES:
            yield node
        way_on = operators.CARRIES | passed | (_ARITHMETIC if data is not None else frozenset())
        if op not in way_on:
            return
        tensor = data or node.input[0]


_ARITHMETIC = frozenset("Add Sub Mul Div".split())


def _data(model: Model, node: NodeProto) -> str | None:
    """The only computed input of an operator; None if there are several, or none."""
    computed = [name for name in node.input if name and _varies(model, name)]
    return computed[0] if len(computed) == 1 else None


def _varies(model: Model, tensor: str) -> bool:
    """Whether a tensor is an input of the model, or computed from one."""
    return tensor in model.index.computed or tensor in model.index.inputs


def _source(model: Model, tensor: str) -> str:
    """The tensor before all operators that only carry its elements."""
    while (node := model.index.producer(tensor)) is not None:
        if operators.standard_form(node.op_type) not in operators.CARRIES:
            break
        tensor = node.input[0]
    return tensor
