"""A small model of texts, and its tokenizer."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from tools.fuzz.net import Net

_VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] i love ##d it bad film was not the , .".split()


@functools.cache
def tokenizer() -> Any:
    """The content of a `tokenizer.json` of word pieces."""
    numbers = {piece: number for number, piece in enumerate(_VOCABULARY)}
    made = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = Lowercase()
    made.pre_tokenizer = BertPreTokenizer()
    special = [(piece, numbers[piece]) for piece in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    made.add_special_tokens(_VOCABULARY[:5])
    return json.loads(made.to_str())


@functools.cache
def text_model() -> bytes:
    """The scores are linear in the sum of the tokens' embeddings."""
    net = Net(17, np.random.default_rng(0))
    table = net.normal(len(_VOCABULARY), 4)
    looked = net.add("Gather", table, "input_ids")
    mask = net.unsqueeze(net.add("Cast", "attention_mask", to=1), 2)
    summed = net.reduce("ReduceSum", net.add("Mul", looked, mask), [1], keepdims=0)
    y = net.add("MatMul", summed, net.normal(4, 2))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(net.nodes, "texts", inputs, [output], net.weights)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
