"""A model on a provider: its sessions, and how it runs several samples, in batches or singly."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.analysis.branches import decides_by_values
from onnxplain.analysis.randomness import drawing_nodes
from onnxplain.errors import BuiltGraphError, ModelError, OptionError, attempted
from onnxplain.execution import patches
from onnxplain.execution.arrays import fill, nearest
from onnxplain.execution.patches import PatchRuns
from onnxplain.execution.points import Part, Points
from onnxplain.execution.randomness import Randomness
from onnxplain.forks import per_process
from onnxplain.model.external import byte_count, weights
from onnxplain.model.model import Model
from onnxplain.model.operators import SCALED_BY_BATCH
from onnxplain.model.quantization import rounds
from onnxplain.recent import Recent
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.batching import BatchSize, Fastest, Progress, in_batches, silent
from onnxplain.runtime.session import RefusedError, Session
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.dynamic_batch import make_batch_dynamic
from onnxplain.transforms.extract import head, with_outputs
from onnxplain.transforms.fixed_batch import with_batch

_SESSIONS_KEPT = (8, 32)
"""The smallest and the largest number of sessions that are kept."""

_WEIGHTS_KEPT = 2**31
"""Bytes of weights in all sessions: each session has a copy, and each picture size a session."""

_SHAPES_KEPT = 64
"""Number of sample shapes whose facts are kept: the facts are small, but shapes may be many."""

_PATCHES_KEPT = 4
"""Numbers of forms of windows and samples whose patches are kept with their indices."""

_HELD_AT_ONCE = 2**32
"""Bytes that the activations of parallel runs may take."""

_LARGEST_BATCH = {"cpu": 64, "cuda": 256}


Ways = Counter[str]
"""Numbers of samples, by how they were run, in words."""


@dataclass(frozen=True, eq=False)
class Batching:
    """How a model takes samples.

    `model` is the model to run, `exact` is the batch size that it requires, None if it takes any.
    `why` says in words what is special about the model; empty if it takes batches as it is.
    """

    model: Model
    exact: int | None
    why: str = ""

    @property
    def description(self) -> str:
        """In words, for reports."""
        if self.exact is None:
            return ", ".join(filter(None, ["in batches", self.why]))
        if self.exact == 1:
            return f"one by one: {self.why}"
        return f"the model fixes a batch of {self.exact}"


@dataclass(eq=False)
class Activity:
    """What runners of one model's parts share: their open sessions, and counts of their work.

    At most `sessions_kept` are open. `provider` is the execution provider in use, empty before the
    first run. `runs` counts the runs of ONNX Runtime so far. `progress` is called while samples are
    run.
    """

    sessions_kept: int
    provider: str = ""
    runs: int = 0
    progress: Progress = silent

    @per_process
    def sessions(self) -> Recent[Session]:
        """The open sessions: the threads of those of the parent are not in a forked process."""
        return Recent(self.sessions_kept)


class Runner:
    """Runs one model on one provider; sessions are opened when they are first needed."""

    def __init__(
        self,
        model: Model,
        spec: TensorSpec,
        others: Mapping[str, Array],
        backend: Backend,
        batch_size: int | None,
    ) -> None:
        """Prepare to run `model`.

        `spec` is the input to explain, and `others` are the values of the other inputs, by name.
        `batch_size` is the number of samples in a run; None chooses it automatically.

        Raises:
            OptionError: the batch size is not positive.
        """
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"The batch size must be at least 1, and is {batch_size}.")
        self.model = model
        self.spec = spec
        self.activity = Activity(_sessions_kept(model))
        self._fed = threading.local()
        self._given = dict(others)
        self.backend = backend
        self.batch_size = batch_size
        self._batchings: Recent[Batching] = Recent(_SHAPES_KEPT)
        self._batch_sizes: Recent[BatchSize] = Recent(_SHAPES_KEPT)
        self._randomness: Recent[Randomness] = Recent(_SHAPES_KEPT)
        self._heads: Recent[Model] = Recent(_SESSIONS_KEPT[0])
        self.patch_runs: Recent[PatchRuns | None] = Recent(_PATCHES_KEPT)

    @property
    def others(self) -> Mapping[str, Array]:
        """Values of the inputs that are not explained, by name; each thread sets its own."""
        found: Mapping[str, Array] = getattr(self._fed, "others", self._given)
        return found

    @others.setter
    def others(self, values: Mapping[str, Array]) -> None:
        self._fed.others = dict(values)

    def with_model(self, model: Model, spec: TensorSpec | None = None) -> Runner:
        """A runner of another model with the same inputs, on the same provider.

        `spec` is the input to explain, if its type is another.
        """
        return Runner(model, spec or self.spec, self.others, self.backend, self.batch_size)

    def beside(self, model: Model) -> Runner:
        """As `with_model`, for a model that contains this one; it shares sessions and counts."""
        other = self.with_model(model)
        other.activity = self.activity
        return other

    def from_tensor(self, model: Model, spec: TensorSpec) -> Runner:
        """As `beside`, for the part of this model whose input to explain is the tensor `spec`."""
        other = Runner(model, spec, self.others, self.backend, self.batch_size)
        other.activity = self.activity
        return other

    @property
    def device(self) -> str:
        """The device, "cpu" or "cuda", on which the provider keeps its tensors."""
        return self.backend.memory

    @functools.cached_property
    def fixed_batch(self) -> int | None:
        """The batch size that the model declares as fixed; None if it is not fixed."""
        return has_fixed_batch(self.model.proto, self.spec.name)

    @functools.cached_property
    def rounds(self) -> bool:
        """Whether the model rounds numbers inside, to float16 or to integers."""
        return rounds(self.model.proto)

    @functools.cached_property
    def single(self) -> Model:
        """The model for one sample at a time."""
        return with_batch(self.model, self.spec.name, 1)

    def forward(self, x: Array, tensors: Sequence[str]) -> list[Array]:
        """Values of `tensors` for one sample, (1, ...)."""
        return self._forward(self.model, x, tensors)

    def feeds(self, model: Model, x: Array) -> dict[str, Array]:
        """Feeds of `model` for some samples, with the other inputs; padded to a fixed batch."""
        size = max(len(x), has_fixed_batch(model.proto, self.spec.name) or 1)
        return {self.spec.name: fill(nearest(x, self.spec.dtype), size), **self.others_for(size)}

    def batching(self, x: Array, tensors: Sequence[str]) -> Batching:
        """How the model takes samples of this shape, tested on `x` and two samples made from it."""
        key = x.shape, *sorted((name, value.shape) for name, value in self.others.items())
        return self._batchings.get(key, lambda: self._prove_batching(x, tensors))

    def randomness(self, x: Array, tensors: Sequence[str]) -> Randomness:
        """What makes `tensors` differ between runs of one sample.

        Found in the graph. Only where a node may draw, but is not known to, the sample `x`,
        (1, ...), is run twice.
        """
        return self._randomness.get(tuple(tensors), lambda: self._find_randomness(x, tensors))

    def repeats(self, x: Array, tensors: Sequence[str]) -> bool:
        """Whether two runs of the sample `x`, (1, ...), give the same values of `tensors`."""
        first, again = (self._forward(self.model, x, tensors, whole=True) for _ in range(2))
        return all(
            np.array_equal(a, b, equal_nan=True) or _close(a, b)
            for a, b in zip(again, first, strict=True)
        )

    def head(self, model: Model, specs: Mapping[str, TensorSpec], scores: Sequence[str]) -> Model:
        """The part of `model` that computes `scores` from the tensors in `specs`; cached."""
        key = (model, *((name, spec.dtype, spec.shape) for name, spec in specs.items()), *scores)
        return self._heads.get(key, lambda: head(model, specs, scores))

    def tiled(self, model: Model, x: Array, tensors: Sequence[str], size: int) -> dict[str, Array]:
        """Values of `tensors` for a batch of `size` copies of `x`."""
        if not tensors:
            return {}
        values = self._forward(model, np.repeat(x, size, axis=0), tensors, whole=True)
        return dict(zip(tensors, values, strict=True))

    def perturbed(
        self, part: Part, x: FloatArray, change: Points, outputs: Sequence[str], ways: Ways
    ) -> Iterator[tuple[slice, list[Array]]]:
        """Run `part` on `x`, (1, ...), changed in each of the ways of `change`, in batches.

        Yields the slice of the changed samples and the values of `outputs`, which may contain
        `MASK` for masks. Counts the samples in `ways`. Where windows are covered, and this is
        faster, only the patches that a window changes are computed.
        """
        in_patches = patches.perturbed(self, part, x, change, outputs, ways)
        if not isinstance(in_patches, str):
            return in_patches
        return self.whole(part, x, change, outputs, ways, in_patches)

    def whole(
        self,
        part: Part,
        x: FloatArray,
        change: Points,
        outputs: Sequence[str],
        ways: Ways,
        note: str,
    ) -> Iterator[tuple[slice, list[Array]]]:
        """As `perturbed`, computing all of each sample; `note` is said of these runs."""
        key = (part.model, part.exact, part.spec.name, change.form(x), tuple(outputs))
        at_once = self.at_once(change.count)

        def entered() -> Model:
            return with_outputs(change.entered(part, x, outputs), outputs)

        session = self.session(key, entered, at_once)
        shared = change.shared(session, x)

        @functools.lru_cache(maxsize=2)
        def sides(size: int) -> Mapping[str, object]:
            return {name: session.place(value) for name, value in part.sides(size).items()}

        def feeds(samples: slice, size: int) -> Mapping[str, object]:
            return {**shared, **sides(size), **change.fed(samples, size, part.spec)}

        sizes = self.sizes(key, part.exact, at_once, _LARGEST_BATCH[self.device])
        sizes.note = note
        return self.in_batches(session, outputs, feeds, change.count, sizes, part.exact, ways)

    def in_batches(
        self,
        session: Session,
        outputs: Sequence[str],
        feeds: Callable[[slice, int], Mapping[str, object]],
        count: int,
        sizes: BatchSize,
        exact: int | None,
        ways: Ways,
    ) -> Iterator[tuple[slice, list[Array]]]:
        """Run `count` samples in batches, and yield the slice and the outputs of each batch.

        `feeds(part, size)` returns the feeds for some of the samples, padded to `size` samples,
        which is `exact` where the session takes only that batch size. Counts the samples in `ways`.
        """
        others = self.others

        def run(part: slice) -> list[Array]:
            self.others = others  # this may be another thread
            wanted = part.stop - part.start
            results = session.run(feeds(part, exact or wanted), outputs)
            return [result[:wanted] for result in results]

        for found in in_batches(run, count, sizes, self.activity.progress):
            self.activity.runs += 1
            ways[sizes.description] += found[0].stop - found[0].start
            yield found

    def sizes(self, key: Hashable, exact: int | None, at_once: int, largest: int) -> BatchSize:
        """The size of the next batch, at most `largest`; what is learned is kept under `key`."""
        size = exact or self.batch_size

        def made() -> BatchSize:
            if size is None:
                return Fastest(max(1, largest // at_once), at_once)
            return BatchSize(size, at_once)

        return self._batch_sizes.get((key, at_once), made)

    def _prove_batching(self, x: Array, tensors: Sequence[str]) -> Batching:
        fixed = self.fixed_batch
        if fixed is not None and fixed > 1:
            return Batching(self.model, fixed, "the model fixes this size")
        randomness = self.randomness(x, tensors)
        # Where draws are not left out, a batch that agrees with single runs does so by chance.
        if randomness.is_random and not self.repeats(x, tensors):
            return Batching(self.model, 1, f"the model {randomness.cause}")
        if mixing := self._mixing(tensors):
            return Batching(self.model, 1, f"the model {mixing}")
        samples = _three_samples(x)
        single = [self._forward(self.model, sample, tensors) for sample in samples]
        expected = [np.concatenate(parts) for parts in zip(*single, strict=True)]
        if fixed is None and self._agrees(self.model, samples, expected, tensors):
            return Batching(self.model, None)
        names = [self.spec.name, *(name for name in self.others if self._is_sample(name))]
        rewritten = replace(self.model, proto=make_batch_dynamic(self.model.proto, names))
        if self._agrees(rewritten, samples, expected, tensors):
            return Batching(rewritten, None, "the fixed batch of 1 rewritten")
        return Batching(self.model, 1, f"the model {randomness.cause or 'does not take batches'}")

    def _mixing(self, tensors: Sequence[str]) -> str:
        """What makes a sample's answers depend on the others, if not for all samples; or empty."""
        index = self.model.index
        nodes = [index.nodes[i] for i in sorted(index.ancestors(tensors))]
        if any(node.op_type in SCALED_BY_BATCH for node in nodes):
            return "quantizes by the range of the whole batch"
        if decides_by_values(nodes, self.spec.name):
            return "takes the same branch for the whole batch"
        return ""

    def _find_randomness(self, x: Array, tensors: Sequence[str]) -> Randomness:
        found = drawing_nodes(self.model, tensors)
        suspects = [*found.possible, *found.of_batch]
        if found.certain or not suspects or self.repeats(x, tensors):
            suspects = []
        return Randomness(found.certain, suspects, found.of_batch)

    def _agrees(
        self, model: Model, samples: list[Array], expected: list[Array], tensors: Sequence[str]
    ) -> bool:
        """Whether a batch of the samples gives the same results as single runs."""
        try:
            got = self._forward(model, np.concatenate(samples), tensors)
        except ModelError:
            return False
        return all(_close(a, b) for a, b in zip(got, expected, strict=True))

    def _forward(
        self, model: Model, x: Array, tensors: Sequence[str], whole: bool = False
    ) -> list[Array]:
        self.activity.runs += 1
        feeds = self.feeds(model, x)
        results = self._session_with(model, tensors).run(feeds, tensors)
        if whole:
            return results
        size = len(feeds[self.spec.name])
        for name, result in zip(tensors, results, strict=True):
            if result.ndim == 1 and len(result) != size:
                raise ModelError(
                    f"The tensor {name!r} has one axis of {len(result)} numbers for {size} "
                    "samples, so that it has no batch axis: choose another output or layer, or "
                    "export the model with a batch axis."
                )
            if not result.ndim:
                raise ModelError(
                    f"The tensor {name!r} holds one number for all samples, not one for each: "
                    "choose another output or layer, or export the model with a batch axis."
                )
        return [result[: len(x)] for result in results]

    def others_for(self, size: int) -> dict[str, Array]:
        """Values of the inputs that are not explained, by name, for a batch of `size` samples."""
        return {
            name: np.repeat(value, size, axis=0) if self._is_sample(name) else value
            for name, value in self.others.items()
        }

    def _is_sample(self, name: str) -> bool:
        """Whether the value of another input is repeated along the batch, or used by all samples.

        It is repeated if it has one entry, and the model declares the same batch size for it as
        for the input to explain.
        """
        value, proto = self.others[name], self.model.proto
        same_batch = has_fixed_batch(proto, name) == has_fixed_batch(proto, self.spec.name)
        return same_batch and value.ndim > 0 and len(value) == 1

    def _session_with(self, model: Model, tensors: Sequence[str]) -> Session:
        """A session of the model whose outputs include `tensors`."""
        known = {self.spec.name, *self.others}

        def answers(key: Hashable, session: Session) -> bool:
            whole = key == (model, *session.outputs) and known.issuperset(session.inputs)
            return whole and set(tensors) <= set(session.outputs)

        open_one = self.activity.sessions.find(answers)
        if open_one is not None:
            return open_one
        wanted = tuple(dict.fromkeys(tensors))
        return self.session((model, *wanted), lambda: with_outputs(model, wanted))

    def session(self, key: Hashable, build: Callable[[], Model], at_once: int = 1) -> Session:
        """The session that is kept under `key`; if there is none, one is opened on `build()`.

        It can do `at_once` runs in parallel.
        """

        def opened() -> Session:
            built = build()
            try:
                session = Session(built, self.backend, at_once)
            except RefusedError as error:
                raise self._refused(built, error) from error
            self.activity.provider = session.provider
            return session

        return self.activity.sessions.get(_kept_under(key, at_once), opened)

    def close(self, key: Hashable, at_once: int) -> None:
        """Keep the session that was opened so no longer: its memory is needed."""
        self.activity.sessions.drop(_kept_under(key, at_once))

    def _refused(self, built: Model, error: RefusedError) -> ModelError:
        """The error where ONNX Runtime refuses a graph: is it the model's fault, or ours?"""
        own = isinstance(attempted(Session, self.model, self.backend), Session)
        if built is self.model or not own:
            return error
        return BuiltGraphError(
            "ONNX Runtime runs this model, but refuses the graph that onnxplain built from it: "
            f"{error.reason}. Choose a method without gradients, such as --method occlusion, and "
            "please report it."
        )

    def at_once(self, samples: int, held: int = 0) -> int:
        """The number of parallel runs for so many samples.

        `held` are the bytes of memory that a sample needs during a run. For few samples it is 1,
        because a single run already uses all cores.
        """
        if self.batch_size is not None:
            return 1
        most = min(self.backend.at_once, _HELD_AT_ONCE // max(1, held))
        return most if samples >= 2 * most > 2 else 1


def _kept_under(key: Hashable, at_once: int) -> Hashable:
    """The key of a session that does so many runs in parallel."""
    return key if at_once == 1 else (key, at_once)


def _sessions_kept(model: Model) -> int:
    """How many sessions of a model are kept open."""
    fewest, most = _SESSIONS_KEPT
    size = sum(map(byte_count, weights(model.proto)))
    return max(fewest, min(most, _WEIGHTS_KEPT // max(1, size)))


def _three_samples(x: Array) -> list[Array]:
    """A sample, noise in its range, and a mixture of both; they differ even if `x` is constant."""
    random = np.random.default_rng(0)
    # NaN and infinity in a sample would hide whether the model takes batches.
    x = np.where(np.isfinite(x), x, np.zeros((), x.dtype))
    low, high = float(x.min()), max(float(x.max()), float(x.min()) + 1)
    noise = random.uniform(low, high, x.shape).astype(x.dtype)
    return [x, noise, np.where(random.random(x.shape) < 0.5, x, noise)]


_TOLERANCE = {1: 1e-2, 2: 2e-2, 4: 1e-3, 8: 1e-6}
"""Largest difference between a batch and single runs, relative to the largest value.

The keys are bytes per element; integers of one byte are quantized floats.
"""


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or not b.size or not np.isfinite(b).all():
        return False
    scale = max(float(np.abs(b).max()), 1e-6)
    tolerance = _TOLERANCE.get(a.dtype.itemsize, 0.0)
    return float(np.abs(a.astype(np.float64) - b).max()) <= tolerance * scale
