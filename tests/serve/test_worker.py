"""The queue: order, kinds, what is canceled, and one instance that makes a call fail."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass

import pytest

from onnxplain.serve.refusals import RefusedError
from onnxplain.serve.worker import Worker


@dataclass(frozen=True)
class Work:
    kind: str
    value: int


@pytest.fixture
def calls():
    return []


@pytest.fixture
def worker(calls):
    """Its results are twice the values; 13 makes a whole call fail, after the ones before it."""

    def run(works):
        calls.append([work.value for work in works])
        for work in works:
            if work.value == 13:
                raise RuntimeError("13")
            yield 2 * work.value

    return Worker(run, 3, 10)


def works(kind, *values):
    return [Work(kind, value) for value in values]


def test_work_runs_in_order_of_arrival_up_to_the_largest_batch(worker, calls):
    futures = worker.submit(works("a", 1, 2)) + worker.submit(works("a", 3, 4))
    worker.start()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8]
    assert calls == [[1, 2, 3], [4]]
    worker.close(10)


def test_a_call_has_one_kind_and_the_other_kind_keeps_its_place(worker, calls):
    futures = worker.submit([*works("a", 1), *works("b", 2), *works("a", 3), *works("b", 4)])
    worker.start()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8]
    assert calls == [[1, 3], [2, 4]]
    worker.close(10)


def test_canceled_work_is_not_run(worker, calls):
    first, second, third = worker.submit(works("a", 1, 2, 3))
    assert second.cancel()
    worker.start()
    assert (first.result(10), third.result(10)) == (2, 6)
    assert calls == [[1, 3]]
    worker.close(10)


def test_an_instance_that_makes_a_call_fail_fails_alone(worker, calls):
    futures = worker.submit(works("a", 1, 13, 3))
    worker.start()
    with pytest.raises(RuntimeError, match="13"):
        futures[1].result(10)
    assert (futures[0].result(10), futures[2].result(10)) == (2, 6)
    assert calls == [[1, 13, 3], [13], [3]]
    worker.close(10)


def test_a_call_with_too_few_results_is_a_fault():
    worker = Worker(lambda works: iter(()), 3, 10)
    (future,) = worker.submit(works("a", 1))
    worker.start()
    with pytest.raises(ValueError, match="shorter"):
        future.result(10)
    worker.close(10)


def test_the_queue_takes_all_of_a_request_or_nothing(worker):
    worker.submit(works("a", *range(8)))
    with pytest.raises(RefusedError, match="8 of 10 instances wait") as refused:
        worker.submit(works("a", 1, 2, 3))
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert worker.waiting == 8
    assert len(worker.submit(works("a", 1, 2))) == 2


def test_close_ends_the_thread_and_cancels_what_waits(worker):
    worker.start()
    before = threading.active_count()
    worker.close(10)
    assert threading.active_count() == before - 1


def test_what_waits_at_the_end_is_canceled():
    entered, free = threading.Event(), threading.Event()

    def run(works):
        entered.set()
        assert free.wait(10)
        yield from (work.value for work in works)

    worker = Worker(run, 1, 10)
    first, second = worker.submit(works("a", 1, 2))
    worker.start()
    assert entered.wait(10)
    closing = threading.Thread(target=worker.close, args=(10,))
    closing.start()
    with pytest.raises(CancelledError):
        second.result(10)
    free.set()
    assert first.result(10) == 1
    closing.join()
