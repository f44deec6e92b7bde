"""The network of the detector: a backbone, a neck, and on each grid a head.

The backbone is convolutional, the neck mixes two grids (PAN: Liu et al., 2018, arXiv:1803.01534),
and each head is anchor-free, with one branch for the class and one for the box. A box is four
distances from a cell's center, each the mean of a distribution (Li et al., 2020, arXiv:2006.04388).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .digits import DETECTOR_SIDE, DETECTOR_STRIDES
from .scenes import CLASSES

WIDTHS = (16, 24, 48, 56)
"""Channels of the backbone after each halving of the picture."""
CLASS_HIDDEN, BOX_HIDDEN = 32, 16
BINS = 8
"""A distance is 0..7 times the stride of its grid: a digit of at most 14 strides."""
CELLS = sum((DETECTOR_SIDE // stride) ** 2 for stride in DETECTOR_STRIDES)
"""How many cells the grids have together."""


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
