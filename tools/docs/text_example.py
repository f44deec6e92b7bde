"""The classifier of the page on texts: `python -m tools.docs.text_example FOLDER`.

It writes `model.onnx`, `tokenizer.json` and `labels.txt`: a transformer with two blocks that learns
in two minutes whether a made-up sentence praises something. Needs torch and tokenizers.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

SIZE, LONGEST, STEPS, BATCH = 32, 64, 1500, 64
THINGS = "film plot acting ending music story cast dialogue book song".split()
GOOD = "loved enjoyed admired".split(), "great moving brilliant charming funny".split()
BAD = "hated disliked regretted".split(), "boring awful clumsy dull terrible".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
INPUTS = ["input_ids", "attention_mask"]


def clause(draw: random.Random) -> tuple[str, int]:
    """A clause, and 1 for praise, −1 for blame; "not" turns one into the other."""
    sign = draw.choice([1, -1])
    verbs, adjectives = GOOD if sign > 0 else BAD
    thing = draw.choice(THINGS)
    if draw.random() < 0.4:
        return f"I {draw.choice(verbs)} the {thing}", sign
    if draw.random() < 0.5:
        return f"the {thing} was not {draw.choice(adjectives)}", -sign
    return f"the {thing} was {draw.choice(adjectives)}", sign


def sentence(draw: random.Random) -> tuple[str, int]:
    """One clause, or two with "but", of which the second decides; and its class."""
    (first, sign), (second, last) = clause(draw), clause(draw)
    if draw.random() < 0.5:
        return f"{first}.", int(sign > 0)
    return f"{first}, but {second}.", int(last > 0)


def tokenizer(texts: list[str]) -> Tokenizer:
    """Word pieces, few enough that some words are of several pieces."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=110, special_tokens=SPECIAL)
    )
    ends = [("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return made


class Block(nn.Module):
    """Attention with two heads, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.mlp = nn.Sequential(nn.Linear(SIZE, 64), nn.GELU(), nn.Linear(64, SIZE))
        self.norms = nn.ModuleList(nn.LayerNorm(SIZE) for _ in range(2))

    def forward(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """The tokens after the block; `added` is −10000 for padding."""
        n, length, _ = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(n, length, 3, 2, SIZE // 2).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / (SIZE // 2) ** 0.5 + added, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, SIZE))
        added_by_mlp: torch.Tensor = x + self.mlp(self.norms[1](x))
        return added_by_mlp


class Classifier(nn.Module):
    """Embeddings of words and places, two blocks, and a linear layer on the first token."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, SIZE), nn.Embedding(LONGEST, SIZE)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(SIZE, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The logits of both classes."""
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        added = (1 - attention_mask[:, None, None].float()) * -1e4
        for block in self.blocks:
            x = block(x, added)
        logits: torch.Tensor = self.head(x[:, 0])
        return logits


def main(folder: Path) -> None:
    """Train the classifier and write its files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    draw = random.Random(0)
    made = tokenizer([sentence(draw)[0] for _ in range(2000)])
    made.save(str(folder / "tokenizer.json"))
    made.enable_padding()
    model = Classifier(made.get_vocab_size())
    steps = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(STEPS):
        texts, classes = zip(*(sentence(draw) for _ in range(BATCH)), strict=True)
        found = made.encode_batch(list(texts))
        ids = torch.tensor([one.ids for one in found])
        logits = model(ids, torch.tensor([one.attention_mask for one in found]))
        loss = nn.functional.cross_entropy(logits, torch.tensor(classes))
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
        if step % 300 == 299:
            right = float((logits.argmax(1) == torch.tensor(classes)).float().mean())
            print(f"step {step + 1}: {right:.0%} right")
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in INPUTS)
    axes = {name: {0: "N", 1: "tokens"} for name in INPUTS} | {"logits": {0: "N"}}
    torch.onnx.export(
        model.eval(), example, str(folder / "model.onnx"), input_names=INPUTS,
        output_names=["logits"], dynamo=False, opset_version=17, dynamic_axes=axes,
    )  # fmt: skip
    (folder / "labels.txt").write_text("blame\npraise\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
