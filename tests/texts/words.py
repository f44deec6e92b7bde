"""A small tokenizer of word pieces, and texts for it."""

from pathlib import Path

import pytest

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] i love ##d it bad film was not ##ing the , . you ##s café"
).split()
IDS = {piece: number for number, piece in enumerate(VOCABULARY)}
TEXT = "I loved the film, it was not bad."
PIECES = "[CLS] i love ##d the film , it was not bad . [SEP]".split()


def save_tokenizer(path: Path, **settings: object) -> Path:
    """Write a tokenizer of word pieces, as those of BERT; `settings` may pad or truncate."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(IDS, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", IDS["[CLS]"]), ("[SEP]", IDS["[SEP]"])],
    )
    made.add_special_tokens(VOCABULARY[:5])
    if "padding" in settings:
        made.enable_padding(**settings["padding"])
    if "longest" in settings:
        made.enable_truncation(settings["longest"])
    made.save(str(path))
    return path
