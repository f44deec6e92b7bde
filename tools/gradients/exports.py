"""Gradients of torchvision's families, by both exporters, against torch on the same weights.

onnxplain computes every gradient twice: in float32 with ONNX Runtime, and in float64. If float32
differs from torch's float64 by more than rounding explains, there are two possible reasons: a
wrong graph, or an activation that rounding has moved across a kink. In the second case float64
agrees to the last digits, and torch's own float32 differs by as much.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tools.gradients import torch_side
from tools.gradients.export import FORMS, LARGER, NETWORKS, SQUARE, export, network, path_of
from tools.gradients.float64 import flips
from tools.gradients.gaps import Gap, gaps
from tools.gradients.ours import Subject, difference
from tools.gradients.weights import as_exported
from tools.survey_rebatch import EXPORTERS

_SAME_WEIGHTS = 1e-2
_BATCH = 3
_LIMIT = 1e-4
_LIMIT_64 = 1e-5
"""Exporters round constants to float32 that torch has in float64: HardSigmoid's 1/6, Gelu's √2."""

EXACT = "exact"
KINKS = "exact but for kinks"
WRONG = "WRONG"


@dataclass(frozen=True)
class Row:
    """One export. Gaps are at the picture, at a layer in the middle, and at the layer of CAM.

    `apart` is how much the gradients of a batch differ from those of its samples, None for one
    sample. `flipped` is the number of activations on the other side of a kink in float32.
    """

    file: str
    shape: tuple[int, ...]
    nodes: int
    output: float
    torch32: tuple[float, float]
    gaps: dict[str, Gap]
    apart: float | None
    flipped: int
    seconds: float

    @property
    def verdict(self) -> str:
        """The conclusion from the numbers."""
        if any(gap.float64[0] > _LIMIT_64 for gap in self.gaps.values()):
            return WRONG
        if self.output > _LIMIT or (self.apart or 0) > _LIMIT:
            return WRONG
        if all(gap.float32[0] <= _LIMIT for gap in self.gaps.values()):
            return EXACT
        return KINKS if self.flipped else WRONG


def rows(folder: Path, families: list[str]) -> Iterator[Row | str]:
    """One per file in `folder`, which is exported if it is missing; a str says what failed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for family in families or NETWORKS:
        for form in FORMS:
            for exporter in EXPORTERS:
                path = path_of(folder, family, exporter, form)
                try:
                    if not path.exists():
                        export(family, exporter, form, path)
                    yield _row(family, form, path)
                except Exception as error:
                    yield f"{path.stem}: {type(error).__name__}: {str(error).splitlines()[0]}"
                gc.collect()


def _row(family: str, form: str, path: Path) -> Row:
    size = NETWORKS[family][1] + (0 if form == "fixed" or family in SQUARE else LARGER)
    subject = Subject(path, batch=_BATCH, size=size)
    net = as_exported(network(family), subject.original, subject.x)
    layers = {name: subject.values[name] for name in (*subject.inner, subject.layer)}
    exact = torch_side.gradients(net, subject.x, subject.seed, layers)
    plain = torch_side.gradients(net, subject.x, subject.seed, {}, torch.float32)
    apart, _ = difference(subject.values[subject.score], exact.output)
    if apart > _SAME_WEIGHTS:
        raise ValueError(f"torch's answer differs by {apart:.0e}: the weights are not the same")
    known = [name for name in layers if name in exact.layers]
    references = {
        subject.picture: exact.picture,
        **{name: exact.layers[name] for name in dict.fromkeys([*known[:1], *known[-1:]])},
    }
    apart_from_torch, alone = gaps(subject, references)
    crossed = any(gap.float32[0] > _LIMIT for gap in apart_from_torch.values())
    return Row(
        file=path.stem,
        shape=subject.x.shape,
        nodes=len(subject.original.proto.graph.node),
        output=apart,
        torch32=difference(plain.picture, exact.picture),
        gaps=apart_from_torch,
        apart=alone,
        flipped=flips(subject.prepared, {subject.picture: subject.x}) if crossed else 0,
        seconds=subject.seconds,
    )


HEADER = (
    "| export | sizes | nodes | answer | by the picture | 1 - cosine | torch's float32 "
    "| in float64 | by a layer | 1 - cosine | in float64 | layer | flipped | batch - single "
    "| graph built, s | verdict |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: "
    "| ---: | ---: | --- |"
)


def lines(row: Row) -> str:
    """A row of the table in Markdown, and one more for each further layer."""
    (_, picture), *layers = row.gaps.items()
    first = [
        row.file,
        "×".join(map(str, row.shape)),
        str(row.nodes),
        f"{row.output:.0e}",
        *(f"{value:.0e}" for value in picture.float32),
        f"{row.torch32[0]:.0e}",
        f"{picture.float64[0]:.0e}",
    ]
    last = [
        str(row.flipped or ""),
        "" if row.apart is None else f"{row.apart:.0e}",
        f"{row.seconds:.2f}",
        row.verdict,
    ]
    cells = [
        [*(f"{v:.0e}" for v in gap.float32), f"{gap.float64[0]:.0e}", name] for name, gap in layers
    ]
    table = [[*first, *(cells[0] if cells else [""] * 4), *last]]
    table += [[""] * len(first) + cell + [""] * len(last) for cell in cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)
