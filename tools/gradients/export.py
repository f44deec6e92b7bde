"""Torchvision's families as ONNX files: with fixed sizes, and with sizes that are left open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tools.survey_rebatch import EXPORTERS, FAMILIES, random_network

from torchvision import models as zoo  # type: ignore[import-untyped] # isort: skip # after the operators it needs


def _vit_b_16() -> nn.Module:
    vit = zoo.vit_b_16()
    nn.init.normal_(vit.heads.head.weight, std=0.02)  # or the answer is always zero
    return vit  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **FAMILIES,
    # Blocks count for a millionth by default: a mistake in their gradient would not show.
    "convnext_tiny": (lambda: zoo.convnext_tiny(layer_scale=0.5), 64),
    "resnet50": (zoo.resnet50, 224),
    "vit_b_16": (_vit_b_16, 224),
}
"""How each is built, and the size of its pictures."""

SQUARE = frozenset("vgg11 alexnet alexnet_small vit vit_b_16 swin_t swin_v2_t maxvit_t".split())
"""Those that torch's exporters do not write for pictures of any size, or that take one only."""

LARGER = 32
"""By how much pictures are larger at run time than they were at export, where that is left open."""

FORMS = ("fixed", "open")


def network(family: str) -> nn.Module:
    """One family with random weights, the same at every call."""
    return random_network(*NETWORKS[family])


def path_of(folder: Path, family: str, exporter: str, form: str) -> Path:
    """Where an export lies."""
    return folder / f"{family}.{exporter}{'' if form == 'fixed' else '.' + form}.onnx"


def export(family: str, exporter: str, form: str, path: Path) -> None:
    """Write one family.

    "fixed" has a batch of one and one size of pictures; "open" leaves the batch open, and height
    and width as well except for `SQUARE`.
    """
    _, size = NETWORKS[family]
    axes = {} if form == "fixed" else {0: "batch"}
    if axes and family not in SQUARE:
        axes |= {2: "height", 3: "width"}
    dynamo = EXPORTERS[exporter]
    shapes = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    # A batch of one is no example of any batch: the new exporter would take it for a constant.
    batch = 2 if axes else 1
    torch.onnx.export(
        network(family),  # no torch.no_grad: ViT would take its fused attention path
        (torch.randn(batch, 3, size, size),),
        path,
        input_names=["image"],
        output_names=["output"],
        dynamo=dynamo,
        dynamic_shapes=(shapes,) if dynamo and axes else None,
        dynamic_axes={"image": axes, "output": {0: "batch"}} if axes and not dynamo else None,
        verbose=False,
    )
