"""What a server refuses although the request is right: too large, too many, too late."""

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serve.conftest import EXPLAIN, INFER, NAME, PREDICT, picture, serving

GOOD = {"instances": [picture("coffee.png")]}


class Gate:
    """An engine whose calls wait until the gate is open."""

    def __init__(self, engine):
        self._engine = engine
        self.entered, self.open = threading.Semaphore(0), threading.Event()
        self.sizes = []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def run(self, works):
        self.sizes.append(len(works))
        self.entered.release()
        assert self.open.wait(60)
        return self._engine.run(works)


@pytest.fixture
def gate(squeezenet):
    found = Gate(squeezenet)
    yield found
    found.open.set()


def until(holds):
    """Wait until something holds."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("path", [EXPLAIN, PREDICT, INFER])
def test_a_large_body(squeezenet, path):
    with serving(squeezenet, max_body=1000) as client:
        declared = client.post(path, b" " * 1001)
        # Without a length the server must count.
        chunked = client.send("POST", path, iter([b" " * 500] * 3))
        within = client.post(path, b" " * 1000)
    for answer in (declared, chunked):
        assert answer.status == 413
        assert "--max-body" in answer.sentence
    assert within.status == 400


def test_many_instances(squeezenet):
    with serving(squeezenet, queue=2) as client:
        answer = client.post(EXPLAIN, {"instances": GOOD["instances"] * 3})
        assert (answer.status, "1 to 2" in answer.sentence) == (400, True)
        assert client.post(EXPLAIN, {"instances": GOOD["instances"] * 2}).status == 200


def test_a_full_queue_says_when_to_try_again(gate):
    with serving(gate, queue=2, max_batch=1) as client, ThreadPoolExecutor(4) as pool:
        running = pool.submit(client.post, EXPLAIN, GOOD)
        assert gate.entered.acquire(timeout=30)
        waiting = pool.submit(client.post, EXPLAIN, {"instances": GOOD["instances"] * 2})
        until(lambda: "onnxplain_queue_length 2" in client.get("/metrics").body.decode())
        refused = client.post(EXPLAIN, GOOD)
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert "2 of 2 instances wait" in refused.sentence
        gate.open.set()
        assert running.result().status == waiting.result().status == 200
        assert client.post(EXPLAIN, GOOD).status == 200


def test_many_requests_in_hand(gate):
    """Bodies that are still sent count too, as they take memory."""
    head = f"POST {EXPLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    with serving(gate, queue=1, max_batch=1) as client, contextlib.ExitStack() as stack:
        for _ in range(2):
            sending = socket.create_connection(("127.0.0.1", client.port))
            stack.enter_context(sending).sendall(head)
        until(lambda: "onnxplain_requests_in_hand 2" in client.get("/metrics").body.decode())
        refused = client.post(EXPLAIN, GOOD)
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    assert "2 requests are in hand" in refused.sentence


def test_a_slow_body(squeezenet):
    with serving(squeezenet, timeout=0.3) as client:
        head = f"POST {EXPLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        answer = client.raw(head.encode() + b"{")
    assert answer.status == 408
    assert "0.3 seconds (--timeout)" in answer.sentence


def test_work_that_takes_too_long_is_refused_and_what_waits_is_not_run(gate):
    with serving(gate, timeout=1.0, max_batch=1) as client, ThreadPoolExecutor(2) as pool:
        found = [pool.submit(client.post, EXPLAIN, GOOD)]
        assert gate.entered.acquire(timeout=30)
        found.append(pool.submit(client.post, EXPLAIN, GOOD))
        for answer in found:
            assert answer.result().status == 503
            assert answer.result().headers["retry-after"] == "1"
            assert "longer than 1 seconds" in answer.result().sentence
        gate.open.set()
        assert client.post(EXPLAIN, GOOD).status == 200
    assert gate.sizes == [1, 1]


def test_what_waits_for_a_client_that_is_gone_is_not_run(gate):
    body = json.dumps(GOOD).encode()
    head = f"POST {EXPLAIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(gate, max_batch=1) as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, EXPLAIN, GOOD)
        assert gate.entered.acquire(timeout=30)
        with socket.create_connection(("127.0.0.1", client.port)) as gone:
            gone.sendall(head + body)
            until(lambda: "onnxplain_queue_length 1" in client.get("/metrics").body.decode())
        until(lambda: "onnxplain_requests_in_hand 1" in client.get("/metrics").body.decode())
        gate.open.set()
        assert running.result().status == 200
        assert client.post(EXPLAIN, GOOD).status == 200
        assert 'status="499"} 1\n' in client.get("/metrics").body.decode()
    assert gate.sizes == [1, 1]


def test_a_fault_inside_is_logged_and_answered_in_one_sentence(squeezenet, caplog, monkeypatch):
    class Failing(Gate):
        def run(self, works):
            raise RuntimeError("the cat sat on it")

    with serving(Failing(squeezenet)) as client:
        answer = client.post(EXPLAIN, GOOD)
        assert answer.status == 500
        assert "cat" not in answer.sentence
        assert client.get(f"/v2/models/{NAME}/ready").status == 200
    assert "the cat sat on it" in caplog.text
