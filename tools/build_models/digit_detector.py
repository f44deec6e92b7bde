# mypy: disable-error-code="no-untyped-call"
"""Trains the small detector that ships: `python -m tools.build_models.digit_detector --help`.

A detector in the manner of YOLOv8, in our own code: a convolutional backbone, a neck that mixes two
grids (PAN: Liu et al., 2018, arXiv:1803.01534), and on each grid an anchor-free head with one
branch for the class and one for the box. A box is four distances from a cell's center, each the
mean of a distribution (Li et al., 2020, arXiv:2006.04388). Cells are assigned to objects as in TOOD
(Feng et al., 2021, arXiv:2108.07755). It finds the digits in a scene of `scenes`. Needs torch, and
about an hour on two cores: one draws scenes, and the other trains.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from .digits import DETECTOR_METADATA, DETECTOR_RECIPES, DETECTOR_SIDE, DETECTOR_STRIDES
from .scenes import CLASSES, ONE, TWO, Material, Scene, draw, material

WIDTHS = (16, 24, 48, 56)
"""Channels of the backbone after each halving of the picture."""
CLASS_HIDDEN, BOX_HIDDEN = 32, 16
BINS = 8
"""A distance is 0..7 times the stride of its grid: a digit of at most 14 strides."""
CELLS = sum((DETECTOR_SIDE // stride) ** 2 for stride in DETECTOR_STRIDES)
"""How many cells the grids have together."""

SHARES = (0.4, 0.4, 0.2)
"""How often a scene of training has one, two and three digits."""
ENLARGED = 0.4
"""How often a scene of training is one of the transformer's, enlarged twice."""
BACKDROPS = (0.0, 0.9)
"""The range of the contrast of photographs in training."""

BATCH = 32
STEPS = 4250
WARMUP, DECAY = 200, 1500
"""At how many first steps the learning rate rises to `RATE`, and at how many last ones it falls."""
RATE = 2e-3
WEIGHT_DECAY = 0.02
CHECKPOINT_EVERY = 250

CANDIDATES = 10
"""How many cells at most are assigned to a digit."""
BOX_WEIGHT, CLASS_WEIGHT, BINS_WEIGHT = 7.5, 0.5, 1.5
TINY = 1e-7

CONFIDENCE, OVERLAP = 0.25, 0.5

Floats = NDArray[np.float32]


class ConvBlock(nn.Module):
    """A convolution, batch normalization and SiLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(after)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, height, width) to (batch, after, height / stride, width / stride)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y

    def fold(self) -> None:
        """Put the batch normalization into the convolution."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
        self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """Two convolutions with a skip."""

    def __init__(self, width: int, *, skip: bool) -> None:
        super().__init__()
        self.cv1 = ConvBlock(width, width, 3)
        self.cv2 = ConvBlock(width, width, 3)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.skip else y


class SplitBlock(nn.Module):
    """Half of the channels pass a bottleneck, and all results are joined."""

    def __init__(self, before: int, after: int, *, skip: bool) -> None:
        super().__init__()
        self.width = after // 2
        self.cv1 = ConvBlock(before, after)
        self.m = Bottleneck(self.width, skip=skip)
        self.cv2 = ConvBlock(3 * self.width, after)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, height, width) to (batch, after, height, width)."""
        one, two = self.cv1(x).split(self.width, 1)
        y: Tensor = self.cv2(torch.cat([one, two, self.m(two)], 1))
        return y


class PyramidPool(nn.Module):
    """Maxima over growing windows, which give each cell a view of the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1 = ConvBlock(width, width // 2)
        self.m = nn.MaxPool2d(5, 1, 2)
        self.cv2 = ConvBlock(width // 2 * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape."""
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y


class Backbone(nn.Module):
    """Features of the picture on the grids of stride 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.stem = ConvBlock(3, first, 3, 2)
        self.p2 = _stage(first, second)
        self.p3 = _stage(second, third)
        self.p4 = _stage(third, fourth)
        self.pool = PyramidPool(fourth)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (batch, 3, height, width) to features of stride 8 and of stride 16."""
        p3 = self.p3(self.p2(self.stem(x)))
        return p3, self.pool(self.p4(p3))


def _stage(before: int, after: int) -> nn.Module:
    return nn.Sequential(ConvBlock(before, after, 3, 2), SplitBlock(after, after, skip=True))


class Neck(nn.Module):
    """Mixes the two grids: the coarse one into the fine one, then back."""

    def __init__(self) -> None:
        super().__init__()
        *_, fine, coarse = WIDTHS
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.p3 = SplitBlock(fine + coarse, fine, skip=False)
        self.down = ConvBlock(fine, fine, 3, 2)
        self.p4 = SplitBlock(fine + coarse, coarse, skip=False)

    def forward(self, p3: Tensor, p4: Tensor) -> tuple[Tensor, Tensor]:
        """Features of stride 8 and 16, to the same shapes."""
        p3 = self.p3(torch.cat([self.up(p4), p3], 1))
        return p3, self.p4(torch.cat([self.down(p3), p4], 1))


class Head(nn.Module):
    """The branches of one grid."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.cells = (DETECTOR_SIDE // stride) ** 2
        self.box = _branch(width, BOX_HIDDEN, 4 * BINS, bias=1.0)
        # About five cells of all see an object, so scores start small.
        self.cls = _branch(width, CLASS_HIDDEN, CLASSES, bias=math.log(5 / CLASSES / self.cells))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features to logits of bins (batch, 4 * bins, cells) and of classes (batch, 10, cells)."""
        return (
            self.box(x).reshape(-1, 4 * BINS, self.cells),
            self.cls(x).reshape(-1, CLASSES, self.cells),
        )


def _branch(width: int, hidden: int, after: int, bias: float) -> nn.Module:
    last = nn.Conv2d(hidden, after, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(ConvBlock(width, hidden, 3), ConvBlock(hidden, hidden, 3), last)


class Distances(nn.Module):
    """The mean of each distribution over bins, a convolution with the bins' numbers as weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.copy_(torch.arange(BINS, dtype=torch.float32).reshape(1, BINS, 1, 1))

    def forward(self, bins: Tensor) -> Tensor:
        """Logits (batch, 4 * bins, cells) to distances in strides (batch, 4, cells)."""
        spread = bins.reshape(-1, 4, BINS, CELLS).transpose(1, 2).softmax(1)
        mean: Tensor = self.conv(spread).reshape(-1, 4, CELLS)
        return mean


class Detect(nn.Module):
    """The heads of both grids, and what turns their numbers into boxes and probabilities."""

    centers: Tensor
    strides: Tensor

    def __init__(self) -> None:
        super().__init__()
        fine, coarse = DETECTOR_STRIDES
        self.p3 = Head(WIDTHS[-2], fine)
        self.p4 = Head(WIDTHS[-1], coarse)
        self.dfl = Distances()
        centers, strides = _cells()
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def logits(self, p3: Tensor, p4: Tensor) -> tuple[Tensor, Tensor]:
        """Bins (batch, 4 * bins, all cells) and classes (batch, 10, all cells)."""
        fine, coarse = self.p3(p3), self.p4(p4)
        return torch.cat([fine[0], coarse[0]], 2), torch.cat([fine[1], coarse[1]], 2)

    def forward(self, p3: Tensor, p4: Tensor) -> Tensor:
        """The exported output (batch, 4 + 10, cells): cx, cy, w, h in pixels, probabilities."""
        bins, classes = self.logits(p3, p4)
        before, after = self.dfl(bins).split(2, 1)
        low, high = self.centers - before, self.centers + after
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([boxes, classes.sigmoid()], 1)


def _cells() -> tuple[Tensor, Tensor]:
    """Centers (1, 2, cells) in strides, and strides (1, 1, cells), the finer grid first."""
    centers, strides = [], []
    for stride in DETECTOR_STRIDES:
        at = torch.arange(DETECTOR_SIDE // stride) + 0.5
        y, x = torch.meshgrid(at, at, indexing="ij")
        centers.append(torch.stack([x.flatten(), y.flatten()]))
        strides.append(torch.full((1, x.numel()), float(stride)))
    return torch.cat(centers, 1)[None], torch.cat(strides, 1)[None]


class DigitDetector(nn.Module):
    """RGB pictures (batch, 3, 128, 128), 0..1, to boxes and probabilities (batch, 14, cells)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.detect = Detect()

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss is computed from; see `Detect.logits`."""
        bins, classes = self.detect.logits(*self.neck(*self.backbone(x)))
        return bins, classes

    def forward(self, x: Tensor) -> Tensor:
        """See `Detect.forward`."""
        found: Tensor = self.detect(*self.neck(*self.backbone(x)))
        return found


@dataclass(frozen=True)
class Batch:
    """RGB `pixels` (batch, side, side, 3), and for each scene up to three digits.

    `classes` is (batch, 3), -1 where there is none, and `boxes` is (batch, 3, 4): left, top, right,
    bottom.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: Floats


def batch_of(scenes: list[Scene]) -> Batch:
    """The scenes as arrays."""
    classes = np.full((len(scenes), len(DETECTOR_RECIPES)), -1)
    boxes = np.zeros((len(scenes), len(DETECTOR_RECIPES), 4), np.float32)
    for row, scene in enumerate(scenes):
        for column, (digit, box) in enumerate(scene.digits):
            classes[row, column] = digit
            boxes[row, column] = box
    return Batch(np.stack([scene.pixels for scene in scenes]), classes, boxes)


def enlarged(scene: Scene) -> Scene:
    """A scene of the transformer at twice its size, as the preprocessing would enlarge it."""
    size = (DETECTOR_SIDE, DETECTOR_SIDE)
    factor = DETECTOR_SIDE // scene.pixels.shape[0]
    pixels = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_LINEAR)
    digits = [
        (digit, (factor * left, factor * top, factor * right, factor * bottom))
        for digit, (left, top, right, bottom) in scene.digits
    ]
    return Scene(np.asarray(pixels, np.uint8), tuple(digits))


class Scenes:
    """The batches of training, the same for a step whenever it is drawn."""

    source: Material

    @classmethod
    def open(cls, cache: Path) -> None:
        """Read what scenes are made of, once in the process that draws."""
        cls.source = material(cache, unseen=False)

    @classmethod
    def batch(cls, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng((0, step))
        return batch_of([cls.scene(rng) for _ in range(BATCH)])

    @classmethod
    def scene(cls, rng: np.random.Generator) -> Scene:
        """One scene of training."""
        contrast = rng.uniform(*BACKDROPS)
        if rng.random() < ENLARGED:
            recipe = (ONE, TWO)[int(rng.random() < 0.5)]
            return enlarged(draw(rng, cls.source, replace(recipe, backdrop=contrast)))
        recipe = DETECTOR_RECIPES[int(rng.choice(len(SHARES), p=SHARES)) + 1]
        return draw(rng, cls.source, replace(recipe, backdrop=contrast))


def batches(cache: Path, first: int, last: int, ahead: int = 12) -> Iterator[Batch]:
    """The batches of the steps from `first` to `last`, drawn in another process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=Scenes.open, initargs=(cache,)) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in range(first, last):
            waiting.append(pool.submit(Scenes.batch, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """The scenes as input of the network: v / 255, (batch, 3, side, side)."""
    # `permute` leaves the channels last in memory, which is the faster order on a CPU.
    return (torch.from_numpy(pixels).float() / 255).permute(0, 3, 1, 2)


def loss(net: DigitDetector, batch: Batch) -> Tensor:
    """Of the classes of all cells, and of the boxes of the cells assigned to a digit."""
    bins, logits = net.logits(tensor(batch.pixels))
    classes, boxes = torch.from_numpy(batch.classes), torch.from_numpy(batch.boxes)
    detect = net.detect
    centers, strides = detect.centers[0].T, detect.strides[0].T
    distances = detect.dfl(bins).transpose(1, 2)
    found = torch.cat([centers - distances[..., :2], centers + distances[..., 2:]], 2) * strides
    owner, wanted = assign(
        logits.detach().sigmoid().transpose(1, 2), found.detach(), centers * strides, classes, boxes
    )
    total = wanted.sum().clamp(min=1)
    on_classes = nn.functional.binary_cross_entropy_with_logits(
        logits.transpose(1, 2), wanted, reduction="sum"
    )
    assigned = owner >= 0
    rows, cells = assigned.nonzero(as_tuple=True)
    weights = wanted.sum(2)[assigned]
    right = boxes[rows, owner[assigned]]
    on_boxes = ((1 - complete_iou(found[assigned], right)) * weights).sum()
    at, step = centers[cells], strides[cells]
    true = torch.cat([at - right[:, :2] / step, right[:, 2:] / step - at], 1)
    spread = bins.transpose(1, 2)[assigned].reshape(-1, BINS)
    on_bins = (_two_bins(spread, true.flatten()).reshape(-1, 4).mean(1) * weights).sum()
    weighted: Tensor = (
        CLASS_WEIGHT * on_classes + BOX_WEIGHT * on_boxes + BINS_WEIGHT * on_bins
    ) / total
    return weighted


def _two_bins(logits: Tensor, distance: Tensor) -> Tensor:
    """Cross-entropy with the two bins around each distance, by how near they are."""
    distance = distance.clamp(0, BINS - 1 - 0.01)
    low = distance.long()
    share = distance - low
    lower = nn.functional.cross_entropy(logits, low, reduction="none")
    upper = nn.functional.cross_entropy(logits, low + 1, reduction="none")
    return lower * (1 - share) + upper * share


def assign(
    scores: Tensor, found: Tensor, centers: Tensor, classes: Tensor, boxes: Tensor
) -> tuple[Tensor, Tensor]:
    """Which cells shall find which digit: those inside its box that do it best already.

    Takes probabilities (batch, cells, 10), boxes (batch, cells, 4) and centers (cells, 2), both in
    pixels, and the digits of a `Batch`. Returns each cell's digit (batch, cells), -1 for none, and
    the wanted probabilities (batch, cells, 10).
    """
    real = classes >= 0
    edges = centers[None, None] - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centers[None, None]
    inside = (torch.cat(edges, 3).amin(3) > 0) & real[..., None]
    overlap = iou(found[:, None], boxes[:, :, None])
    index = classes.clamp(min=0)[:, None].expand(-1, scores.shape[1], -1)
    score = scores.gather(2, index).transpose(1, 2)
    quality = (score.sqrt() * overlap**6 + TINY) * inside
    best = torch.zeros_like(inside).scatter(2, quality.topk(CANDIDATES, 2).indices, True)
    chosen = best & inside
    # No two boxes of a scene overlap, so no cell is inside two of them.
    owner = torch.where(chosen.any(1), chosen.int().argmax(1), -1)
    quality, overlap = quality * chosen, overlap * chosen
    strength = quality / quality.amax(2, keepdim=True).clamp(min=TINY)
    strength = (strength * overlap.amax(2, keepdim=True)).amax(1)
    label = index.transpose(1, 2).gather(1, owner.clamp(min=0)[:, None])[:, 0]
    return owner, nn.functional.one_hot(label, CLASSES) * strength[..., None]


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4): left, top, right, bottom."""
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared + TINY)


def complete_iou(one: Tensor, other: Tensor) -> Tensor:
    """IoU less what the centers and the aspects differ (Zheng et al., 2020, arXiv:1911.08287)."""
    overlap = iou(one, other)
    low = torch.minimum(one[..., :2], other[..., :2])
    high = torch.maximum(one[..., 2:], other[..., 2:])
    diagonal = (high - low).square().sum(-1) + TINY
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]).square().sum(-1) / 4
    aspects = [
        torch.atan((box[..., 2] - box[..., 0]) / (box[..., 3] - box[..., 1] + TINY))
        for box in (one, other)
    ]
    aspect = 4 / math.pi**2 * (aspects[0] - aspects[1]).square()
    with torch.no_grad():
        trade = aspect / (1 - overlap + aspect + TINY)
    return overlap - apart / diagonal - trade * aspect


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
