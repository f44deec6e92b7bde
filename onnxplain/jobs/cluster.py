"""Explaining the inputs of a job on a Ray cluster: workers compute, and this process saves.

Each worker is an actor that holds one explainer. The index and all files are written here, as by a
job in one process, so a job can go on in either way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from onnxplain.errors import OnnxplainError, OptionError, PictureError, attempted
from onnxplain.explainer import Explainer
from onnxplain.explainer.pipeline import chunks
from onnxplain.jobs.addresses import read_address
from onnxplain.jobs.archives import INSIDE
from onnxplain.jobs.extras import needed
from onnxplain.jobs.inputs import Content, InputImage, StoredImage
from onnxplain.jobs.job import Computed, Job
from onnxplain.results.data import MapData, ValuesOnly

_CHUNK = 16
"""Inputs that a worker gets at a time; the model runs on them in batches."""

_WAITING = 2
"""Chunks for each worker: one that is computed, and one that waits."""

_TRIES = 2
"""How often an input may be alone on a worker that dies, until it is one that failed."""


@dataclass(frozen=True)
class Workers:
    """Where and how many workers run.

    Attributes:
        address: of the cluster, such as "ray://host:10001"; None for the one that runs here, which
            is started if there is none.
        least: so many are asked for at the beginning.
        most: so many are asked for in all; those for which the cluster has no room yet start when
            it has, so that a cluster that scales automatically grows.
        cpus: cores for each worker, and the most threads of its model.
        gpus: of each worker; a fraction lets several share one.
    """

    address: str | None = None
    least: int = 1
    most: int = 1
    cpus: float = 1
    gpus: float = 0

    @classmethod
    def parse(cls, on: str, workers: str | None, cpus: float, gpus: float) -> Workers:
        """Read "ray" or "ray://host:port", and a number of workers or bounds such as "2-8".

        Raises:
            OptionError: a text has another form.
        """
        if on != "ray" and not on.startswith("ray://"):
            raise OptionError(f"--on takes ray, or ray://HOST:PORT, not {on!r}.")
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", workers or "1")
        bounds = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= bounds[0] <= bounds[1]:
            raise OptionError(f"--workers takes a number or bounds such as 2-8, not {workers!r}.")
        return cls(None if on == "ray" else on, *bounds, cpus, gpus)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[ModuleType]:
    """Ray, connected to a cluster; it is left as it was found.

    Raises:
        OptionError: Ray is not installed, or there is no cluster at the address.
    """
    ray = needed("ray", "--on ray", extra="ray")
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, TimeoutError, ValueError) as error:
        raise OptionError(
            f"There is no cluster at {address or 'this machine'}: {error}."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def computed_on(
    ray: ModuleType, workers: Workers, job: Job, images: Iterable[InputImage]
) -> Generator[Computed]:
    """What `Job.computed` yields, computed by workers; in the order of the inputs.

    Only as many inputs are read ahead as keep the workers busy. An input whose worker dies is given
    to a worker alone; if such a worker dies twice, it is an input that failed.

    Raises:
        OnnxplainError: as `Job.run`.
    """
    pool = _Pool(ray, workers, _Spec.of(job, workers))
    waiting: deque[_Task] = deque()
    try:
        for some in chunks(images, _CHUNK):
            waiting.append(pool.start([_Sent.of(image) for image in some], pool.freest()))
            while len(waiting) > _WAITING * pool.count:
                yield from pool.results(waiting.popleft())
        while waiting:
            yield from pool.results(waiting.popleft())
    finally:
        pool.close()


@dataclass(eq=False)
class _Slot:
    """A worker that has started, how many chunks it has, and the reference of the last one."""

    actor: Any
    waits: int = 0
    last: Any = None


@dataclass(frozen=True, eq=False)
class _Task:
    """Inputs that a worker explains, and the reference of what it returns."""

    inputs: list[_Sent]
    slot: _Slot
    reference: Any


class _Pool:
    """The workers. One that dies is replaced, and counts again when the new one has started."""

    def __init__(self, ray: ModuleType, workers: Workers, spec: _Spec) -> None:
        self._ray = ray
        self._make = ray.remote(_Worker).options(num_cpus=workers.cpus, num_gpus=workers.gpus)
        self._spec = ray.put(spec)
        self._starting: dict[Any, Any] = {}
        self._slots: list[_Slot] = []
        for _ in range(workers.most):
            self._add()
        self._take(workers.least)

    @property
    def count(self) -> int:
        """How many workers have started."""
        return max(1, len(self._slots))

    def freest(self) -> _Slot:
        """The worker with the fewest chunks; waits for one to start if there is none."""
        self._take(0)
        while not self._slots:
            self._take(1)
        return min(self._slots, key=lambda slot: slot.waits)

    def start(self, inputs: list[_Sent], slot: _Slot) -> _Task:
        """Give inputs to a worker."""
        slot.waits += 1
        slot.last = slot.actor.explain.remote(inputs)
        return _Task(inputs, slot, slot.last)

    def results(self, task: _Task) -> list[Computed]:
        """Wait for a task; what a worker does not return because it died is tried again."""
        found = self._returned(task)
        if found is None:
            return [self._alone(sent) for sent in task.inputs]
        return [_back(*one, sent) for one, sent in zip(found, task.inputs, strict=True)]

    def close(self) -> None:
        """End the workers."""
        for actor in [*self._starting.values(), *(slot.actor for slot in self._slots)]:
            self._ray.kill(actor)

    def _returned(self, task: _Task) -> list[_Returned] | None:
        """What a worker returned; None if it died.

        Raises:
            OnnxplainError: one that every input would cause.
        """
        errors = self._ray.exceptions
        try:
            found = self._ray.get(task.reference)
        except (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError):
            self._replace(task.slot)
            return None
        finally:
            task.slot.waits -= 1
        if isinstance(found, OnnxplainError):
            raise found
        return list(found)

    def _alone(self, sent: _Sent) -> Computed:
        """Explain an input on a worker that has nothing else; after some deaths it fails."""
        for _ in range(_TRIES):
            found = self._returned(self.start([sent], self._idle()))
            if found is not None:
                return _back(*found[0], sent)
        words = f"{sent.image.source}: the process that explained it alone ended {_TRIES} times."
        return Computed(sent.image, error=PictureError(words))

    def _idle(self) -> _Slot:
        """A worker that has returned all that it was given."""
        while True:
            self.freest()
            lasts = {slot.last: slot for slot in self._slots if slot.last is not None}
            if len(lasts) < len(self._slots):
                return next(slot for slot in self._slots if slot.last is None)
            (done, *_), _ = self._ray.wait(list(lasts), num_returns=1)
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayError:  # it died: its task says so later
                self._replace(lasts[done])
                continue
            return lasts[done]

    def _add(self) -> None:
        actor = self._make.remote(self._spec)
        self._starting[actor.ready.remote()] = actor

    def _replace(self, slot: _Slot) -> None:
        """Ask for another worker in place of one that died."""
        if slot in self._slots:
            self._slots.remove(slot)
            self._ray.kill(slot.actor)  # it may live, and only be out of reach
            self._add()

    def _take(self, least: int) -> None:
        """Take the workers that have started since; wait for at least so many."""
        if not self._starting:
            return
        patience = None if least else 0
        wanted = min(least, len(self._starting)) or len(self._starting)
        done, _ = self._ray.wait(list(self._starting), num_returns=wanted, timeout=patience)
        for reference in done:
            actor = self._starting.pop(reference)
            try:
                error = self._ray.get(reference)
            except self._ray.exceptions.RayError:  # its node died before it was used
                self._add()
                continue
            if isinstance(error, OnnxplainError):
                raise error
            self._slots.append(_Slot(actor))


_Returned = tuple[Computed, str | None]
"""A result without its input, and the hash of the input's bytes if the worker read them."""


def _back(computed: Computed, sha256: str | None, sent: _Sent) -> Computed:
    """What a worker returned, with the input that is known here."""
    image = sent.image
    if isinstance(image, StoredImage) and image.content.sha256 is None:
        image.content.sha256 = sha256
    return replace(computed, image=image)


@dataclass(frozen=True, eq=False)
class _Sent:
    """An input on its way to a worker; `content` is that of an archive's member."""

    image: InputImage
    content: bytes | OnnxplainError | None = None

    @classmethod
    def of(cls, image: InputImage) -> _Sent:
        """An input with its content, if it is in an archive; a worker reads others itself."""
        if not isinstance(image, StoredImage) or INSIDE not in image.address:
            return cls(image)
        return cls(image, attempted(image.content.read))

    def __reduce__(self) -> tuple[Any, ...]:
        """Send plain facts alone: the function that reads a content cannot be sent."""
        facts = {one.name: getattr(self.image, one.name) for one in fields(InputImage)}
        stored_at = self.image.address if isinstance(self.image, StoredImage) else None
        return _received, (facts, stored_at, self.content)


def _received(
    facts: Mapping[str, Any], stored_at: str | None, content: bytes | OnnxplainError | None
) -> _Sent:
    if stored_at is None:
        return _Sent(InputImage(**facts))

    def read() -> bytes:
        if isinstance(content, OnnxplainError):
            raise content
        return read_address(stored_at) if content is None else content

    return _Sent(StoredImage(**facts, content=Content(stored_at, read)))


@dataclass(frozen=True)
class _Spec:
    """What a worker needs to make its job."""

    explainer: Mapping[str, Any]
    job: Mapping[str, Any]
    folder: str

    @classmethod
    def of(cls, job: Job, workers: Workers) -> _Spec:
        """The job, with as many threads for the model as a worker has cores."""
        explainer = job.explainer.arguments
        threads = explainer["threads"] or max(1, int(workers.cpus))
        facts = {one.name: getattr(job, one.name) for one in fields(Job) if one.name != "explainer"}
        return cls({**explainer, "threads": threads}, facts, str(Path.cwd()))


class _Worker:
    """An actor with one explainer."""

    def __init__(self, spec: _Spec) -> None:
        with contextlib.suppress(OSError):  # paths are those of the process that started the job
            os.chdir(spec.folder)
        self._spec = spec
        self._job: Job | OnnxplainError = attempted(self._made)

    def ready(self) -> OnnxplainError | None:
        """Why it cannot explain; None if it can."""
        return self._job if isinstance(self._job, OnnxplainError) else None

    def explain(self, inputs: Sequence[_Sent]) -> list[_Returned] | OnnxplainError:
        """What the job computes for some inputs; an error that every input would cause instead."""
        assert isinstance(self._job, Job), "it has not started"
        try:
            found = list(self._job.computed(sent.image for sent in inputs))
        except OnnxplainError as error:
            return error
        return [(_to_send(one), _digest(sent)) for one, sent in zip(found, inputs, strict=True)]

    def _made(self) -> Job:
        return Job(explainer=Explainer(**self._spec.explainer), **self._spec.job)


def _digest(sent: _Sent) -> str | None:
    return sent.image.content.sha256 if isinstance(sent.image, StoredImage) else None


def _to_send(computed: Computed) -> Computed:
    """A result without its input, and without the drawings that its files hold."""
    found = [(_without_drawing(data), files) for data, files in computed.found]
    return replace(computed, image=InputImage(Path(), "", ""), found=found)


def _without_drawing(data: MapData) -> ValuesOnly:
    kept = {one.name: getattr(data, one.name) for one in fields(MapData)}
    return ValuesOnly(**kept, places=data.size)
