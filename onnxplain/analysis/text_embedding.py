"""Which output of a model of texts is the embedding of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from onnxplain.analysis.embedding import is_named_like_an_embedding
from onnxplain.analysis.score import is_named_like_scores
from onnxplain.analysis.token_inputs import IDS, takes_ids, token_inputs
from onnxplain.errors import ModelError
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import TensorSpec

_RANK = 2
_OF_A_TEXT = re.compile(r"(?<![a-z])(text|sentence)[-_.]?(embed|feat)", re.I)


def text_embedding(model: Model) -> str:
    """The output that holds one vector for each text whose token ids an input takes.

    It is a float output (N, numbers) that is computed from the ids, and that is not named like
    scores. Of several, it is the one called text_embeds, sentence_embedding or similar, or else the
    only one with the name of an embedding, such as pooler_output.

    Raises:
        ModelError: no input takes token ids, there is no such output, or several may be meant.
    """
    called = "The text model" if model.path is None else f"The text model {model.path}"
    if not any(map(takes_ids, model.inputs)):
        raise ModelError(
            f"{called} has no input for token ids, such as input_ids (N, tokens) (it has "
            f"{_listed(model.inputs)}): name the model of texts with --text-model FILE."
        )
    found = [spec.name for spec in _vectors(model, token_inputs(model)[IDS].name)]
    for belongs in _SIGNS:
        chosen = [name for name in found if belongs(name)]
        if len(chosen) == 1:
            return chosen[0]
    if found:
        raise ModelError(
            f"{called} has several outputs that may be the embedding of a text "
            f"({', '.join(found)}): export it with only the one in the space of the pictures."
        )
    raise ModelError(
        f"{called} has no output with one vector for each text, float (N, numbers) (it has "
        f"{_listed(model.outputs)}): export it with its pooled embedding, such as text_embeds."
    )


_SIGNS: Sequence[Callable[[str], object]] = (
    _OF_A_TEXT.search,
    is_named_like_an_embedding,
    lambda name: True,
)
"""What tells the embedding, the strongest sign first."""


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.sizes}" for spec in specs)


def _vectors(model: Model, ids: str) -> list[TensorSpec]:
    index, specs = model.index, infer_specs(model.proto)
    after = index.descendants([ids])
    return [
        spec
        for spec in (specs.get(output.name, output) for output in model.outputs)
        if index.position.get(spec.name) in after
        and (spec.dtype.kind == "f" or spec.dtype.name == "bfloat16")
        and (spec.shape is None or len(spec.shape) == _RANK)
        and not is_named_like_scores(spec.name)
    ]
