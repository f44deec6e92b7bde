"""Print the differences between our maps and those of torch libraries, on the shipped models.

    python -m tools.parity [--quick]

Needs the `peers` and `test` extras, and LXT: `pip install --no-deps lxt==2.1`. Both libraries have
the same weights and explain the same picture at the model's default layer. --quick uses an early
layer with few channels, as in tests.

Some libraries deviate from the definition; the last column says how. The first difference is from
the library with the deviation corrected through its own hooks, the second from the library as it is
shipped. Both are the largest difference over the map, in units of the library's largest value.
Gradients are compared for two classes, and the larger difference is printed. "Kinks" is the
difference of the library from itself when its inputs change by a millionth, which changes the slope
of a few rectifiers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tools.cases.models import CASES
from tools.parity import attention, gradcam, maps, metrics, propagation
from tools.parity.gradients import CLASSES, gradient_rows
from tools.parity.maps import DEFAULT_LAYER, FEW_CHANNELS, Row, Sides
from tools.peers.exports import NETS

PACKAGES = (
    "zennit",
    "grad-cam",
    "torchcam",
    "captum",
    "quantus",
    "saliency",
    "onnx2torch",
    "torch",
    "onnxruntime",
)
NUMBERS = ("Difference", "As shipped", "Kinks")
GRADIENT_HEADER = ("Model", "Method", "Peer", *NUMBERS, "What is undone")
PROPAGATION_HEADER = ("Model", "Method", "Peer", "Difference", "As shipped", "What is undone")
HEADER = ("Model", "Layer", "Method", "Peer", "Difference", "As shipped", "What is undone")


def main() -> None:
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES), end="\n\n")
    print_maps(FEW_CHANNELS if "--quick" in sys.argv[1:] else DEFAULT_LAYER)
    print()
    print_gradcam()
    print()
    print_gradients()
    print()
    print_propagation()
    print()
    print_metrics()


def print_maps(layers: Mapping[str, str]) -> None:
    print_row(*HEADER)
    print_row(*["---"] * len(HEADER))
    for model, layer in layers.items():
        for row in maps.rows(model, layer):
            shown = "input" if row.method in ("occlusion", "lime", "kernelshap") else layer
            numbers = f"{row.deviation:.0e}", f"{row.deviation_as_shipped:.0e}"
            print_row(model, shown, row.method, row.peer, *numbers, row.undone)


def print_gradcam() -> None:
    """At default layers, the largest differences over classes; on exports, also those of maps.

    Smoothed maps are compared for one class.
    """
    print_row(*(title for title in HEADER if title != "Layer"))
    print_row(*["---"] * (len(HEADER) - 1))
    for model, layer in DEFAULT_LAYER.items():
        sides = Sides.of(CASES[model](), layer)
        print_largest(model, [list(gradcam.rows(sides, index)) for index in CLASSES[model]])
        print_largest(model, [list(gradcam.smoothed_rows_of_shipped(sides, CLASSES[model][0]))])
    for net in NETS:
        print_largest(net, [list(gradcam.export_rows(net, index)) for index in (0, 7)])
        print_largest(net, [list(gradcam.smoothed_rows(net, index)) for index in (0, 7)])
        print_largest(net, [list(maps.export_rows(net, index)) for index in (3, 0)])


def print_largest(model: str, classes: Sequence[Sequence[Row]]) -> None:
    for found in zip(*classes, strict=True):
        numbers = (
            f"{max(getattr(row, name) for row in found):.0e}"
            for name in ("deviation", "deviation_as_shipped")
        )
        print_row(model, found[0].method, found[0].peer, *numbers, found[0].undone)


def print_gradients() -> None:
    print_row(*GRADIENT_HEADER)
    print_row(*["---"] * len(GRADIENT_HEADER))
    for model, classes in CLASSES.items():
        for found in zip(*(gradient_rows(model, index) for index in classes), strict=True):
            figures = [
                max(getattr(row, name) for row in found)
                for name in ("deviation", "deviation_as_shipped", "kinks")
            ]
            numbers = (f"{figure:.0e}" for figure in figures)
            print_row(model, found[0].method, found[0].peer, *numbers, found[0].undone)


def print_propagation() -> None:
    print_row(*PROPAGATION_HEADER)
    print_row(*["---"] * len(PROPAGATION_HEADER))
    for model in [name for name in CLASSES if name in CASES]:
        found = [list(propagation.rows(model, index)) for index in CLASSES[model]]
        print_largest(model, found)
    print_largest("resnet18", [list(propagation.export_rows(index)) for index in (3, 0)])
    print_largest("transformer", [list(attention.rows(index)) for index in attention.CLASSES])


def print_metrics() -> None:
    """On the small network and the shipped classifier, with the same random map for both sides."""
    header = ("Model", "Metric", "Peer", "Difference", "As shipped", "What is undone")
    print_row(*header)
    print_row(*["---"] * len(header))
    for model in ("net_r", "efficientnet"):
        for row in metrics.rows(model):
            print_largest(model, [[row]])
    for row in metrics.information_rows("squeezenet"):
        print_largest("squeezenet", [[row]])


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
