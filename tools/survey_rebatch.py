"""Which of torchvision's families can be run at a batch of three after an export at a batch of one?

Exports every family once with each of torch's two exporters (random weights, batch fixed at 1,
nothing else declared dynamic) and prints one row per file: whether it is enough to rename the
dimension, whether `make_batch_dynamic` is enough, and the largest difference between a batch of
three and three single runs, relative to the largest output. "spread" is the difference between the
three single runs: a small difference only means something if the spread is much larger.

    python -m tools.survey_rebatch EXPORTS [FAMILY...]

EXPORTS is a folder; files that are already there are not exported again.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

import tools.peers.torchvision_shim  # noqa: F401  (declares operators that torchvision needs)
from onnxplain.tensors import FloatArray
from onnxplain.transforms.dynamic_batch import make_batch_dynamic

from torchvision import models as zoo  # type: ignore[import-untyped] # isort: skip # after the shim


class UNet(nn.Module):
    """Two levels down, two up, with skip connections and learned upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _block(3, 8), _block(8, 16), _block(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.merge2 = nn.ConvTranspose2d(32, 16, 2, stride=2), _block(32, 16)
        self.up1, self.merge1 = nn.ConvTranspose2d(16, 8, 2, stride=2), _block(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 2, H, W); H and W divisible by 4."""
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.bottom(self.pool(b))
        b = self.merge2(torch.cat([b, self.up2(c)], dim=1))
        a = self.merge1(torch.cat([a, self.up1(b)], dim=1))
        return self.head(a)  # type: ignore[no-any-return]


class DictOutput(nn.Module):
    """Torchvision's segmentation models return a dict; an exporter needs the tensor in it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, classes, H, W)."""
        return self.net(x)["out"]  # type: ignore[no-any-return]


def _block(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()
    )


def _small_vit() -> nn.Module:
    vit = zoo.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96
    )
    for zeros in (vit.heads.head.weight, vit.class_token):  # otherwise the output is always zero
        nn.init.normal_(zeros, std=0.1)
    return vit  # type: ignore[no-any-return]


def _segmentation(build: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    return lambda: DictOutput(build(weights_backbone=None))


FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (zoo.resnet18, 64),
    "resnext50": (zoo.resnext50_32x4d, 64),
    "vgg11": (zoo.vgg11, 224),
    "alexnet": (zoo.alexnet, 224),
    "alexnet_small": (zoo.alexnet, 96),  # its adaptive pool enlarges: gathers and masks
    "squeezenet": (zoo.squeezenet1_1, 64),
    "densenet121": (zoo.densenet121, 64),
    "inception_v3": (lambda: zoo.inception_v3(init_weights=False, aux_logits=False), 96),
    "googlenet": (lambda: zoo.googlenet(init_weights=False, aux_logits=False), 64),
    "mnasnet": (zoo.mnasnet0_5, 64),
    "mobilenet_v2": (zoo.mobilenet_v2, 64),
    "mobilenet_v3": (zoo.mobilenet_v3_small, 64),
    "shufflenet_v2": (zoo.shufflenet_v2_x0_5, 64),
    "efficientnet_b0": (zoo.efficientnet_b0, 64),
    "regnet": (zoo.regnet_y_400mf, 64),
    "convnext_tiny": (zoo.convnext_tiny, 64),
    "vit": (_small_vit, 64),
    "swin_t": (zoo.swin_t, 64),
    "swin_v2_t": (zoo.swin_v2_t, 64),
    "maxvit_t": (zoo.maxvit_t, 224),
    "fcn_resnet50": (_segmentation(zoo.segmentation.fcn_resnet50), 64),
    "deeplab_mobilenet": (_segmentation(zoo.segmentation.deeplabv3_mobilenet_v3_large), 64),
    "lraspp_mobilenet": (_segmentation(zoo.segmentation.lraspp_mobilenet_v3_large), 64),
    "unet": (UNet, 64),
}
EXPORTERS = {"script": False, "dynamo": True}


def network(family: str) -> nn.Module:
    """One family with random weights, the same at every call."""
    return random_network(*FAMILIES[family])


def random_network(build: Callable[[], nn.Module], size: int) -> nn.Module:
    """The network of `build`, with the same random weights at every call."""
    torch.manual_seed(0)
    net = build()
    _calibrate(net, torch.randn(8, 3, size, size))
    return net.eval()


def export(family: str, exporter: str, path: Path) -> None:
    """Write one family with random weights and a fixed batch of one."""
    net, (_, size) = network(family), FAMILIES[family]
    torch.onnx.export(
        net,  # no torch.no_grad: ViT would take its fused attention path
        (torch.randn(1, 3, size, size),),
        path,
        input_names=["image"],
        output_names=["output"],
        dynamo=EXPORTERS[exporter],
        verbose=False,
    )


def _calibrate(net: nn.Module, batch: torch.Tensor) -> None:
    """Fit the batch norms to the random weights; else the output is the same for every picture."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None  # the average over all batches seen: this one
        with torch.no_grad():
            net.train()(batch)


def renamed(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The first thing that people try: name the first dimension and drop the declared shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        if value.name == name:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy


def difference(model: onnx.ModelProto, folder: Path, batch: FloatArray, single: FloatArray) -> str:
    """Largest difference between a run on the batch and the stacked single runs, relative."""
    try:
        together = run(model, folder, batch)
    except Exception as error:  # any exception with which ONNX Runtime refuses the model
        return type(error).__name__
    if together.shape != single.shape:
        return f"shape {together.shape}"
    worst = float(np.abs(together - single).max() / np.abs(single).max())
    return f"{worst:.0e}" + ("" if worst < 1e-4 else " WRONG")


def run(model: onnx.ModelProto, folder: Path, batch: FloatArray) -> FloatArray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]  # type: ignore[no-any-return]


def survey(path: Path) -> str:
    """One row: differences after renaming alone and after the rewrite, seconds it took, spread."""
    model = onnx.load(path, load_external_data=False)
    picture = model.graph.input[0]
    _, *dims = (dim.dim_value for dim in picture.type.tensor_type.shape.dim)
    batch = np.random.default_rng(0).normal(size=(3, *dims)).astype(np.float32)
    single = np.concatenate([run(model, path.parent, sample[None]) for sample in batch])
    start = time.perf_counter()
    rebatched = make_batch_dynamic(model, [picture.name])
    seconds = time.perf_counter() - start
    spread = float(np.abs(single - single[:1]).max() / np.abs(single).max())
    by_name = difference(renamed(model, picture.name), path.parent, batch, single)
    by_rewrite = difference(rebatched, path.parent, batch, single)
    nodes = f"{len(model.graph.node)}"
    return f"{nodes:>6} {by_name:>24} {by_rewrite:>24} {seconds:8.2f} {spread:8.0e}"


def main(folder: Path, families: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        f"{'model':<26} {'nodes':>6} {'renamed':>24} {'rewritten':>24} {'seconds':>8} {'spread':>8}"
    )
    for family in families or FAMILIES:
        for exporter in EXPORTERS:
            path = folder / f"{family}.{exporter}.onnx"
            try:
                if not path.exists():
                    export(family, exporter, path)
                row = survey(path)
            except torch.onnx.errors.OnnxExporterError as error:
                row = f"not exported: {type(error).__name__}"
            print(f"{path.stem:<26} {row}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
