"""A queue and one thread: instances of concurrent requests that wait are run in one call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from onnxplain.serve.engine import Outcome, Work
from onnxplain.serve.refusals import busy

Run = Callable[[Sequence[Work]], Iterator[Outcome]]


@dataclass(frozen=True, eq=False)
class _Job:
    work: Work
    future: Future[Outcome] = field(default_factory=Future)


class Worker:
    """Runs work on one thread, in the order of arrival, up to `max_batch` of one kind in a call.

    It does not wait for more work: a batch is what has arrived during the call before. At most
    `capacity` jobs wait. `on_batch` is called with the kind and the size of each batch.
    """

    def __init__(
        self,
        run: Run,
        max_batch: int,
        capacity: int,
        on_batch: Callable[[str, int], None] = lambda kind, size: None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._capacity = capacity
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A run cannot be interrupted, and a process that is told to end must not wait for it.
        self._thread = threading.Thread(target=self._loop, name="serve-worker", daemon=True)

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return len(self._jobs)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, works: Sequence[Work]) -> list[Future[Outcome]]:
        """Add work to the queue. A future that is canceled before its turn is not run.

        Raises:
            RefusedError: there is not enough room in the queue.
        """
        jobs = [_Job(work) for work in works]
        with self._changed:
            if self.waiting + len(jobs) > self._capacity:
                raise busy(
                    f"The queue is full: {self.waiting} of {self._capacity} instances wait, so try "
                    "again later."
                )
            self._jobs.extend(jobs)
            self._changed.notify()
        return [job.future for job in jobs]

    def close(self, seconds: float) -> None:
        """End the thread after the call that it makes; wait for it at most so many seconds."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join(seconds)

    def _loop(self) -> None:
        while batch := self._next():
            self._on_batch(batch[0].work.kind, len(batch))
            self._finish(batch)

    def _next(self) -> list[_Job]:
        """The jobs of the next call; none after the end."""
        with self._changed:
            while not self._closed:
                batch = self._taken()
                if batch:
                    return batch
                self._changed.wait()
        return []

    def _taken(self) -> list[_Job]:
        """The first jobs of the kind that is next, without those that were canceled."""
        batch, others = list[_Job](), deque[_Job]()
        while self._jobs and len(batch) < self._max_batch:
            job = self._jobs.popleft()
            if batch and job.work.kind != batch[0].work.kind:
                others.append(job)
            elif job.future.set_running_or_notify_cancel():
                batch.append(job)
        self._jobs.extendleft(reversed(others))
        return batch

    def _finish(self, batch: Sequence[_Job]) -> None:
        done = 0
        try:
            for job, found in zip(batch, self._run([job.work for job in batch]), strict=True):
                job.future.set_result(found)
                done += 1
        except Exception as error:  # a fault inside, which one instance may have caused
            for job in batch[done:]:
                if len(batch) > 1:
                    self._finish([job])
                else:
                    job.future.set_exception(error)
