"""Gradients of torchvision's families, by both exporters, against torch on the same weights."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tools.gradients import torch_side
from tools.gradients.ours import Subject, difference
from tools.survey_rebatch import EXPORTERS, FAMILIES, export, network

_SAME_WEIGHTS = 1e-2


@dataclass(frozen=True)
class Row:
    """One export."""

    file: str
    nodes: int
    layer: str
    output: float
    at_input: tuple[float, float]
    at_layer: tuple[float, float] | None
    seconds: float


def rows(folder: Path, families: list[str]) -> Iterator[Row | str]:
    """One per file in `folder`, which is exported if it is not there; a str says what failed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for family in families or FAMILIES:
        for exporter in EXPORTERS:
            path = folder / f"{family}.{exporter}.onnx"
            try:
                if not path.exists():
                    export(family, exporter, path)
                yield _row(family, path)
            except Exception as error:
                yield f"{path.stem}: {type(error).__name__}: {str(error).splitlines()[0]}"
            gc.collect()


def _row(family: str, path: Path) -> Row:
    subject = Subject(path)
    at_input, at_layer = subject.gradients()
    output, by_input, by_layer = torch_side.gradients(
        network(family), subject.x, subject.seed, subject.values[subject.layer]
    )
    apart, _ = difference(subject.values[subject.score], output)
    if apart > _SAME_WEIGHTS:
        raise ValueError(f"torch's answer differs by {apart:.0e}: the weights are not the same")
    return Row(
        file=path.stem,
        nodes=len(subject.original.proto.graph.node),
        layer=subject.layer,
        output=apart,
        at_input=difference(at_input, by_input),
        at_layer=None if by_layer is None else difference(at_layer, by_layer),
        seconds=subject.seconds,
    )


HEADER = (
    "| export | nodes | answer | by the picture | 1 - cosine | layer | by the layer | 1 - cosine "
    "| graph built, s |\n| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
)


def line(row: Row) -> str:
    """A row of the table in Markdown."""
    layer = ("-", "-") if row.at_layer is None else tuple(f"{v:.0e}" for v in row.at_layer)
    picture = (f"{value:.0e}" for value in row.at_input)
    cells = (row.file, str(row.nodes), f"{row.output:.0e}", *picture, row.layer, *layer)
    return f"| {' | '.join(cells)} | {row.seconds:.2f} |"
