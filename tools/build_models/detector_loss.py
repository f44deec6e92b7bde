"""The loss of the detector.

Cells are assigned to digits as in TOOD (Feng et al., 2021, arXiv:2108.07755).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .detector_batches import Batch, tensor
from .detector_network import BINS, DigitDetector
from .scenes import CLASSES

CANDIDATES = 10
"""How many cells at most are assigned to a digit."""
BOX_WEIGHT, CLASS_WEIGHT, BINS_WEIGHT = 7.5, 0.5, 1.5
TINY = 1e-7


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
