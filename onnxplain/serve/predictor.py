"""The model's own answers: all outputs of the whole model, as it declares them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.analysis.layout import require_grids
from onnxplain.errors import OnnxplainError, attempted
from onnxplain.execution.arrays import fill
from onnxplain.model.model import Model
from onnxplain.model.shapes import model_shapes
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.batching import BatchSize, in_batches
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, TensorSpec

Feeds = Mapping[str, Array]
Outputs = dict[str, Array]


class Predictor:
    """Runs the whole model. Feeds of several requests run as one batch where the model says so.

    It says so by one input and by outputs whose first axis has the same name as that of the input.
    """

    def __init__(self, model: Model, spec: TensorSpec, backend: Backend, max_batch: int) -> None:
        """Open a session; `spec` is the explained input.

        At most `max_batch` samples are run at a time, where the model takes batches: their
        activations must fit in memory.

        Raises:
            OnnxplainError: as `Session`.
        """
        self._model = model
        self._backend = backend
        self._session = Session(model, backend)
        self._at_once = backend.at_once
        self._input = spec.name
        self._fixed = has_fixed_batch(model.proto, spec.name) or 1
        self._max_batch = max_batch
        self._takes_batches = _declares_batches(model)

    def outputs(self, feeds: Sequence[Feeds]) -> Iterator[Outputs | OnnxplainError]:
        """The outputs for each of the feeds, by name, in order, or the error of the run."""
        if not self._takes_batches:
            yield from (attempted(self._alone, one) for one in feeds)
            return
        for _, group in groupby(feeds, key=lambda one: one[self._input].shape[1:]):
            some = [one[self._input] for one in group]
            found = attempted(self._together, some)
            if not isinstance(found, OnnxplainError):
                yield from found
            elif len(some) == 1:
                yield found
            else:  # perhaps it is due to one of them
                yield from (attempted(self._one, one) for one in some)

    @functools.cached_property
    def _parallel(self) -> Session:
        """A session for a run on each core."""
        return Session(self._model, self._backend, self._at_once)

    def _one(self, samples: Array) -> Outputs:
        return self._together([samples])[0]

    def _together(self, samples: Sequence[Array]) -> list[Outputs]:
        """The outputs for each array of samples of one shape, in batches."""
        joined = np.concatenate(samples)
        self._check({self._input: joined})
        # A single run uses all cores, so that for few samples parallel runs are no faster.
        is_many = len(joined) >= 2 * self._at_once > 2
        session = self._parallel if is_many else self._session
        size = BatchSize(1, self._at_once) if is_many else BatchSize(self._max_batch)

        def run(part: slice) -> list[Array]:
            return session.run({self._input: joined[part]})

        runs = [values for _, values in in_batches(run, len(joined), size)]
        ends = np.cumsum([len(one) for one in samples])[:-1]
        found = (np.split(np.concatenate(parts), ends) for parts in zip(*runs, strict=True))
        return [self._named(own) for own in zip(*found, strict=True)]

    def _alone(self, feeds: Feeds) -> Outputs:
        """The outputs for feeds as they are; those of a fixed batch size are filled up to it."""
        self._check(feeds)
        count = len(feeds[self._input])
        if count >= self._fixed:
            return self._named(self._session.run(feeds))
        filled = {
            name: fill(one, self._fixed) if one.shape[:1] == (count,) else one
            for name, one in feeds.items()
        }
        found = self._session.run(filled)
        whole = (self._fixed,)
        return self._named([one[:count] if one.shape[:1] == whole else one for one in found])

    def _check(self, feeds: Feeds) -> None:
        """Raise ModelError for sizes of which a convolution or a pool leaves nothing."""
        shapes = {name: value.shape for name, value in feeds.items()}
        shapes[self._input] = (1, *shapes[self._input][1:])
        require_grids(self._model, model_shapes(self._model, shapes), shapes[self._input])

    def _named(self, values: Sequence[Array]) -> Outputs:
        return dict(zip(self._session.outputs, values, strict=True))


def tensor_outputs(model: Model) -> list[TensorSpec]:
    """The outputs that are tensors: those of a tree may be lists of dicts."""
    types = {value.name: value.type for value in model.proto.graph.output}
    return [spec for spec in model.outputs if types[spec.name].HasField("tensor_type")]


def without_batch(model: Model, spec: TensorSpec, outputs: Outputs) -> dict[str, Any]:
    """The outputs for one sample of the input `spec`, without the batch axis where they have one.

    An output has one if its first axis is declared as that of the input, or if it is not declared.
    """
    declared = {one.name: _first_axis(one) for one in model.outputs}
    own = {_first_axis(spec), None}
    return {
        name: value[0] if np.ndim(value) and len(value) == 1 and declared[name] in own else value
        for name, value in outputs.items()
    }


def _first_axis(spec: TensorSpec) -> int | str | None:
    return (spec.shape or (None,))[0]


def _declares_batches(model: Model) -> bool:
    first = [_first_axis(spec) for spec in (*model.inputs, *model.outputs)]
    return len(model.inputs) == 1 and isinstance(first[0], str) and len(set(first)) == 1
