"""All metrics by name and by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxplain.errors import OptionError
from onnxplain.methods.options import options_of, with_options
from onnxplain.metrics.axioms import Completeness, Conservation
from onnxplain.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from onnxplain.metrics.faithfulness import (
    AverageDrop,
    AverageGain,
    Deletion,
    Increase,
    Insertion,
)
from onnxplain.metrics.infidelity import Infidelity
from onnxplain.metrics.information import AIC, SIC
from onnxplain.metrics.localization import (
    IoU,
    PointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
)
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.randomization import MPRT, EfficientMPRT, RandomLogit, SmoothMPRT
from onnxplain.metrics.road import ROAD
from onnxplain.metrics.sensitivity import MaxSensitivity
from onnxplain.suggestions import closest

FAMILIES: Mapping[str, Sequence[type[Metric]]] = {
    "faithfulness": (
        Deletion,
        Insertion,
        AverageDrop,
        AverageGain,
        Increase,
        ROAD,
        Infidelity,
        SIC,
        AIC,
    ),
    "robustness": (MaxSensitivity,),
    "localization": (PointingGame, RelevanceMassAccuracy, RelevanceRankAccuracy, IoU),
    "complexity": (Sparseness, Complexity, EffectiveComplexity),
    "randomization": (MPRT, SmoothMPRT, EfficientMPRT, RandomLogit),
    "axioms": (Completeness, Conservation),
}

METRICS: Mapping[str, type[Metric]] = {
    metric.name: metric for family in FAMILIES.values() for metric in family
}


def make_metric(metric: str | Metric, options: Mapping[str, Any] | None = None) -> Metric:
    """The metric of that name with `options`; a configured metric is returned as it is.

    Raises:
        OptionError: there is no such metric, or it does not take an option or its value.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise OptionError(f"There is no metric {metric!r}{closest(metric, METRICS, count=20)}.")
    found = metric if isinstance(metric, Metric) else METRICS[metric]()
    return with_options(found, options or {})


def option_from_text(metric: str, name: str, text: str) -> Any:
    """The value of an option of a metric that a text means, such as "50" for `steps`.

    Raises:
        OptionError: there is no such metric or option, or the text does not fit it.
    """
    plain = make_metric(metric)
    own = options_of(type(plain))
    if name not in own:
        raise OptionError(f"{metric} has no option {name!r}; its own are {', '.join(own)}.")
    given = own[name].values.given
    if given is bool:
        if text not in _SWITCHES:
            raise OptionError(f"{metric} takes true or false as {name}, not {text!r}.")
        return _SWITCHES[text]
    try:
        return given(text)
    except ValueError:
        raise OptionError(
            f"{metric} takes {own[name].values.takes} as {name}, not {text!r}."
        ) from None


_SWITCHES = {"true": True, "false": False}
