"""One Explainer that several threads use at once: the same bytes as in one thread.

The threads are daemons, so that one that hangs fails the test and does not keep pytest.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from explainer.formulas import noise_picture
from numpy.typing import NDArray

from onnxplain import Explainer
from onnxplain.images.preprocess import Preprocess
from tools.cases import nets

THREADS = 8
LIMIT = 60.0
"""Seconds; all threads together need about two."""

PICTURES = [noise_picture(20 + i, 26 - i) for i in range(3)]
SAMPLES = np.random.default_rng(0).normal(size=(3, 3, 20, 26)).astype(np.float32)

METHODS: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("gradcam", {}),
    ("gradcam", {"layer": "relu1", "score": "probability"}),
    ("cam", {}),
    ("gradient", {}),
    ("lrp", {}),
    ("occlusion", {"window": 8, "stride": 6}),
    ("rise", {"samples": 20}),
    ("rise", {"samples": 20, "seed": 1}),
    ("integrated_gradients", {"steps": 6}),
    ("scorecam", {}),
    ("lime", {"samples": 20}),
    ("guided_ig", {"steps": 4}),
)

Call = Callable[[Explainer], list[NDArray[Any]]]


def made() -> Explainer:
    settings = Preprocess(size=(20, 26), scale=1 / 255, mean=(0.5,), std=(0.2,))
    return Explainer(nets.net_r(), preprocess=settings, labels=list("abcde"), provider="cpu")


def calls() -> list[Call]:
    """Calls of every entry point, with different methods, options and targets."""

    def one(method: str, own: Mapping[str, Any]) -> Sequence[Call]:
        return (
            lambda e: [found.values for found in e.explain_each(PICTURES[0], method, "1,3", **own)],
            lambda e: [found.heatmap for found in e.explain_many(PICTURES, method, 2, **own)],
            lambda e: [e.attribute(SAMPLES, method, [0, 1, 4], **own).values],
        )

    return [
        *(call for method, own in METHODS for call in one(method, own)),
        *[lambda e: list(e.predict(SAMPLES).values())] * 6,
    ]


def in_threads(works: Sequence[Callable[[], object]]) -> list[BaseException]:
    """The errors of works that run at once, one in each thread."""
    errors: list[BaseException] = []
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        ready.wait(LIMIT)
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work], daemon=True) for work in works]
    for thread in threads:
        thread.start()
    until = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return errors


def test_the_same_bytes_in_eight_threads() -> None:
    each = calls()
    expected = [call(alone) for alone in [made()] for call in each]
    shared = made()

    def work(seed: int) -> None:
        order = list(range(len(each)))
        random.Random(seed).shuffle(order)
        for i in order:
            for found, own in zip(each[i](shared), expected[i], strict=True):
                np.testing.assert_array_equal(found, own)

    assert not in_threads([lambda seed=seed: work(seed) for seed in range(THREADS)])  # type: ignore[misc]


def busy_threads() -> list[str]:
    """Threads of an iteration; those that all calls share are kept, and wait for work."""
    return [one.name for one in threading.enumerate() if one.name.startswith("onnxplain")]


def test_no_thread_is_left_where_an_iteration_is_dropped() -> None:
    explainer = made()
    for method, own in METHODS[:1] + METHODS[5:7]:
        found = explainer.explain_many(PICTURES * 20, method, 2, **own)
        next(found)
        del found
        assert not busy_threads()


IN_THE_MIDDLE = """
import os, signal, sys, threading
from onnxplain import Explainer
from onnxplain.runtime.session import Session
from explainer.test_threads import PICTURES, busy_threads, made

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
explainer = made()
(alone,) = explainer.explain_many(PICTURES[:1], "rise", 2, samples=20)
count, run = [0], Session.run

def interrupted(self, *arguments):
    count[0] += 1
    if count[0] == 30:
        os.kill(os.getpid(), signal.SIGINT)
    return run(self, *arguments)

Session.run = interrupted
try:
    for found in explainer.explain_many(PICTURES * 20, "rise", 2, samples=20):
        pass
except KeyboardInterrupt:
    print("interrupted")
again = explainer.explain(PICTURES[0], "rise", 2, samples=20)
print(bytes(again.values) == bytes(alone.values), busy_threads())
"""

AT_EXIT = """
from explainer.test_threads import PICTURES, made
explainer = made()
found = explainer.explain_many(PICTURES * 20, "gradcam", 2)
print(next(found).method)
"""


def output_of(code: str) -> str:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="needs signals")
def test_ctrl_c_in_the_middle_ends_the_threads_and_the_explainer_goes_on() -> None:
    assert output_of(IN_THE_MIDDLE).split() == ["interrupted", "True", "[]"]


def test_an_iteration_that_is_not_finished_does_not_keep_the_process() -> None:
    assert output_of(AT_EXIT).split() == ["gradcam"]
