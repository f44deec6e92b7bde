"""Torchvision's families as ONNX files: with fixed sizes, and with dynamic sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tools.survey_rebatch import EXPORTERS, FAMILIES, random_network

from torchvision import models as zoo  # type: ignore[import-untyped] # isort: skip # after the operators it needs


def _vit_b_16() -> nn.Module:
    vit = zoo.vit_b_16()
    nn.init.normal_(vit.heads.head.weight, std=0.02)  # otherwise the output is always zero
    return vit  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **FAMILIES,
    # By default blocks are scaled by a millionth: a mistake in their gradient would not be seen.
    "convnext_tiny": (lambda: zoo.convnext_tiny(layer_scale=0.5), 64),
    "resnet50": (zoo.resnet50, 224),
    "vit_b_16": (_vit_b_16, 224),
}
"""How each is built, and the size of its pictures."""

SQUARE = frozenset("vgg11 alexnet alexnet_small vit vit_b_16 swin_t swin_v2_t maxvit_t".split())
"""Families that torch's exporters cannot write for any size, or that take only one size."""

LARGER = 32
"""By how much pictures are larger at run time than at export, if sizes are dynamic."""

FORMS = ("fixed", "open")


def network(family: str) -> nn.Module:
    """One family with random weights, the same at every call."""
    return random_network(*NETWORKS[family])


def path_of(folder: Path, family: str, exporter: str, form: str) -> Path:
    """The path of an export."""
    return folder / f"{family}.{exporter}{'' if form == 'fixed' else '.' + form}.onnx"


def export(family: str, exporter: str, form: str, path: Path) -> None:
    """Write one family.

    "fixed" has a batch of one and one size of pictures. "open" has a dynamic batch, and dynamic
    height and width except for `SQUARE`.
    """
    _, size = NETWORKS[family]
    axes = {} if form == "fixed" else {0: "batch"}
    if axes and family not in SQUARE:
        axes |= {2: "height", 3: "width"}
    dynamo = EXPORTERS[exporter]
    shapes = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    # The new exporter treats a batch of one as a constant, so it needs a larger one.
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
