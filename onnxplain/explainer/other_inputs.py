"""The values of the inputs that are not explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxplain.analysis.inputs import follows_from_size, is_picture, size_value
from onnxplain.execution.arrays import others_for, samples_of
from onnxplain.execution.samples import Samples
from onnxplain.recent import Recent
from onnxplain.tensors import Array, TensorSpec

_SHAPES_KEPT = 16


class OtherInputs:
    """Values that were `given`, and values that follow from the size of a sample, by name.

    Raises:
        OptionError: `given` has a name that is not in `specs`, or a value that does not fit.
    """

    def __init__(
        self,
        explained: TensorSpec,
        specs: Sequence[TensorSpec],
        given: Mapping[str, Array],
        samples: Samples,
    ) -> None:
        self._specs = specs
        self._explained = explained
        self.given = others_for(specs, given, explained)
        self._samples = samples
        self._sized = [
            spec
            for spec in specs
            if is_picture(explained) and follows_from_size(spec) and spec.name not in self.given
        ]
        self._kept: Recent[Mapping[str, Array]] = Recent(_SHAPES_KEPT)

    def of(self, x: Array) -> Mapping[str, Array]:
        """The values for a sample, (1, ...); the same object for samples of the same shape."""
        if not self._sized:
            return self.given
        return self._kept.get(x.shape, lambda: self.given | self._of_size(x))

    def of_noise(self) -> Mapping[str, Array]:
        """The values for a sample of noise, as `Samples` makes it."""
        return self.of(self._samples.noise()) if self._sized else self.given

    def of_each(self, samples: Array, given: Mapping[str, Array]) -> list[Mapping[str, Array]]:
        """The values for each of the samples (N, ...); those in `given` replace others.

        Raises:
            OptionError: as for the class.
        """
        fitted = others_for(self._specs, given, self._explained, len(samples))
        values = {**self.of(samples[:1]), **fitted}
        return samples_of(values, len(samples))

    def _of_size(self, x: Array) -> dict[str, Array]:
        rows, columns = self._samples.spatial(x)
        size = x.shape[rows], x.shape[columns]
        return {spec.name: size_value(spec, size) for spec in self._sized}
