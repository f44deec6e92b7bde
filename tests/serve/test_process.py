"""The command as a process: its address, its end, and what it says when it cannot start."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from serve.conftest import MODELS, PICTURES, SECONDS, Answer, Client, picture

from onnxplain import Explainer
from onnxplain.cli.app import execute
from onnxplain.serve.server import address, listen

SQUEEZENET = MODELS / "squeezenet1_1.onnx"


@contextlib.contextmanager
def process(*arguments):
    """The command on a free port, and a client for it."""
    command = [sys.executable, "-m", "onnxplain", "serve", str(SQUEEZENET), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *map(str, arguments)], **pipes) as found:
        try:
            line = found.stdout.readline()
            port = re.search(r"http://127\.0\.0\.1:(\d+)\n$", line)
            assert port, line + found.stderr.read()
            yield found, Client(int(port[1]), None), line
        finally:
            found.kill()


@contextlib.contextmanager
def half_sent(client, name):
    """A request in hand, most of whose body is sent; yields what sends the rest."""
    body = json.dumps({"instances": [picture("coffee.png")]}).encode()
    head = (
        f"POST /v1/models/{name}:explain HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", client.port), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + body[:-10])
        while "onnxplain_requests_in_hand 1" not in client.get("/metrics").body.decode():
            time.sleep(0.01)

        def rest():
            connection.sendall(body[-10:])
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, response.headers, response.read())

        yield rest


def signaled(server, client, number):
    """Send a signal, and wait until the server is not ready."""
    server.send_signal(number)
    while client.get("/v2/health/ready").status == 200:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_the_end_requests_in_hand_are_answered_and_no_others(number):
    with process("--name", "cats", "--method", "gradcam") as (server, client, line):
        assert line.startswith("cats, gradcam: ")
        assert client.get("/v2/health/ready").json == {"ready": True}
        with half_sent(client, "cats") as rest:
            signaled(server, client, number)
            assert client.get("/v2/health/ready").json == {"ready": False}
            assert client.get("/v2/models/cats/ready").json == {"name": "cats", "ready": False}
            assert client.get("/v1/models/cats").status == 503
            assert client.get("/v2/health/live").json == {"live": True}
            refused = client.post("/v1/models/cats:explain", {"instances": [picture("coffee.png")]})
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert "about to end" in refused.sentence
            answer = rest()
        assert server.wait(SECONDS) == 0
        assert server.stderr.read() == ""
    assert answer.status == 200
    (entry,) = answer.json["explanations"]
    expected = Explainer(SQUEEZENET, provider="cpu").explain(PICTURES / "coffee.png", "gradcam")
    scale = abs(expected.values).max()
    np.testing.assert_allclose(entry["values"], expected.values, atol=1e-5 * scale)


def test_a_second_signal_ends_at_once():
    with (
        process("--method", "gradcam", "--name", "cats") as (server, client, _),
        half_sent(client, "cats"),
    ):
        signaled(server, client, signal.SIGTERM)
        server.send_signal(signal.SIGTERM)
        server.wait(SECONDS)


def test_without_requests_it_ends_with_status_0():
    with process("--method", "gradcam") as (server, _, _):
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0


def sentence(capfd, *arguments):
    """The error of a command that does not start, which is all that it prints."""
    status = execute(["serve", *map(str, arguments)])
    out, err = capfd.readouterr()
    assert status == 2
    assert not out
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--method", "nope"], "There is no method 'nope'"),
        (["--method", "gradcam", "--window", "3"], "has no option 'window'"),
        (["--name", "a/b"], "The name 'a/b' does not fit"),
        (["--queue", "0"], "--queue must be positive"),
        (["--max-batch", "-1"], "--max-batch must be positive"),
        (["--max-body", "0"], "--max-body must be positive"),
        (["--timeout", "0"], "--timeout must be positive"),
        (["--timeout", "nan"], "--timeout must be positive"),
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--host", "256.0.0.1"], "of 256.0.0.1 cannot be used"),
        (["-t", "1", "-t", "2"], "give --target only once"),
        (["-t", "1000"], "There is no class 1000"),
        (["-t", "no such class"], "no such class"),
        (["--method", "legrad"], "attention"),
        (["--output", "nope"], "nope"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(capfd, flags, words):
    port = [] if "--port" in flags else ["--port", 0]
    assert words in sentence(capfd, SQUEEZENET, "--quiet", *port, *flags)


def test_a_port_in_use(capfd):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = sentence(capfd, SQUEEZENET, "--port", port)
    assert f"The port {port} of 127.0.0.1 cannot be used (Address already in use)" in said


def test_without_the_extra_it_says_what_to_install(capfd, monkeypatch):
    monkeypatch.setattr("onnxplain.cli.serve._NEEDS", ("fastapi", "no_such_package"))
    assert "pip install 'onnxplain[serve]'" in sentence(capfd, SQUEEZENET)


def test_addresses():
    with listen("127.0.0.1", 0) as one:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address(one))
    if socket.has_ipv6:
        with contextlib.suppress(Exception), listen("::1", 0) as one:
            assert re.fullmatch(r"http://\[::1\]:\d+", address(one))
