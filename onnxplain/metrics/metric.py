"""The base class of metrics: one number for a map of one sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from onnxplain.methods.options import Configured
from onnxplain.metrics.judged import Judged

Better = Literal["higher", "lower", "neither"]
"""Which values are good; "neither" for numbers that describe a map, such as its sparseness."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The value of a metric, and what it was computed from, such as a curve, as plain numbers."""

    value: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Metric(Configured, ABC):
    """A metric and its options, which are its fields; see `Configured`.

    `good` says which values are good, unless an option decides that. `misleads` says when values
    mislead; every metric has such a case.
    """

    summary: ClassVar[str]
    paper: ClassVar[str]
    cost: ClassVar[str]
    misleads: ClassVar[str]
    good: ClassVar[Better]

    @property
    def better(self) -> Better:
        """Which values are good."""
        return self.good

    @abstractmethod
    def measure(self, judged: Judged) -> Measured:
        """The value for a map.

        Raises:
            OptionError: an option is out of its range, or the metric does not apply to this kind
                of input, target or method.
            MapError: this map has no value, for example because it is the same everywhere.
        """
