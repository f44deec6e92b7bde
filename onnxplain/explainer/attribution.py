"""From the results of samples to an `Attribution`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnxplain.errors import MapError
from onnxplain.execution.arrays import is_finite, joined
from onnxplain.explainer.heat import no_slope, nothing_shown
from onnxplain.explainer.request import Result
from onnxplain.methods.base import Method
from onnxplain.results.explanation import Attribution
from onnxplain.tensors import FloatArray


def attribution(
    method: Method, results: Sequence[Result], spatial: tuple[int, ...], output: str | None
) -> Attribution:
    """The attribution of samples with one target each.

    `spatial` are the axes along which neighbors are related, and `output` is the name of the output
    that the user chose.

    Raises:
        MapError: a value is not finite.
    """
    values = joined([result.maps.values for result in results])
    if not is_finite(values):
        raise MapError(f"The values of {method.name} are not finite.")
    targets = (result.targets[0].described for result in results)
    return Attribution(
        values=values,
        scores=joined([result.scores for result in results]),
        targets=tuple(replace(target, output=output) for target in targets),
        method=method.name,
        layer=",".join(results[0].layer_names) or None,
        parameters=method.options(),
        diagnostics={
            "samples": [
                _diagnostics(result, method, own, spatial)
                for result, own in zip(results, values, strict=True)
            ]
        },
    )


def _diagnostics(
    result: Result, method: Method, values: FloatArray, spatial: tuple[int, ...]
) -> dict[str, Any]:
    """The diagnostics of a map, with a warning if it is the same everywhere."""
    about = result.maps.about(0)
    warnings = list(about.get("warnings", []))
    if not method.is_varied(values, spatial):
        nothing = nothing_shown(method.heat(values, spatial), method.name, warnings)
        warnings = [nothing] if nothing else warnings
    flat = no_slope(method, result.targets[0], float(result.scores[0]))
    warnings += [flat] if flat else []
    warnings += [result.warning] if result.warning else []
    return about | {"warnings": warnings} if warnings else about
