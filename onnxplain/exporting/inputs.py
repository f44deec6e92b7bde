"""The inputs of a file that say what is explained: `target`, and `region`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto, ValueInfoProto, helper

from onnxplain.exporting.frames import Frame
from onnxplain.exporting.parts import KNOWN, Names, Part
from onnxplain.exporting.placement_nodes import GraphPlacement
from onnxplain.exporting.region_input import covered_cells, has_places
from onnxplain.exporting.targets import FileTarget
from onnxplain.targets.rows import CELLS, CODE


@dataclass(frozen=True, eq=False)
class Asked:
    """Declarations of inputs, and the parameters of the target that they decide."""

    inputs: Sequence[ValueInfoProto]
    parameters: Mapping[str, gs.Tensor]


def ask(
    part: Part, chosen: FileTarget, names: Names, frame: Frame, placement: GraphPlacement | None
) -> Asked:
    """Add nodes that read the inputs, and name `KNOWN`; nothing if the target is fixed.

    `placement` is where the picture is in the model's input, if it has rows and columns.
    """
    if chosen.is_fixed:
        return Asked([], {})
    g, number = part.g, part.read(names.target)
    known = g.And(g.GreaterOrEqual(number, np.array(-1)), g.Less(number, np.array(chosen.choices)))
    inputs = [helper.make_tensor_value_info(names.target, TensorProto.INT64, [frame.rows])]
    parameters = {}
    if chosen.grid is not None and placement is not None:
        sizes = [frame.rows, *frame.places]
        inputs += [helper.make_tensor_value_info(names.region, TensorProto.UINT8, sizes)]
        region = part.read(names.region)
        cells = covered_cells(g, region, placement, chosen.grid)
        # The model may not see what is marked, because preprocessing crops it.
        seen = g.Or(has_places(g, cells), g.Not(has_places(g, region)))
        known, parameters[CELLS] = g.And(known, seen), cells
    parameters[CODE] = g.Where(known, number, np.array(-1))
    part.name(known, KNOWN)
    return Asked(inputs, parameters)
