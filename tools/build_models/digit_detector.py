# mypy: disable-error-code="no-untyped-call"
"""Trains the small detector that ships: `python -m tools.build_models.digit_detector --help`.

A detector in the manner of YOLOv8, in our own code: the network is in `detector_network`, and its
loss in `detector_loss`. It finds the digits in a scene of `scenes`. Needs torch, and about an hour
on two cores: one draws scenes, and the other trains.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import nn

from .detector_batches import BATCH, Floats, batches, enlarged, tensor
from .detector_loss import iou, loss
from .detector_network import CELLS, ConvBlock, DigitDetector
from .digits import DETECTOR_METADATA, DETECTOR_RECIPES, DETECTOR_SIDE
from .scenes import CLASSES, ONE, TWO, Scene, draw, material

STEPS = 4250
WARMUP, DECAY = 200, 1500
"""At how many first steps the learning rate rises to `RATE`, and at how many last ones it falls."""
RATE = 2e-3
WEIGHT_DECAY = 0.02
CHECKPOINT_EVERY = 250

CONFIDENCE, OVERLAP = 0.25, 0.5


def rate(step: int, steps: int) -> float:
    """The factor of the learning rate: it rises, stays, and at the end falls to 0."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / DECAY)


def train(cache: Path, checkpoint: Path, steps: int) -> DigitDetector:
    """The trained network, in evaluation mode; goes on from `checkpoint` if there is one."""
    torch.manual_seed(0)
    net = DigitDetector()
    learned = [one for one in net.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [one for one in learned if one.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [one for one in learned if one.ndim <= 1], "weight_decay": 0},
        ],
        lr=RATE,
    )
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    net.train()
    started, losses = time.monotonic(), []
    for step, batch in enumerate(batches(cache, first, steps), first):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate(step, steps)
        value = loss(net, batch)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(learned, 10.0)
        optimizer.step()
        losses.append(value.item())
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {step + 1}, loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)
            losses.clear()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            save(net, optimizer, step + 1, checkpoint)
    net.eval()
    return net


def save(net: DigitDetector, optimizer: torch.optim.Optimizer, step: int, checkpoint: Path) -> None:
    """Write what training goes on from."""
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(checkpoint)


@dataclass
class Counts:
    """How many digits there were, were found with their class, and how many boxes were given."""

    digits: int = 0
    right: int = 0
    given: int = 0

    def __str__(self) -> str:
        recall, precision = self.right / self.digits, self.right / max(self.given, 1)
        return f"recall {recall:.3f}, precision {precision:.3f} ({self.digits} digits)"


def evaluate(net: nn.Module, cache: Path, scenes_each: int = 500) -> dict[str, Counts]:
    """On digits and photographs that are not in the training set, by their kind."""
    source, rng = material(cache, unseen=True), np.random.default_rng(1)
    kinds = {f"{count} of 128 x 128": recipe for count, recipe in DETECTOR_RECIPES.items()}
    kinds |= {"1 of 64 x 64, enlarged": ONE, "2 of 64 x 64, enlarged": TWO}
    results = {}
    for name, recipe in kinds.items():
        scenes = [draw(rng, source, recipe) for _ in range(scenes_each)]
        if recipe.side != DETECTOR_SIDE:
            scenes = [enlarged(scene) for scene in scenes]
        pixels = tensor(np.stack([scene.pixels for scene in scenes]))
        with torch.no_grad():
            outputs = torch.cat([net(part) for part in pixels.split(BATCH)]).numpy()
        results[name] = Counts()
        for scene, output in zip(scenes, outputs, strict=True):
            score(results[name], scene, detections(output))
    return results


def detections(output: Floats) -> list[tuple[int, float, Floats]]:
    """The class, probability and box of what is found in a picture, the surest first.

    A cell stands for its best class. Of overlapping boxes, of any class, only the surest stays.
    """
    chances, (cx, cy, w, h) = output[4:], output[:4]
    boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    sure = chances.max(0)
    kept: list[tuple[int, float, Floats]] = []
    for cell in np.argsort(-sure):
        if sure[cell] < CONFIDENCE:
            break
        if not any(_overlap(boxes[cell], other) > OVERLAP for *_, other in kept):
            kept.append((int(chances[:, cell].argmax()), float(sure[cell]), boxes[cell]))
    return kept


def score(counts: Counts, scene: Scene, found: list[tuple[int, float, Floats]]) -> None:
    """Add a scene: a detection is right if its digit is there, at an IoU of 0.5, and still open."""
    still_open = list(scene.digits)
    counts.digits += len(still_open)
    counts.given += len(found)
    for digit, _, box in found:
        for one in still_open:
            if one[0] == digit and _overlap(box, np.array(one[1], np.float32)) >= OVERLAP:
                counts.right += 1
                still_open.remove(one)
                break


def _overlap(one: Floats, other: Floats) -> float:
    return float(iou(torch.from_numpy(one), torch.from_numpy(other)))


def export(net: DigitDetector) -> bytes:
    """The network as ONNX, for any number of pictures at a time, by torch's own exporter."""
    for module in list(net.modules()):
        if isinstance(module, ConvBlock):
            module.fold()
    # As a part of this, every layer's name starts with /model, as it does in Ultralytics' files.
    whole = nn.Sequential()
    whole.add_module("model", net)
    whole.eval()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        # Only this older exporter names each node after its module.
        torch.onnx.export(
            whole,
            (torch.zeros(2, 3, DETECTOR_SIDE, DETECTOR_SIDE),),
            file,
            dynamo=False,
            opset_version=17,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
        )
        model = onnx.load(file)
    # Stack traces, which contain paths of the machine that trained.
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.metadata_props[:]
    helper.set_model_props(model, DETECTOR_METADATA)
    # The exporter names these two, though their sizes are known.
    _, rows, cells = model.graph.output[0].type.tensor_type.shape.dim
    rows.dim_value, cells.dim_value = 4 + CLASSES, CELLS
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    compare(whole, data)
    return data


def compare(net: nn.Module, data: bytes) -> None:
    """Raises AssertionError where the file does not compute what the network does."""
    session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        x = torch.rand(count, 3, DETECTOR_SIDE, DETECTOR_SIDE)
        with torch.no_grad():
            expected = net(x).numpy()
        (given,) = session.run(None, {"images": x.numpy()})
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    parser.add_argument("--cache", type=Path, required=True, help="keep downloads here")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="go on from this file if it exists, and keep it up to date (default: in --cache)",
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = options.checkpoint or options.cache / "digit_detector.pt"
    net = train(options.cache, checkpoint, options.steps)
    for kind, counts in evaluate(net, options.cache).items():
        print(f"{kind}: {counts}", flush=True)
    options.out.write_bytes(export(net))


if __name__ == "__main__":
    main()
