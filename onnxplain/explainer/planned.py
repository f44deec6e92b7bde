"""What a graph computes that explains any sample of one shape, for files that run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from onnxplain.execution.baselines import Scene
from onnxplain.execution.plan import Plan
from onnxplain.explainer.task import Task
from onnxplain.methods.base import Method
from onnxplain.targets import Target


class Chosen(Protocol):
    """What a graph explains."""

    @property
    def target(self) -> Target:
        """The target in the graph."""


C = TypeVar("C", bound=Chosen)


@dataclass(frozen=True, eq=False)
class Planned:
    """The plan of a method's graph, and what it was made for.

    Attributes:
        plan: the graph's plan; its formula is `method`. It takes any batch, or `plan.batch`.
        method: the configured method.
        task: the model's layers, and how its answer is read.
        scene: a sample of noise, (1, ...); only its shape, its axes and its colors mean anything.
    """

    plan: Plan
    method: Method
    task: Task
    scene: Scene
