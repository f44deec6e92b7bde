"""Print how far our maps are from those of torch libraries, on the shipped models' own weights.

    python tools/parity.py [--quick]

Needs the `peers` and `test` extras. Both sides explain the same picture at the model's default
layer; --quick looks at an early one with few channels, as the tests do.

The first difference is from the library with the deviation in the last column undone through its
own hooks, the second from the library as it is shipped; both are the largest over the map, in
units of the library's largest value.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from methods.parity import (  # type: ignore[import-not-found]
    DEFAULT_LAYER,
    FEW_CHANNELS,
    rows,
)

PACKAGES = ("grad-cam", "torchcam", "captum", "onnx2torch", "torch", "onnxruntime")
HEADER = ("Model", "Layer", "Method", "Peer", "Difference", "As shipped", "What is undone")


def main() -> None:
    layers = FEW_CHANNELS if "--quick" in sys.argv[1:] else DEFAULT_LAYER
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES), end="\n\n")
    print_row(*HEADER)
    print_row(*["---"] * len(HEADER))
    for model, layer in layers.items():
        for row in rows(model, layer):
            shown = layer if row.method != "occlusion" else "input"
            numbers = f"{row.deviation:.0e}", f"{row.deviation_as_shipped:.0e}"
            print_row(model, shown, row.method, row.peer, *numbers, row.undone)


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
