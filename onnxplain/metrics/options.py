"""Options that several metrics have, as `methods.options` has those of methods."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from onnxplain.methods.options import Absent, Option, Values, Whole, one_of

PerturbBaseline = Annotated[
    Absent, Option("WHAT", "What removed places look like: black, blur, ..., as --baseline.")
]
_OrderName = Literal["morf", "lerf"]
Order = Annotated[
    _OrderName,
    one_of(_OrderName),
    Option("NAME", "Which places come first: the most (morf) or the least relevant (lerf)."),
]
_SimilarityName = Literal["spearman", "pearson"]
Similarity = Annotated[
    _SimilarityName,
    one_of(_SimilarityName),
    Option("NAME", "How two maps are compared: spearman (rank correlation) or pearson."),
]
CurveSteps = Annotated[Whole, Option("COUNT", "Steps of a curve from all places to none.")]
NrSamples = Annotated[Whole, Option("COUNT", "Random copies of the sample.")]
MetricSeed = Annotated[Whole, Option("NUMBER", "Seed of the random numbers.")]


def _numbers(value: Any) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(map(float, parts))


Numbers = Annotated[tuple[float, ...], Values(_numbers, "numbers, such as 10,20,30")]
