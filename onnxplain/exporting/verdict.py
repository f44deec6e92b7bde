"""Why no map of a sample would mean anything: the target is not there, or its score is no number.

The explainer raises an error there, and a graph cannot.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.execution.scoring import parameter
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.parts import KNOWN, Part
from onnxplain.exporting.picture_heat import NO_SUCH_TARGET, NOT_FINITE, OK
from onnxplain.exporting.targets import FileTarget
from onnxplain.formulas.graph_namespace import GraphNamespace
from onnxplain.targets.rows import CODE


class Verdict:
    """What is said about the answers of the samples, next to their maps."""

    def __init__(self, part: Part, planned: Planned, chosen: FileTarget) -> None:
        """Add nodes to `part`, which has the tensors of the method's graph."""
        self._part, self._planned, self._chosen = part, planned, chosen
        scored = planned.plan.scored
        self._xp, self._target = GraphNamespace(part.g, scored.ranks), scored.target(0)
        values = part.g.Cast(part.read(planned.plan.answer), to=TensorProto.FLOAT)
        self._values = self._xp.array(values, (None, *scored.shape[1:]))
        self._given = {
            name: self._xp.array(part.read(parameter(0, name)), (None, *value.shape))
            for name, value in self._target.given(*scored.shapes).items()
        }

    @property
    def explained(self) -> gs.Tensor:
        """The number of what was explained, int64 (N): that of `target`, or what −1 means."""
        settled = self._target.settled(self._xp, self._read, self._given)
        return settled[CODE].tensor  # type: ignore[no-any-return]

    @property
    def status(self) -> gs.Tensor | None:
        """The status that takes the place of that of the map, unless it is `OK`, int64 (N).

        None if it always is.
        """
        g = self._part.g
        status = self._of_score if self._planned.method.needs_target else None
        if self._chosen.is_fixed:
            return status
        known = self._part.read(KNOWN)
        return g.Where(known, np.array(OK) if status is None else status, np.array(NO_SUCH_TARGET))

    @property
    def _of_score(self) -> gs.Tensor:
        g, xp = self._part.g, self._xp
        exists = self._target.exists(xp, self._read, self._given)
        ok, none = np.array(OK), np.array(NO_SUCH_TARGET)
        status = ok if exists is None else g.Where(exists.tensor, ok, none)
        reading = self._planned.plan.scored.reading
        score = reading.score(xp, self._target, self._values, **self._given)
        # NaN is not less than or equal to any number.
        finite = g.LessOrEqual(g.Abs(score.tensor), np.finfo(np.float32).max)
        return g.Where(finite, status, np.array(NOT_FINITE))

    @functools.cached_property
    def _read(self) -> Any:
        """What the target reads, as `Target.anchored` takes it."""
        reading = self._planned.plan.scored.reading
        read = reading.of_target(self._xp, self._target, self._values)
        return read if len(read) > 1 else read[0]
