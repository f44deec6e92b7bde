"""An Explainer that was used before its process was forked. A child that hangs fails the test."""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from explainer.formulas import noise_picture
from numpy.typing import NDArray

from onnxplain import Explainer
from onnxplain.errors import ProcessError
from onnxplain.execution import runner as runner_module
from onnxplain.images.preprocess import Preprocess
from onnxplain.recent import Recent
from onnxplain.runtime import session as session_module
from onnxplain.runtime.backend import Backend, Device
from onnxplain.runtime.session import Session
from tools.cases import nets

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

PICTURE = noise_picture(20, 26)
CALLS = (("gradcam", {}), ("occlusion", {"window": 8, "stride": 6}), ("rise", {"samples": 40}))
LIMIT = 30.0
"""Seconds; a child needs less than one."""


def made() -> Explainer:
    settings = Preprocess(size=(20, 26), scale=1 / 255, mean=(0.5,), std=(0.2,))
    return Explainer(nets.net_r(), preprocess=settings, provider="cpu")


def values(explainer: Explainer) -> list[NDArray[np.float32]]:
    return [explainer.explain(PICTURE, method, 2, **own).values for method, own in CALLS]


def status_of_child(work: Callable[[], object]) -> int:
    """The exit status of a forked process: 0 if `work` raises nothing, negative if it hangs."""
    # The child would wait for the threads of sessions of ONNX Runtime that earlier tests left.
    gc.collect()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)  # as the processes of multiprocessing end
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_same_maps_in_a_fork() -> None:
    explainer = made()
    before = values(explainer)

    def work() -> None:
        for found, expected in zip(values(explainer), before, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert explainer.open_sessions

    assert status_of_child(work) == 0
    assert status_of_child(lambda: os._exit(status_of_child(work))) == 0  # a fork of a fork


def test_a_fork_can_drop_what_the_parent_has_opened() -> None:
    """The session of a parent would wait for its threads when it ends."""
    explainers = [made()]
    values(explainers[0])

    def work() -> None:
        explainers.clear()
        gc.collect()

    assert status_of_child(work) == 0


def test_a_fork_can_open_more_sessions_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_SESSIONS_KEPT", (1, 1))
    explainer = made()
    before = values(explainer)

    def work() -> None:
        for found, expected in zip(values(explainer), before, strict=True):
            np.testing.assert_array_equal(found, expected)

    assert status_of_child(work) == 0


def test_a_lock_that_another_thread_held_is_not_waited_for() -> None:
    kept: Recent[int] = Recent(2)
    kept.get("a", lambda: 1)
    with kept._lock:
        assert status_of_child(lambda: kept.get("a", lambda: 1)) == 0


def test_a_fork_while_another_thread_explains_says_what_to_do() -> None:
    explainer = made()
    entered, leave = threading.Event(), threading.Event()

    def slow(done: int, total: int) -> None:
        entered.set()
        leave.wait(LIMIT)

    explainer.on_progress(slow)
    thread = threading.Thread(target=lambda: explainer.explain(PICTURE, "rise", 2, samples=4))
    thread.start()
    assert entered.wait(LIMIT)

    def work() -> None:
        for call in (lambda: explainer.explain(PICTURE, "gradcam", 2), lambda: values(made())):
            with pytest.raises(ProcessError, match=r"multiprocessing\.get_context"):
                call()

    try:
        assert status_of_child(work) == 0
    finally:
        leave.set()
        thread.join()
    explainer.on_progress(lambda done, total: None)
    assert status_of_child(lambda: values(explainer)) == 0


def test_an_iteration_cannot_go_on_in_a_fork() -> None:
    explainer = made()
    found = explainer.explain_many([PICTURE] * 40, "gradcam", 2)
    next(found)

    def work() -> None:
        with pytest.raises(ProcessError, match="begin it in that process"):
            next(found)

    assert status_of_child(work) == 0
    assert len(list(found)) == 39


def test_a_device_that_the_parent_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA and others cannot be used in a fork; here the CPU plays the device."""
    open_on_cpu = Backend.open

    def opened(backend: Backend, *arguments: object, **named: object) -> object:
        session = open_on_cpu(Backend(), *arguments, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(session, "get_providers", lambda: [backend.provider])
        return session

    monkeypatch.setattr(Backend, "open", opened)
    monkeypatch.setattr(session_module, "_used", set())
    model = made().model
    backend = Backend("CUDAExecutionProvider", Device("gpu"))

    def work() -> None:
        with pytest.raises(ProcessError, match="CUDAExecutionProvider was used cannot use it"):
            Session(model, backend)
        Session(model, Backend())

    Session(model, backend)
    assert status_of_child(work) == 0


def explained_in_another_process(explainer: Explainer) -> list[NDArray[np.float32]]:
    return values(explainer)


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_a_pool_of_processes(kind: str) -> None:
    explainer = made()
    before = values(explainer)
    with multiprocessing.get_context(kind).Pool(1) as pool:
        found = pool.apply_async(explained_in_another_process, [explainer]).get(2 * LIMIT)
    for one, expected in zip(found, before, strict=True):
        np.testing.assert_array_equal(one, expected)
