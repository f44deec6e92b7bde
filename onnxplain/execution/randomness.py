"""Whether a model gives one answer for one sample, and what is said where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxplain.analysis.randomness import NamedNode, listed
from onnxplain.errors import GradientError

_FIX = "--fix-random (fix_random=True)"


@dataclass(frozen=True)
class Randomness:
    """What makes the answers of a model for one sample differ.

    Attributes:
        nodes: those that draw random numbers in each run.
        suspects: where no node is known to draw, but two runs of one sample differ: those that
            may have drawn.
        of_batch: those that normalize by the statistics of the batch, as in training.
    """

    nodes: Sequence[NamedNode] = ()
    suspects: Sequence[NamedNode] = ()
    of_batch: Sequence[NamedNode] = ()

    @property
    def is_random(self) -> bool:
        """Whether two runs of one sample differ."""
        return bool(self.nodes or self.suspects)

    @property
    def cause(self) -> str:
        """What the model does, as the end of a sentence; empty if it gives one answer."""
        if self.nodes:
            return f"draws random numbers in {listed(self.nodes)}"
        if self.suspects:
            return f"answers differently when it is run again, because of {listed(self.suspects)}"
        if self.of_batch:
            return f"normalizes by the statistics of the batch in {listed(self.of_batch)}"
        return ""

    @property
    def warning(self) -> str:
        """What a map must be read with; empty if there is nothing to say."""
        if self.is_random:
            return (
                f"The model {self.cause}, so that this map may have noise: {_FIX} stops known "
                "draws."
            )
        if self.of_batch:
            return (
                f"The model {self.cause}, as in training, so that an answer depends on what it is "
                f"run with: {_FIX} uses the stored statistics."
            )
        return ""

    def check_gradients(self, method: str) -> None:
        """Check that the model is the same function in each run, for a method with gradients.

        Raises:
            GradientError: it is not.
        """
        if self.is_random:
            raise GradientError(
                f"The model {self.cause}, so that {method} would show the gradient of one draw: "
                f"give {_FIX}, which puts means in place of known draws, or use a method without "
                "gradients, such as occlusion."
            )
