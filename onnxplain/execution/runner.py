"""A model on a provider: its sessions, and whether and how it takes several samples at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.errors import ModelError, OptionError
from onnxplain.execution.points import Blend
from onnxplain.model.external import byte_count, weights
from onnxplain.model.model import Model
from onnxplain.model.quantization import rounds
from onnxplain.recent import Recent
from onnxplain.runtime.batching import BatchSize, Fastest, Progress, in_batches, silent
from onnxplain.runtime.providers import choose_providers, device_of, runs_at_once
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.dynamic_batch import make_batch_dynamic
from onnxplain.transforms.extract import head, with_outputs
from onnxplain.transforms.fixed_batch import with_batch
from onnxplain.transforms.masks import BASELINE, X, masked

_SESSIONS_KEPT = (8, 32)
"""The fewest and the most."""

_WEIGHTS_KEPT = 2**31
"""Bytes. A session holds a copy of the weights; pictures of many sizes would pile them up."""

_SHAPES_KEPT = 64
"""What is known of samples of one shape is small, but shapes may be many."""

_HELD_AT_ONCE = 2**32
"""Bytes that the activations of runs at the same time may take."""

_LARGEST_BATCH = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True, eq=False)
class Batching:
    """How a model takes samples: `exact` is the batch it insists on, None for any number.

    `model` is the model that takes them so; `description` says it in words, for reports.
    """

    model: Model
    exact: int | None
    description: str


@dataclass(frozen=True, eq=False)
class Part:
    """A model, or the part of it behind a layer: perturbed at `spec`, the rest fed by `sides`.

    `sides` gives the other inputs for a batch of a given size.
    """

    model: Model
    spec: TensorSpec
    sides: Callable[[int], Mapping[str, Array]]
    exact: int | None


@dataclass(eq=False)
class Activity:
    """What runners of one model's parts share: their open sessions, and what they have done.

    `provider` is the one that really runs, empty before the first run; `runs` are those of ONNX
    Runtime so far; `progress` is called as samples are run.
    """

    sessions: Recent[Session]
    provider: str = ""
    runs: int = 0
    progress: Progress = silent


class Runner:
    """One model, one provider. Sessions are opened when first needed, one per set of outputs."""

    def __init__(
        self,
        model: Model,
        spec: TensorSpec,
        others: Mapping[str, Array],
        provider: str,
        batch_size: int | None,
    ) -> None:
        """Prepare to run `model`; `spec` is the input to explain, `others` what the rest is fed.

        Raises:
            OptionError: the batch size is not positive.
            ProviderError: the provider cannot be had.
        """
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"The batch size must be at least 1, and is {batch_size}.")
        self.model = model
        self.spec = spec
        self.activity = Activity(Recent(_sessions_kept(model)))
        self._fed = threading.local()
        self._given = dict(others)
        self._asked = provider
        self._providers = choose_providers(provider)
        self.batch_size = batch_size
        self._batchings: Recent[Batching] = Recent(_SHAPES_KEPT)
        self._batch_sizes: Recent[BatchSize] = Recent(_SHAPES_KEPT)
        self._heads: Recent[Model] = Recent(_SESSIONS_KEPT[0])

    @property
    def others(self) -> Mapping[str, Array]:
        """What the inputs that are not explained are fed: each thread sets it for its own runs."""
        found: Mapping[str, Array] = getattr(self._fed, "others", self._given)
        return found

    @others.setter
    def others(self, values: Mapping[str, Array]) -> None:
        self._fed.others = dict(values)

    @property
    def open_sessions(self) -> int:
        """How many sessions are open."""
        return len(self.activity.sessions)

    def with_model(self, model: Model) -> Runner:
        """A runner of another model with the same inputs, on the same provider."""
        return Runner(model, self.spec, self.others, self._asked, self.batch_size)

    def beside(self, model: Model) -> Runner:
        """The same, of a model that holds this one's: its sessions and runs count as own."""
        other = self.with_model(model)
        other.activity = self.activity
        return other

    @property
    def device(self) -> str:
        """Where the provider that was asked for first keeps its tensors."""
        return device_of(self._providers[0])

    @functools.cached_property
    def fixed_batch(self) -> int | None:
        """The batch that the model insists on; None where it takes any."""
        return has_fixed_batch(self.model.proto, self.spec.name)

    @functools.cached_property
    def rounds(self) -> bool:
        """Whether the model rounds numbers on the way, to float16 or to integers."""
        return rounds(self.model.proto)

    @functools.cached_property
    def single(self) -> Model:
        """The model for one sample at a time."""
        return with_batch(self.model, self.spec.name, 1)

    def forward(self, x: Array, tensors: Sequence[str]) -> list[Array]:
        """Values of `tensors` for one sample, (1, ...)."""
        return self._forward(self.model, x, tensors)

    def feeds(self, model: Model, x: Array) -> dict[str, Array]:
        """What `model` is fed for some samples: a batch that it fixes filled up, and the others."""
        size = max(len(x), has_fixed_batch(model.proto, self.spec.name) or 1)
        return {self.spec.name: fill(x.astype(self.spec.dtype), size), **self.others_for(size)}

    def batching(self, x: Array, tensors: Sequence[str]) -> Batching:
        """How the model takes samples of this shape, proved on `x` and two samples made from it."""
        key = x.shape, *sorted((name, value.shape) for name, value in self.others.items())
        return self._batchings.get(key, lambda: self._prove_batching(x, tensors))

    def whole(self, batching: Batching) -> Part:
        """All of the model, perturbed at the input to explain."""
        return Part(batching.model, self.spec, self.others_for, batching.exact)

    def head(self, model: Model, specs: Mapping[str, TensorSpec], scores: Sequence[str]) -> Model:
        """The part of `model` that computes `scores` from the tensors in `specs`, cut out once."""
        key = (model, *((name, spec.dtype, spec.shape) for name, spec in specs.items()), *scores)
        return self._heads.get(key, lambda: head(model, specs, scores))

    def tiled(self, model: Model, x: Array, tensors: Sequence[str], size: int) -> dict[str, Array]:
        """Values of `tensors` for a batch of `size` copies of `x`."""
        if not tensors:
            return {}
        values = self._forward(model, np.repeat(x, size, axis=0), tensors, whole=True)
        return dict(zip(tensors, values, strict=True))

    def perturbed(
        self, part: Part, x: FloatArray, change: Blend, outputs: Sequence[str]
    ) -> Iterator[tuple[slice, list[Array]]]:
        """Run `part` on `x`, (1, ...), seen through each mask; `outputs` may hold `MASK` too."""
        key = (part.model, part.spec.name, change.mask, x.shape, tuple(outputs))
        at_once, others = self.at_once(change.count), self.others
        session = self.session(
            key, lambda: masked(part.model, part.spec, x.shape, change.mask, outputs), at_once
        )
        fixed = {X: session.place(x), BASELINE: session.place(change.baseline)}

        @functools.lru_cache(maxsize=2)
        def sides(size: int) -> Mapping[str, object]:
            return {name: session.place(value) for name, value in part.sides(size).items()}

        def run(samples: slice) -> list[Array]:
            self.others = others  # this may be another thread
            wanted = samples.stop - samples.start
            size = part.exact or wanted
            own = {
                PREFIX + name: fill(array[samples], size) for name, array in change.feeds.items()
            }
            results = session.run({**fixed, **sides(size), **own}, outputs)
            return [result[:wanted] for result in results]

        batch = self._batch_sizes.get(
            (key, at_once), lambda: self._batch_size_for(part.exact, at_once)
        )
        for found in in_batches(run, change.count, batch, self.activity.progress):
            self.activity.runs += 1
            yield found

    def _prove_batching(self, x: Array, tensors: Sequence[str]) -> Batching:
        fixed = self.fixed_batch
        if fixed is not None and fixed > 1:
            return Batching(self.model, fixed, f"the model fixes a batch of {fixed}")
        samples = _three_samples(x)
        single = [self._forward(self.model, sample, tensors) for sample in samples]
        expected = [np.concatenate(parts) for parts in zip(*single, strict=True)]
        if fixed is None and self._agrees(self.model, samples, expected, tensors):
            return Batching(self.model, None, "in batches")
        names = [self.spec.name, *(name for name in self.others if self._is_sample(name))]
        rewritten = replace(self.model, proto=make_batch_dynamic(self.model.proto, names))
        if self._agrees(rewritten, samples, expected, tensors):
            return Batching(rewritten, None, "in batches, the fixed batch of 1 rewritten")
        return Batching(self.model, 1, "one by one: the model does not take batches")

    def _agrees(
        self, model: Model, samples: list[Array], expected: list[Array], tensors: Sequence[str]
    ) -> bool:
        """Whether one batch of the samples gives what single runs gave."""
        try:
            got = self._forward(model, np.concatenate(samples), tensors)
        except ModelError:
            return False
        return all(_close(a, b) for a, b in zip(got, expected, strict=True))

    def _forward(
        self, model: Model, x: Array, tensors: Sequence[str], whole: bool = False
    ) -> list[Array]:
        self.activity.runs += 1
        results = self._session_with(model, tensors).run(self.feeds(model, x), tensors)
        if whole:
            return results
        for name, result in zip(tensors, results, strict=True):
            if not result.ndim:
                raise ModelError(
                    f"The tensor {name!r} holds one number for all samples, not one for each: "
                    "choose another output or layer, or export the model with a batch axis."
                )
        return [result[: len(x)] for result in results]

    def others_for(self, size: int) -> dict[str, Array]:
        """Values of the inputs that are not explained, for a batch of `size`."""
        return {
            name: np.repeat(value, size, axis=0) if self._is_sample(name) else value
            for name, value in self.others.items()
        }

    def _is_sample(self, name: str) -> bool:
        """Whether the value of another input is one sample of a batch; else all samples share it.

        It is where the model declares the same batch for it as for the input to explain.
        """
        value, proto = self.others[name], self.model.proto
        same_batch = has_fixed_batch(proto, name) == has_fixed_batch(proto, self.spec.name)
        return same_batch and value.ndim > 0 and len(value) == 1

    def _session_with(self, model: Model, tensors: Sequence[str]) -> Session:
        """A session of the model that can answer with `tensors`."""

        def answers(key: Hashable, session: Session) -> bool:
            whole = key == (model, *session.outputs)
            return whole and set(tensors) <= set(session.outputs)

        open_one = self.activity.sessions.find(answers)
        if open_one is not None:
            return open_one
        wanted = tuple(dict.fromkeys(tensors))
        return self.session((model, *wanted), lambda: with_outputs(model, wanted))

    def session(self, key: Hashable, build: Callable[[], Model], at_once: int = 1) -> Session:
        """The session that is kept under `key`, opened on `build()` where there is none.

        It serves `at_once` runs at the same time.
        """

        def opened() -> Session:
            session = Session(build(), self._providers, at_once)
            self.activity.provider = session.provider
            return session

        return self.activity.sessions.get(key if at_once == 1 else (key, at_once), opened)

    def at_once(self, samples: int, held: int = 0) -> int:
        """How many runs go on at the same time where so many samples are to be run.

        `held` are the bytes that a sample keeps during a run. One run at a time uses all cores too,
        so that few samples gain nothing.
        """
        if self.batch_size is not None:
            return 1
        most = min(runs_at_once(self._providers[0]), _HELD_AT_ONCE // max(1, held))
        return most if samples >= 2 * most > 2 else 1

    def _batch_size_for(self, exact: int | None, at_once: int) -> BatchSize:
        size = exact or self.batch_size
        if size is not None:
            return BatchSize(size, at_once)
        return Fastest(max(1, _LARGEST_BATCH[self.device] // at_once), at_once)


def _sessions_kept(model: Model) -> int:
    """How many sessions of a model are kept open."""
    fewest, most = _SESSIONS_KEPT
    size = sum(map(byte_count, weights(model.proto)))
    return max(fewest, min(most, _WEIGHTS_KEPT // max(1, size)))


def _three_samples(x: Array) -> list[Array]:
    """A sample, noise in its range, and a mixture of both: different even where `x` is constant."""
    random = np.random.default_rng(0)
    # Whether a model takes batches does not depend on a sample that it cannot answer.
    x = np.where(np.isfinite(x), x, np.zeros((), x.dtype))
    low, high = float(x.min()), max(float(x.max()), float(x.min()) + 1)
    noise = random.uniform(low, high, x.shape).astype(x.dtype)
    return [x, noise, np.where(random.random(x.shape) < 0.5, x, noise)]


def fill(array: Array, size: int) -> Array:
    """Repeat the last sample until there are `size`."""
    missing = size - len(array)
    return array if not missing else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


_TOLERANCE = {1: 1e-2, 2: 2e-2, 4: 1e-3, 8: 1e-6}
"""Largest difference between a batch and single runs, in units of the largest value, by bytes.

Integers of one byte are quantized floats.
"""


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or not np.isfinite(b).all():
        return False
    scale = max(float(np.abs(b).max()), 1e-6)
    tolerance = _TOLERANCE.get(a.dtype.itemsize, 0.0)
    return float(np.abs(a.astype(np.float64) - b).max()) <= tolerance * scale
