"""Servers on free ports of this machine, each with its engine, and a client for them."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from onnxplain import Explainer
from onnxplain.methods.registry import make_method
from onnxplain.serve.engine import Engine
from onnxplain.serve.server import Server, listen
from onnxplain.serve.service import Service
from onnxplain.serve.settings import Settings

MODELS = Path(__file__).parents[2] / "models"
PICTURES = MODELS / "pictures"
NAME = "model"
EXPLAIN, PREDICT = f"/v1/models/{NAME}:explain", f"/v1/models/{NAME}:predict"
INFER, EXPLAIN_V2 = f"/v2/models/{NAME}/infer", f"/v2/models/{NAME}/explain"
SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """A status, headers, and a body; `sentence` is the error that a refusal must hold."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json"

        def no_constant(name):
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self.body, parse_constant=no_constant)

    @property
    def sentence(self):
        assert list(self.json) == ["error"], self.body[:200]
        sentence = self.json["error"]
        assert sentence.endswith("."), sentence
        assert "\n" not in sentence
        assert "Traceback" not in sentence
        return sentence


@dataclass(frozen=True)
class Client:
    """Sends requests to a server."""

    port: int
    service: Service

    def get(self, path, method="GET"):
        return self.send(method, path)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.send("POST", path, body, headers)

    def send(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def raw(self, data):
        """The status and the text of the answer to bytes that may be no HTTP."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            connection.sendall(data)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, response.headers, response.read())


@contextlib.contextmanager
def serving(engine, **limits):
    """A server of an engine, in threads of this process."""
    service = Service(engine, Settings(name=NAME, **limits))
    server = Server(service)
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Client(port, service)
        finally:
            server.should_exit = True
            thread.join(SECONDS)


def engine_of(model, method="gradcam", target="top1", **options):
    explainer = Explainer(MODELS / f"{model}.onnx", provider="cpu")
    return Engine(explainer, make_method(method, options), target)


def picture(name):
    """A picture as an instance."""
    return {"b64": base64.b64encode((PICTURES / name).read_bytes()).decode()}


@pytest.fixture(scope="session")
def squeezenet():
    return engine_of("squeezenet1_1")


@pytest.fixture(scope="session")
def client(squeezenet):
    """A client of a server of SqueezeNet with gradcam and default limits."""
    with serving(squeezenet) as found:
        yield found


@pytest.fixture(scope="session")
def explained():
    """Another explainer of the same model, whose results are expected."""
    return Explainer(MODELS / "squeezenet1_1.onnx", provider="cpu")
