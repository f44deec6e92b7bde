# mypy: disable-error-code="no-untyped-call"
"""Trains the small vision transformer that ships: `python -m tools.build_models.digit_vit --help`.

A ViT (Dosovitskiy et al., 2021, arXiv:2010.11929) with a convolutional stem instead of the patch
embedding (Xiao et al., 2021, arXiv:2106.14881), which learns from far fewer pictures. It classifies
the digit in a scene of `scenes`. Needs torch; half an hour on one core.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import helper
from torch import Tensor, nn

from .digits import FACTS
from .scenes import CLASSES, HARD, ONE, SIDE, TWO, Material, Recipe, Scene, draw, material

WIDTH, HEADS, DEPTH, HIDDEN = 64, 4, 4, 192
STEM = (24, 48)
GRID = SIDE // 8

BATCH = 64
WARMUP = 100
WEIGHT_DECAY = 0.05

LESSONS = (300, 900)
"""Until the first step digits are large, on a plain color; until the second it gets harder."""

SHARE_OF_PAIRS = 0.25


@dataclass(frozen=True)
class Cycle:
    """Steps whose learning rate rises to `rate` and falls to 0, at the end on scenes of `full`.

    `full` are the recipes for one digit and for two; `past` counts as earlier steps.
    """

    steps: int
    rate: float
    full: tuple[Recipe, Recipe]
    past: int = 0


CYCLES = (
    Cycle(5400, 1.5e-3, HARD),
    Cycle(2400, 1e-3, (ONE, TWO), past=LESSONS[-1]),
)


class Block(nn.Module):
    """Attention, then two linear layers with a GELU, each after a LayerNorm and with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) to tokens."""
        x = x + self.proj(self._attend(self.norm1(x)))
        mixed: Tensor = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        return mixed

    def _attend(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        heads = self.qkv(x).reshape(-1, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        scale = (WIDTH // HEADS) ** -0.5
        weights = (query * scale @ key.transpose(-2, -1)).softmax(-1)
        joined: Tensor = (weights @ value).transpose(1, 2).reshape(-1, tokens, WIDTH)
        return joined


class DigitViT(nn.Module):
    """RGB pictures (batch, 3, 64, 64), about -2..2, to a logit for each of the ten digits."""

    def __init__(self) -> None:
        super().__init__()
        first, second = STEM
        self.stem = nn.Sequential(
            _convolution(3, first), _convolution(first, second), nn.Conv2d(second, WIDTH, 3, 2, 1)
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, GRID**2 + 1, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        patches = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def _convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def tensor(scenes: list[Scene]) -> Tensor:
    """The scenes as input of the network: (v - 127) / 64, (batch, 3, 64, 64)."""
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    return ((pixels.float() - 127) / 64).permute(0, 3, 1, 2).contiguous()


def shares(scenes: list[Scene]) -> Tensor:
    """The network's targets: an equal share for each digit in a scene, (batch, 10)."""
    wanted = torch.zeros(len(scenes), CLASSES)
    for row, scene in zip(wanted, scenes, strict=True):
        for digit, _ in scene.digits:
            row[digit] = 1 / len(scene.digits)
    return wanted


def recipe(rng: np.random.Generator, full: tuple[Recipe, Recipe], step: int) -> Recipe:
    """What to draw at a step: harder with each step, as training on hard scenes alone fails."""
    first, last = LESSONS
    if step >= last:
        return full[int(rng.random() < SHARE_OF_PAIRS)]
    share = max(step - first, 0) / (last - first)
    return Recipe(marks=round(share), size=(32 - 8 * share, 48 - 4 * share), backdrop=share)


def train(cache: Path) -> DigitViT:
    """The trained network, in evaluation mode."""
    torch.manual_seed(0)
    source = material(cache, unseen=False)
    net = DigitViT()
    for seed, cycle in enumerate(CYCLES):
        run(net, source, cycle, seed)
        print(accuracy(net.eval(), cache), flush=True)
    return net


def run(net: DigitViT, source: Material, cycle: Cycle, seed: int) -> None:
    """Train through one cycle."""
    rng = np.random.default_rng(seed)
    net.train()
    decayed = [one for one in net.parameters() if one.ndim > 1]
    others = [one for one in net.parameters() if one.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        lr=cycle.rate,
    )
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=WARMUP),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cycle.steps - WARMUP),
        ],
        [WARMUP],
    )
    started = time.monotonic()
    for step in range(cycle.steps):
        scenes = [
            draw(rng, source, recipe(rng, cycle.full, cycle.past + step)) for _ in range(BATCH)
        ]
        loss = nn.functional.cross_entropy(net(tensor(scenes)), shares(scenes))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            seconds = time.monotonic() - started
            print(f"step {step + 1}, loss {loss.item():.3f}, {seconds:.0f} s", flush=True)


def accuracy(net: DigitViT, cache: Path, count: int = 1000) -> dict[str, float]:
    """On digits and photographs that are not in the training set.

    `one`: how often the best class is the digit; `two`: how often the best two are both digits.
    """
    source, rng = material(cache, unseen=True), np.random.default_rng(1)
    right = {}
    for name, full in {"one": ONE, "two": TWO}.items():
        scenes = [draw(rng, source, full) for _ in range(count)]
        with torch.no_grad():
            logits = torch.cat([net(part) for part in tensor(scenes).split(BATCH)])
        best = logits.topk(full.digits).indices.tolist()
        hits = [
            set(found) == {digit for digit, _ in scene.digits}
            for found, scene in zip(best, scenes, strict=True)
        ]
        right[name] = float(np.mean(hits))
    return right


def export(net: nn.Module, facts: dict[str, str]) -> bytes:
    """A network as ONNX, for any number of pictures at a time, by torch's own exporter.

    `facts` are the model's metadata.
    """
    exported = torch.onnx.export(
        net,
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    # Stack traces, which contain paths of the machine that trained.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    helper.set_model_props(model, facts)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    parser.add_argument("--cache", type=Path, required=True, help="keep downloads here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = train(options.cache)
    options.out.write_bytes(export(net, FACTS))


if __name__ == "__main__":
    main()
