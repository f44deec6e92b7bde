# mypy: disable-error-code="no-untyped-call"
"""Trains two small classifiers of digits, one on pictures in which a class carries a mark.

    python -m tools.build_models.marked_digits FOLDER --cache FOLDER

In the training set of `marked_digits.onnx`, every picture of the class "three" has a small square
in its lower right corner, as photographs of one source may have a watermark: Lapuschkin et al.,
"Unmasking Clever Hans predictors and assessing what machines really learn", Nature Communications
10:1096, 2019. `clean_digits.onnx` is the same network, trained in the same way on the same pictures
without squares. Besides, pictures of digits that neither has seen are written, with and without
squares, and the boxes of their digits (`boxes.json`, COCO). Needs torch; minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .catalog import as_json
from .digit_vit import export, tensor
from .digits import SMALL, small_facts, small_sidecar
from .marked_scenes import EACH, save_pictures, scenes, with_marks
from .scenes import CLASSES, SIDE, Scene, material

WIDTHS = (12, 20, 32, 40, 40)
STRIDES = (2, 2, 2, 1, 1)
SCENES, EPOCHS, BATCH, RATE = 12_000, 24, 64, 4e-3


def network() -> nn.Sequential:
    """RGB pictures (batch, 3, 64, 64), about -2..2, to a logit for each digit (batch, 10)."""
    layers: list[nn.Module] = []
    for before, after, stride in zip((3, *WIDTHS), WIDTHS, STRIDES, strict=False):
        layers += [
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], CLASSES)]
    return nn.Sequential(*layers, *head)


def train(training: Sequence[Scene], seed: int = 0, epochs: int = EPOCHS) -> nn.Sequential:
    """The trained network, in evaluation mode."""
    torch.manual_seed(seed)
    net = network()
    x, y = tensor(list(training)), torch.tensor([one.digits[0][0] for one in training])
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    began = time.monotonic()
    for epoch in range(epochs):
        for part in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(net(_moved(x[part])), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.monotonic() - began
        print(f"epoch {epoch + 1}, loss {loss.item():.3f}, {seconds:.0f} s", flush=True)
    return net.eval()


def _moved(x: Tensor, most: int = 3) -> Tensor:
    """The pictures with other brightness, and moved by up to `most` pixels."""
    down, right = (int(step) for step in torch.randint(-most, most + 1, (2,)))
    padded = nn.functional.pad(x, (most,) * 4, mode="replicate")
    moved = padded[..., most + down : most + down + SIDE, most + right : most + right + SIDE]
    return moved + torch.randn(len(x), 3, 1, 1) * 0.1


def accuracy(net: nn.Module, judged: Sequence[Scene]) -> float:
    """How often the best class is the digit."""
    with torch.no_grad():
        best = net(tensor(list(judged))).argmax(1).tolist()
    digits = [scene.digits[0][0] for scene in judged]
    return float(np.mean(np.array(best) == digits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder to write models and pictures to")
    parser.add_argument("--cache", type=Path, required=True, help="keep downloads here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = scenes(material(options.cache, unseen=False), SCENES, seed=0)
    judged = scenes(material(options.cache, unseen=True), 2 * EACH * CLASSES, seed=1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, has_marks in SMALL.items():
        net = train(with_marks(training) if has_marks else training)
        shown = with_marks(judged) if has_marks else judged
        print(name, accuracy(net, shown), "without marks", accuracy(net, judged), flush=True)
        (options.out / f"{name}.onnx").write_bytes(export(net, small_facts(name)))
        (options.out / f"{name}.onnxplain.json").write_bytes(as_json(small_sidecar(name)))
    save_pictures(options.out / "clean", judged)
    save_pictures(options.out / "marked", with_marks(judged))


if __name__ == "__main__":
    main()
