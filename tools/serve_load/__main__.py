"""Load a server: run with `python -m tools.serve_load [MODEL]`.

It starts `onnxplain serve`, prints requests per second, and as a ratio to plain forwards of ONNX
Runtime per second, measured in turn in the same run. Clients, server and forwards share the cores
of this machine. Then it sends a thousand bad requests of many kinds and counts the answers.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import http.client
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

import onnxplain
from tools.serve_load.bad import Bad, bad_requests

_MODELS = Path(__file__).parents[2] / "models"
_SIDE = 224
_QUALITY = 90
_SECONDS = 3.0
_REQUEST_SECONDS = 120

Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.serve_load", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=_MODELS / "squeezenet1_1.onnx")
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--picture", type=Path, default=_MODELS / "pictures" / "coffee.png")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bad", type=int, default=1000)
    given = parser.parse_args()
    print(f"{given.model.name}, {given.method}; onnxruntime {ort.__version__}, ", end="")
    print(f"{os.cpu_count()} cores, {platform.machine()}, {given.clients} clients\n")
    with _server(given.model, given.method) as port:
        _print_load(port, given)
        _print_bad(port, given.model, given.bad)


@contextlib.contextmanager
def _server(model: Path, method: str) -> Iterator[int]:
    """A server on a free port, which ends by SIGTERM with status 0."""
    command = [sys.executable, "-m", "onnxplain", "serve", str(model), "--method", method]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r":(\d+)\s*$", process.stdout.readline())
        if found is None:
            sys.exit("The server did not start.")
        yield int(found[1])
        process.send_signal(signal.SIGTERM)
        print(f"\nExit status after SIGTERM: {process.wait(_REQUEST_SECONDS)}")
    finally:
        process.kill()


def _print_load(port: int, given: argparse.Namespace) -> None:
    explainer = onnxplain.Explainer(given.model, provider="cpu")
    name, model = explainer.input.name, given.model.stem
    (x,) = explainer.samples([given.picture])
    ways = _forwards(given.model, {name: x})
    bodies = _bodies(name, x, _small(given.picture))
    rates: dict[str, list[float]] = {call: [] for call in (*ways, *bodies)}
    for _ in range(given.rounds):
        for way, (threads, forward) in ways.items():
            rates[way].append(_rate(threads, functools.partial(_same, forward)))
        for call, (path, body) in bodies.items():
            client = functools.partial(_client, port, path.format(name=model), body)
            rates[call].append(_rate(given.clients, client))
    medians = {call: statistics.median(found) for call, found in rates.items()}
    of_ways = {way: medians.pop(way) for way in ways}
    forwards = max(of_ways.values())
    for way, rate in of_ways.items():
        print(f"Plain forwards, {way}: {rate:.1f} a second")
    print("\n| request | body, KiB | requests a second | ratio to the faster plain forwards |")
    print("| --- | ---: | ---: | ---: |")
    for call, rate in medians.items():
        size = len(bodies[call][1]) / 1024
        print(f"| {call} | {size:.0f} | {rate:.1f} | {rate / forwards:.2f} |", flush=True)


def _forwards(model: Path, feeds: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, Call]]:
    """Two ways of plain forwards of one sample, with the number of threads that call."""
    cores = len(os.sched_getaffinity(0))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        ort.InferenceSession(model, own, providers=["CPUExecutionProvider"])
        for own in (ort.SessionOptions(), options)
    ]
    one, several = (functools.partial(session.run, None, feeds) for session in sessions)
    return {"one after the other on all cores": (1, one), "one on each core": (cores, several)}


def _same(call: Call) -> Call:
    return call


def _bodies(name: str, x: NDArray[Any], picture: bytes) -> Mapping[str, tuple[str, bytes]]:
    """What is sent, by its name: the path and the body."""
    file = {"b64": base64.b64encode(picture).decode()}
    tensor = {"name": name, "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "V1 predict, JPEG": ("/v1/models/{name}:predict", {"instances": [file]}),
        "V1 explain, JPEG, lists": ("/v1/models/{name}:explain", {"instances": [file]}),
        "V1 explain, JPEG, npy": (
            "/v1/models/{name}:explain",
            {"instances": [file], "format": "npy"},
        ),
        "V1 explain, JPEG, png": (
            "/v1/models/{name}:explain",
            {"instances": [file], "format": "png"},
        ),
        "V1 explain, 8 JPEG, npy": (
            "/v1/models/{name}:explain",
            {"instances": [file] * 8, "format": "npy"},
        ),
        "V2 infer, tensor": ("/v2/models/{name}/infer", {"inputs": [tensor]}),
        "V2 explain, tensor": ("/v2/models/{name}/explain", {"inputs": [tensor]}),
    }
    return {call: (path, json.dumps(body).encode()) for call, (path, body) in calls.items()}


def _small(path: Path) -> bytes:
    """The picture as a JPEG file of the usual size of an input."""
    import cv2

    picture = cv2.imread(str(path))
    assert picture is not None
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()


def _client(port: int, path: str, body: bytes) -> Call:
    """A connection that is kept, and sends the same request each time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call() -> None:
        connection.request("POST", path, body)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {text[:200]!r}")

    return call


def _rate(clients: int, make: Callable[[], Call]) -> float:
    """Calls per second of so many clients at the same time, each on its own thread."""
    calls = [make() for _ in range(clients)]
    for call in calls:
        call()
    counts, end = [0] * clients, time.perf_counter() + _SECONDS

    def work(place: int) -> None:
        while time.perf_counter() < end:
            calls[place]()
            counts[place] += 1

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def _print_bad(port: int, model: Path, count: int) -> None:
    statuses: dict[str, Counter[int]] = {}
    tracebacks = 0
    spec = onnxplain.Explainer(model, provider="cpu").input
    for bad in bad_requests(model.stem, spec.name, count):
        status, text = _send(port, bad)
        statuses.setdefault(bad.kind, Counter())[status] += 1
        tracebacks += "Traceback" in text
    print(f"\n{count} bad requests:\n\n| kind | answers |\n| --- | --- |")
    for kind, found in statuses.items():
        print(f"| {kind} | {', '.join(f'{n} x {status}' for status, n in sorted(found.items()))} |")
    every = sum(statuses.values(), Counter[int]())
    faults = sum(n for status, n in every.items() if not 200 <= status < 500)
    print(f"\nAnswers of 5xx, and lost connections: {faults}; tracebacks: {tracebacks}")


def _send(port: int, bad: Bad) -> tuple[int, str]:
    """The status and the text of an answer; the status is 0 where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=_REQUEST_SECONDS) as connection:
        with contextlib.suppress(OSError):  # refused before all was sent: the answer says why
            connection.sendall(bad.raw)
        response = http.client.HTTPResponse(connection, method="POST")
        try:
            response.begin()
            return response.status, response.read().decode()
        except (http.client.HTTPException, OSError):
            return 0, ""


if __name__ == "__main__":
    main()
