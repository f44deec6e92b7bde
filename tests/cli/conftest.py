"""A model with simple outputs: each class's logit is the mean of one color of the picture."""

import json
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.cli.app import execute

LABELS = ["red fox, Vulpes vulpes", "green snake", "red wolf"]
SIDECAR = {
    "preprocess": {"size": 8, "fit": "stretch", "interpolation": "nearest", "scale": 1 / 255},
    "labels": LABELS,
}


@dataclass(frozen=True)
class Outcome:
    """The result of a command line."""

    status: int
    out: str
    err: str

    @property
    def sentence(self):
        """The error, which must be the only output: one line, and no traceback."""
        assert not self.out
        assert self.err.startswith("Error: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("Error: ").strip()


@pytest.fixture
def cli(capfd, tmp_path, monkeypatch):
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = execute([str(argument) for argument in arguments])
        return Outcome(status, *capfd.readouterr())

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a command line in a new process; `setup` is Python code that runs first."""

    def run(*arguments, setup="", **options):
        code = f"{setup}\nfrom onnxplain.cli import main\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def save_model(path, nodes, *, shape=("N", 3, 8, 8), output=("N", 3), weights=(), opset=17):
    """Write a model from input `x` to output `y`."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(proto, path)
    return path


def color_nodes():
    """x -> `planes`, a 1 x 1 convolution that changes nothing -> `pooled` -> y."""
    return [
        helper.make_node("Conv", ["x", "w"], ["planes"], "conv"),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["y"], "flatten"),
    ]


IDENTITY = ("w", np.eye(3, dtype=np.float32)[:, :, None, None])


@pytest.fixture
def build(tmp_path):
    """Write a model with its sidecar; its name is `model.onnx` by default."""

    def make(nodes=None, name="model.onnx", *, sidecar=True, weights=(IDENTITY,), **options):
        path = save_model(tmp_path / name, nodes or color_nodes(), weights=weights, **options)
        if sidecar:
            path.with_suffix(".onnxplain.json").write_text(json.dumps(SIDECAR))
        return path

    return make


@pytest.fixture
def model(build):
    """The model of mean colors."""
    return build()


@pytest.fixture
def paint(tmp_path):
    """Write a picture of 8 x 8 pixels: black, with a red square at `rows` and `columns`."""

    def make(name="red.png", rows=slice(2, 5), columns=slice(4, 8)):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[rows, columns, 2] = 255
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
        return path

    return make


@pytest.fixture
def picture(paint):
    """The one picture that most tests explain."""
    return paint()


@pytest.fixture
def large_picture(tmp_path):
    """Write a complete and valid PNG of side x side pixels, one bit each, all black."""

    def make(side):
        row = bytes(1 + -(-side // 8))
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        path = tmp_path / "large.png"
        with path.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
                check = zlib.crc32(kind + data)
                file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check))
        return path

    return make
