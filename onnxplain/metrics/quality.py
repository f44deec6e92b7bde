"""The quality of one explanation, for its manifest and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnxplain.errors import OnnxplainError, attempted
from onnxplain.explainer import Explainer, Picture
from onnxplain.methods.base import Method
from onnxplain.metrics.faithfulness import Deletion, Insertion
from onnxplain.metrics.judged import Case, Judged
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.sensitivity import MaxSensitivity
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats.manifest import plain
from onnxplain.targets import TargetSpec

QUALITY: Sequence[Metric] = (Deletion(), Insertion(), MaxSensitivity())
"""What `run --quality` measures."""


class QualityOf:
    """Adds its quality to each explanation of one method, for `targets` as they were asked for."""

    def __init__(
        self, explainer: Explainer, method: Method, targets: TargetSpec | Sequence[TargetSpec]
    ) -> None:
        self._explainer = explainer
        self._method = method
        self._targets = targets

    def of(self, picture: Picture, explanations: Sequence[Explanation]) -> list[Explanation]:
        """The explanations of a picture, with their quality.

        A metric that does not apply has no value, and says why.

        Raises:
            OnnxplainError: as `Explainer.explain`.
        """
        taken = self._explainer.take(picture)
        meant = self._explainer.targets(taken, self._targets)
        by_name = {target.described.name: target for target in meant}

        def with_quality(one: Explanation) -> Explanation:
            target = by_name.get(one.target.name, meant[0])
            judged = Case(self._explainer, taken, target)
            return replace(one, quality=self._quality(judged, one))

        return [with_quality(one) for one in explanations]

    def _quality(self, case: Case, explanation: Explanation) -> dict[str, Any]:
        judged = attempted(case.of_explanation, explanation, self._method)
        return {metric.name: _facts(metric, judged) for metric in QUALITY}


def _facts(metric: Metric, judged: Judged | OnnxplainError) -> dict[str, Any]:
    """The value of a metric, or why it has none, and what is good."""
    found = judged if isinstance(judged, OnnxplainError) else attempted(metric.measure, judged)
    about = {"better": metric.better, "parameters": plain(metric.options())}
    if isinstance(found, OnnxplainError):
        return {"value": None, "reason": str(found), **about}
    return {"value": found.value, **about}
