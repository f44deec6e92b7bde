"""What to write instead of flags that other programs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "--out": (
        "--outdir",
        "--out-dir",
        "--output-dir",
        "--output-folder",
        "--output-path",
        "--save-dir",
        "--save-path",
    ),
    "--target": ("--class", "--class-id", "--class-idx", "--class-index", "--category", "--label"),
    "--target top5": ("--topk", "--top-k"),
    "--layer": ("--layers", "--layer-name", "--target-layer", "--target-layers"),
    "--labels": ("--classes", "--class-names", "--label-file", "--labels-file"),
    "--names": ("--features", "--feature-names"),
    "--baselines": ("--background",),
    "--provider": ("--device", "--providers", "--execution-provider"),
    "--provider cuda": ("--gpu", "--cuda", "--use-cuda"),
    "--provider cpu": ("--cpu",),
    "--threads": ("--num-threads", "--n-threads", "--intra-op-num-threads"),
    "--provider-option": ("--provider-options",),
    "--size": ("--imgsz", "--img-size", "--image-size", "--input-size"),
    "--batch-size": ("--batch",),
    "--colormap": ("--cmap",),
    "MODEL": ("--model", "--model-path", "--weights", "--onnx"),
    "IMAGE": ("--image", "--images", "--img", "--image-path", "--picture", "--source"),
}
"""Names in other programs, by the flag here, with a value if there is one, or by the argument."""


def instead_of(error: Any) -> str:
    """What to write instead of the unknown flag of an error; empty if that is not known."""
    flag = getattr(error, "option_name", "").replace("_", "-")
    ours = next((ours for ours, others in NAMES.items() if flag in others), "")
    for parameter in error.ctx.command.params if ours else ():
        if ours.split()[0] in parameter.opts:
            return f"did you mean {ours}?"
        if ours == parameter.metavar:
            return f"{ours} is given without a flag"
    return ""
